// Softmax and its logarithm along one axis, and their gradients. Formulas: kernels/portable.
//
// An array is seen as (outer, length, inner), the axis in the middle. A row, the ``length`` numbers that belong together, lies
// ``inner`` apart and is worked on by one warp: thread ``lane`` takes elements lane, lane + 32, ...
#include "warp.cuh"

struct Row {
    long long first;  // place of its first element
    int lane;
    bool exists;
};

__device__ Row row_of_this_warp(long long rows, int length, long long inner) {
    long long thread = (long long) blockIdx.x * blockDim.x + threadIdx.x, row = thread / 32;
    return {row / inner * length * inner + row % inner, (int) (thread % 32), row < rows};
}

// The largest of a row, and the sum of exp(x - largest). A NaN is no maximum, and makes the sum NaN.
__device__ void totals(Row row, int length, long long inner, const real *x, real &largest, real &sum) {
    largest = x[row.first], sum = 0;
    for (int k = row.lane; k < length; k += 32) largest = fmax(largest, x[row.first + k * inner]);
    largest = max_of_warp(largest);
    for (int k = row.lane; k < length; k += 32) sum += exp(x[row.first + k * inner] - largest);
    sum = sum_of_warp(sum);
}

extern "C" __global__ void softmax(long long items, const real *x, real *y, int length, long long inner) {
    Row row = row_of_this_warp(items, length, inner);
    if (!row.exists) return;  // the whole warp
    real largest, sum;
    totals(row, length, inner, x, largest, sum);
    for (int k = row.lane; k < length; k += 32) {
        long long i = row.first + k * inner;
        y[i] = exp(x[i] - largest) / sum;
    }
}

extern "C" __global__ void log_softmax(long long items, const real *x, real *y, int length, long long inner) {
    Row row = row_of_this_warp(items, length, inner);
    if (!row.exists) return;
    real largest, sum;
    totals(row, length, inner, x, largest, sum);
    for (int k = row.lane; k < length; k += 32) {
        long long i = row.first + k * inner;
        y[i] = x[i] - largest - log(sum);
    }
}

extern "C" __global__ void softmax_grad(long long items, const real *gy, const real *y, real *gx, int length, long long inner) {
    Row row = row_of_this_warp(items, length, inner);
    if (!row.exists) return;
    real mean = 0;
    for (int k = row.lane; k < length; k += 32) mean += gy[row.first + k * inner] * y[row.first + k * inner];
    mean = sum_of_warp(mean);
    for (int k = row.lane; k < length; k += 32) {
        long long i = row.first + k * inner;
        gx[i] = y[i] * (gy[i] - mean);
    }
}

extern "C" __global__ void log_softmax_grad(long long items, const real *gy, const real *y, real *gx, int length,
                                            long long inner) {
    Row row = row_of_this_warp(items, length, inner);
    if (!row.exists) return;
    real sum = 0;
    for (int k = row.lane; k < length; k += 32) sum += gy[row.first + k * inner];
    sum = sum_of_warp(sum);
    for (int k = row.lane; k < length; k += 32) {
        long long i = row.first + k * inner;
        gx[i] = gy[i] - exp(y[i]) * sum;
    }
}
