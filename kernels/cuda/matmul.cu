// z (B, M, N) = x (B, M, K) y (B, K, N) for matrices anywhere in memory: transposed ones and slices are not copied (gemm.cuh).
//
// Where a product has few elements and long sums, these are cut into parts of ``length`` for different blocks: they go to partial
// (parts, B, M, N), and parts.cu adds them up.
#include "gemm.cuh"

// How far apart neighbours along an axis lie.
struct Layout {
    int batch;
    int row, column;
};

__device__ bool nearer(int step, int other) { return abs(step) < abs(other); }

template <int ROWS>
__device__ void product(const real *x, Layout of_x, const real *y, Layout of_y, real *z, wide *partial, int length, int batches,
                        int m, int n, int k) {
    Tile<ROWS> tile(m, n);
    int batch = tile.rest % batches;
    int part = tile.rest / batches;
    Counter counter(DEPTH, 1, 1, min(k, (part + 1) * length));
    x += batch * of_x.batch + tile.row * of_x.row, y += batch * of_y.batch + tile.column * of_y.column;
    Matrix left = {x, nearer(of_x.column, of_x.row), m - tile.row, of_x.row, counter, of_x.column, 0, 0};
    Matrix right = {y, nearer(of_y.row, of_y.column), n - tile.column, of_y.column, counter, of_y.row, 0, 0};
    wide sums[Part<ROWS>::HEIGHT][Part<ROWS>::WIDTH];
    multiply<ROWS>(left, right, part * length, sums);
    store_matrix<ROWS>(sums, tile, z, partial, m, n);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
matmul_128(long long items, const real *x, int x_batch, int x_row, int x_column, const real *y,
           int y_batch, int y_row, int y_column, real *z, wide *partial, int length, int batches, int m, int n, int k) {
    product<128>(x, {x_batch, x_row, x_column}, y, {y_batch, y_row, y_column}, z, partial, length, batches, m, n, k);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
matmul_64(long long items, const real *x, int x_batch, int x_row, int x_column, const real *y,
           int y_batch, int y_row, int y_column, real *z, wide *partial, int length, int batches, int m, int n, int k) {
    product<64>(x, {x_batch, x_row, x_column}, y, {y_batch, y_row, y_column}, z, partial, length, batches, m, n, k);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
matmul_32(long long items, const real *x, int x_batch, int x_row, int x_column, const real *y,
           int y_batch, int y_row, int y_column, real *z, wide *partial, int length, int batches, int m, int n, int k) {
    product<32>(x, {x_batch, x_row, x_column}, y, {y_batch, y_row, y_column}, z, partial, length, batches, m, n, k);
}
