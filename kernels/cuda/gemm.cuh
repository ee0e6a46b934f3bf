// Products of matrices in plain arithmetic:   C (M, N) = A (M, K) B (K, N)
//
// A block of 256 threads computes a tile of ROWS x 128 elements of C. It walks along k in steps of 8, and brings to shared memory
// what the tile needs of A, ROWS x 8, and of B, 8 x 128. Each thread adds up ROWS/16 x 8 elements of the tile in registers: per k
// it reads ROWS/16 + 8 numbers from shared memory for ROWS/16 * 8 multiply-adds (16 for 64 in the largest tile). There are two
// buffers: while one is multiplied, the numbers of the next step are under way to registers, and then go into the other one, so
// that a step needs one barrier.
//
//               n ->                        A and B need not lie in memory as matrices: an operand tells where element (i, k) is
//            [ B: 8 x 128 ]                 (i is m for A and n for B). What depends on i alone is worked out once, before the
//   m  [A: ] [            ]                 loop; k is counted in digits, as (channel, a, b) of a window, which move on without
//   |  [ROWS][ C: ROWS x  ]                 divisions.
//   v  [x 8 ][      128   ]
#pragma once
#include "digits.cuh"

constexpr int THREADS = 256;
constexpr int DEPTH = 8;      // of k in a step
constexpr int COLUMNS = 128;  // of a tile
constexpr int BLOCKS = sizeof(wide) == 8 ? 1 : 2;  // on a multiprocessor, a quarter full then: 128 registers for a thread, or 255

// An operand whose elements lie at regular distances: ``step`` for i, which counts from the edge of the tile, and one for each
// digit of k. Elements are counted in 32 bits, which saves registers: larger arrays take another way (gemm.py).
struct Matrix {
    const real *first;
    bool along_k;  // do neighbours in memory differ in k rather than in i?
    int size;      // i counts to here
    int step;
    Counter counter;
    int high, middle, low;

    __device__ wide at(int i) const {
        Digits k = counter.now;
        int place = i * step + k.high * high + k.middle * middle + k.low * low;
        return (i < size) & (counter.left > 0) ? wide(first[place]) : 0;
    }
};

// The share of one thread in bringing an operand: the elements (i, k), (i + 32, k), (i + 64, k), ... of EXTENT x 8. The lanes of
// a warp read memory in order where they can: 8 values of k for 4 of i, or 32 of i for one k. The shared buffer holds k after k,
// each EXTENT + 4 numbers long: in both orders the 32 numbers that a warp stores go into 32 banks, as bank 4k + i or i. Numbers
// are read one by one, as windows begin anywhere: in the largest tile that is 8 reads of a thread for its 512 multiply-adds, and
// vectors of four would save 6.
template <int EXTENT, class Operand> struct Share {
    Operand operand;
    int i, k;
    wide values[EXTENT / 32];

    __device__ Share(const Operand &whole, int from) : operand(whole) {
        int t = threadIdx.x;
        i = operand.along_k ? t / DEPTH : t % 32;
        k = operand.along_k ? t % DEPTH : t / 32;
        operand.counter.start(from + k);
    }
    __device__ void fetch() {
#pragma unroll
        for (int q = 0; q < EXTENT / 32; q++) values[q] = operand.at(i + 32 * q);
        operand.counter.advance();
    }
    __device__ void put(wide (*buffer)[EXTENT + 4]) const {
#pragma unroll
        for (int q = 0; q < EXTENT / 32; q++) buffer[k][i + 32 * q] = values[q];
    }
};

// Which tile of C this block computes: those of one column of tiles follow each other, as they read the same of the larger B.
// What else blocks are counted by comes after that, as ``rest``.
template <int ROWS> struct Tile {
    int row, column, rest;

    __device__ Tile(int rows, int columns) {
        int down = (rows + ROWS - 1) / ROWS, across = (columns + COLUMNS - 1) / COLUMNS, block = blockIdx.x;
        row = block % down * ROWS, column = block / down % across * COLUMNS, rest = block / down / across;
    }
};

// N numbers that are moved at once.
template <class Number, int N> struct alignas(N * sizeof(Number) < 16 ? N * sizeof(Number) : 16) Vector {
    Number number[N];
};

// The part of the tile that a thread computes: rows and columns in runs of up to four, so that they are read from shared memory
// as vectors. The 32 lanes of a warp, 4 down and 8 across, read 8 vectors side by side, which are in different banks.
template <int ROWS> struct Part {
    static constexpr int HEIGHT = ROWS / 16, WIDTH = COLUMNS / 16;
    static constexpr int RUN = HEIGHT < 4 ? HEIGHT : 4;
    int down, across;  // of 16

    __device__ Part() {
        int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        down = warp / 2 * 4 + lane / 8, across = warp % 2 * 8 + lane % 8;
    }
    __device__ int row(int r) const { return (r / RUN * 16 + down) * RUN + r % RUN; }
    __device__ int column(int c) const { return (c / 4 * 16 + across) * 4 + c % 4; }
};

// sums = the elements of C in this thread's part of the tile, over k from ``from`` up to where the operands' counters stop; past
// that they bring zeros.
template <int ROWS, class A, class B>
__device__ void multiply(const A &a, const B &b, int from, wide (&sums)[ROWS / 16][COLUMNS / 16]) {
    alignas(16) __shared__ wide left[2][DEPTH][ROWS + 4], right[2][DEPTH][COLUMNS + 4];
    constexpr int HEIGHT = Part<ROWS>::HEIGHT, WIDTH = Part<ROWS>::WIDTH, RUN = Part<ROWS>::RUN;
    Part<ROWS> part;
    Share<ROWS, A> of_a(a, from);
    Share<COLUMNS, B> of_b(b, from);

#pragma unroll
    for (int r = 0; r < HEIGHT; r++)
#pragma unroll
        for (int c = 0; c < WIDTH; c++) sums[r][c] = 0;
    of_a.fetch(), of_b.fetch();
    of_a.put(left[0]), of_b.put(right[0]);
    __syncthreads();
    for (int depth = a.counter.stop - from, now = 0; depth > 0; depth -= DEPTH, now ^= 1) {
        of_a.fetch(), of_b.fetch();
#pragma unroll 1  // the numbers of two k do not fit into the registers
        for (int k = 0; k < DEPTH; k++) {
            Vector<wide, RUN> rows[HEIGHT / RUN];
            Vector<wide, 4> columns[WIDTH / 4];
#pragma unroll
            for (int v = 0; v < HEIGHT / RUN; v++) rows[v] = *(Vector<wide, RUN> *) &left[now][k][part.row(v * RUN)];
#pragma unroll
            for (int v = 0; v < WIDTH / 4; v++) columns[v] = *(Vector<wide, 4> *) &right[now][k][part.column(v * 4)];
#pragma unroll
            for (int r = 0; r < HEIGHT; r++)
#pragma unroll
                for (int c = 0; c < WIDTH; c++) sums[r][c] += rows[r / RUN].number[r % RUN] * columns[c / 4].number[c % 4];
        }
        of_a.put(left[now ^ 1]), of_b.put(right[now ^ 1]);
        __syncthreads();
    }
}

// Stores a thread's part of a tile. C (rows, columns) begins at ``first``, its rows are ``step`` apart, and column n lies at
// offset(n). ``fours``: columns 4i to 4i + 3 are neighbours in memory, and stored at once. What is stored is finish(m, sum).
template <int ROWS, class Number, class Offset, class Finish>
__device__ void store(const wide (&sums)[ROWS / 16][COLUMNS / 16], Tile<ROWS> tile, Number *first, long long step, int rows,
                      int columns, bool fours, Offset offset, Finish finish) {
    Part<ROWS> part;
#pragma unroll
    for (int c = 0; c < Part<ROWS>::WIDTH; c += 4) {
        int n = tile.column + part.column(c);
#pragma unroll
        for (int r = 0; r < Part<ROWS>::HEIGHT; r++) {
            int m = tile.row + part.row(r);
            if (m >= rows || n >= columns) continue;
            Number *row = first + m * step;
            if (fours) {
                Vector<Number, 4> four;
#pragma unroll
                for (int e = 0; e < 4; e++) four.number[e] = finish(m, sums[r][c + e]);
                *(Vector<Number, 4> *) (row + offset(n)) = four;
            } else {
#pragma unroll
                for (int e = 0; e < 4; e++)
                    if (n + e < columns) row[offset(n + e)] = finish(m, sums[r][c + e]);
            }
        }
    }
}

// The tile as part of a matrix (rows, columns) of ``whole``, or of ``partial`` if there is such; which one, tile.rest tells.
template <int ROWS>
__device__ void store_matrix(const wide (&sums)[ROWS / 16][COLUMNS / 16], Tile<ROWS> tile, real *whole, wide *partial, int rows,
                             int columns) {
    long long first = (long long) tile.rest * rows * columns;
    auto offset = [](int n) { return n; };
    auto finish = [](int, wide sum) { return sum; };
    if (partial)
        store<ROWS>(sums, tile, partial + first, columns, rows, columns, columns % 4 == 0, offset, finish);
    else
        store<ROWS>(sums, tile, whole + first, columns, rows, columns, columns % 4 == 0, offset, finish);
}
