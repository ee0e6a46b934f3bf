// A product of matrices on tensor cores: the tile that a block computes. Needs mma.cuh.
//
//     C (rows x columns) = A (rows x depth) B (depth x columns)
//
//                         B: a stripe of columns
//                          | 32 N |                     block   32 M x 32 N of C, in 8 warps, 2 above 4:
//                          +------+                                 0 1 2 3
//                          |  b   |  DEPTH                          4 5 6 7
//                          +------+                     warp    16 M x 8 N of C: M x N fragments, which stay in registers
//        A: a stripe       |      |                             from the first product to the last
//          of rows         :      :                     step    DEPTH of the sum: a and b lie in shared memory, from where
//        +---+------ -     +------+                             the warps read them M + N times for M x N products
//   32 M | a |             |  C   |
//        +---+------ -     +------+
//         DEPTH
//
// Shared memory has room for two steps. While the warps multiply one, the numbers of the next are on their way from global memory
// into registers, and go from there into the other half: one barrier a step. They pass through registers, rather than being
// copied asynchronously, because there floats are rounded to tf32 once, not each time that a warp reads them, and because an
// asynchronous copy moves 4 bytes at least, and windows are gathered number by number.
//
// Source: NVIDIA, CUTLASS documentation, "Efficient GEMM in CUDA" (the hierarchy of tiles) and "Implicit GEMM Convolution".
#pragma once

constexpr int BLOCK = 256;      // threads
constexpr int CHUNKS = 4;       // of 4 words, in a row of a or a column of b
constexpr int PER_CHUNK = 16 / sizeof(real);
constexpr int DEPTH = CHUNKS * PER_CHUNK;

// What moves to and from shared memory at once.
union alignas(16) Chunk {
    unsigned word[4];
    real number[PER_CHUNK];
};

// As the tensor cores take them.
__device__ inline Chunk operands(const real *number) {
    Chunk chunk;
#pragma unroll
    for (int i = 0; i < PER_CHUNK; i++) chunk.number[i] = operand(number[i]);
    return chunk;
}

// The place of a chunk in shared memory, in which a row of a (a column of b) takes 16 words, half a line of its 32 banks. Threads
// that read or write chunks, 8 at a time, must find them in 8 different eighths of a line:
//
//     line 0   row 0: 0 1 2 3   row 1: 0 1 2 3          8 threads with chunk 0 of rows 0 to 7 (as ldmatrix reads, and as a thread
//     line 1   row 2: 1 0 3 2   row 3: 1 0 3 2          for each row writes) hit all eight,
//     line 2   row 4: 2 3 0 1   row 5: 2 3 0 1          8 threads with the chunks of 2 rows, too.
//     line 3   row 6: 3 2 1 0   row 7: 3 2 1 0
__device__ inline int place_of(int row, int chunk) { return row * CHUNKS + (chunk ^ row / 2 % 4); }

template <int M, int N> struct Tile {
    static constexpr int ROWS = 32 * M, COLUMNS = 32 * N;
    static constexpr int PAD = 8;  // rows that begin 8 banks apart: the 4 rows x 4 pairs of columns of 16 threads hit all banks

    union Shared {
        struct { Chunk a[2][ROWS * CHUNKS], b[2][COLUMNS * CHUNKS]; };
        float sums[32][COLUMNS + PAD];
    };

    FragmentC c[M][N];
    int lane, row, column;  // of the warp's part of the tile

    __device__ Tile() : c(), lane(threadIdx.x % 32), row(threadIdx.x / 128 * 16 * M), column(threadIdx.x / 32 % 4 * 8 * N) {}

    __device__ void multiply(const Chunk *a, const Chunk *b) {
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; chunk += 2) {  // an instruction takes 8 words of a row
            FragmentA x[M];
            FragmentB y[N];
#pragma unroll
            for (int m = 0; m < M; m++)
                load_matrices(a[place_of(row + 16 * m + lane % 16, chunk + lane / 16)].word, x[m].word);
#pragma unroll
            for (int n = 0; n < N; n += 2) {
                unsigned both[4];
                load_matrices(b[place_of(column + 8 * n + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2)].word, both);
                y[n] = {both[0], both[1]}, y[n + 1] = {both[2], both[3]};
            }
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < N; n++) multiply_add(x[m], y[n], c[m][n], real{});
        }
    }

    // C = the sum over ``steps``; ``source.fetch()`` reads a's and b's next step into registers, and ``source.deposit`` puts them
    // into shared memory.
    template <class Source> __device__ void accumulate(Source &source, Shared &shared, int steps) {
        source.fetch();
        source.deposit(shared.a[0], shared.b[0]);
        __syncthreads();
        for (int step = 0; step < steps; step++) {
            int now = step % 2, next = 1 - now;
            if (step + 1 < steps) source.fetch();
            multiply(shared.a[now], shared.b[now]);
            if (step + 1 < steps) source.deposit(shared.a[next], shared.b[next]);
            __syncthreads();
        }
    }

    // Calls ``store(row, value)`` for all of C, thread i for column i % COLUMNS, so that neighbouring threads write neighbouring
    // numbers. Fragments are not like that, so 32 rows at a time pass through shared memory.
    template <class Store> __device__ void finish(Shared &shared, Store store) {
        int above = threadIdx.x / 128 * 16 + lane / 4, left = column + lane % 4 * 2;
#pragma unroll
        for (int m = 0; m < M; m++) {
#pragma unroll
            for (int n = 0; n < N; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) shared.sums[above + i / 2 * 8][left + 8 * n + i % 2] = c[m][n].sum[i];
            __syncthreads();
            for (int r = threadIdx.x / COLUMNS; r < 32; r += BLOCK / COLUMNS)
                store(r / 16 * 16 * M + 16 * m + r % 16, shared.sums[r][threadIdx.x % COLUMNS]);
            __syncthreads();
        }
    }
};
