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
// Shared memory has room for STAGES steps. While the warps multiply one, the numbers of the next two are on their way from global
// memory, in chunks of 16 bytes: a barrier a step. It shows that a step has come, and that all warps are done with the one
// before, whose place the next copies take.
//
// Source: NVIDIA, CUTLASS documentation, "Efficient GEMM in CUDA" (the hierarchy of tiles) and "Implicit GEMM Convolution".
#pragma once
#include "async.cuh"
#include "wgmma.cuh"

constexpr int BLOCK = 256;      // threads
constexpr int STAGES = 3;
constexpr int CHUNKS = 4;       // of 4 words, in a step of one row of A or one column of B
constexpr int PER_CHUNK = 16 / sizeof(real);
constexpr int DEPTH = CHUNKS * PER_CHUNK;

// What moves to and from shared memory at once.
union alignas(16) Chunk {
    unsigned word[4];
    real number[PER_CHUNK];
};

// How a and b lie in shared memory: ``i`` counts the rows of a or the columns of b, ``k`` the depth. A line of the 32 banks is 8
// chunks, and 8 threads that read or write chunks at the same time must find them in 8 different eighths of a line. Therefore
// chunks change places within their line.
//
// Along the depth: a chunk holds neighbours in k, and i takes half a line.
//
//     line 0   i = 0: 0 1 2 3   i = 1: 0 1 2 3          8 threads with chunk 0 of 8 neighbours in i (as ldmatrix reads) hit all
//     line 1   i = 2: 1 0 3 2   i = 3: 1 0 3 2          eighths, 8 threads with all chunks of two (as they are copied), too.
//     line 2   i = 4: 2 3 0 1   i = 5: 2 3 0 1
//     line 3   i = 6: 3 2 1 0   i = 7: 3 2 1 0
template <int EXTENT> struct Along {
    static constexpr Order ORDER = ALONG;
    int first;  // the first i of this warp

    __device__ explicit Along(int first) : first(first) {}
    __device__ static int place(int i, int chunk) { return i * CHUNKS + (chunk ^ i / 2 % 4); }
    __device__ static Operand operand(const Chunk *tile, int i, int chunk) {
        return {tile + i * CHUNKS + chunk, ALONG, 16, 8 * CHUNKS * 16};
    }

    // The fragments of 16 rows from ``i`` on, or of 2 x 8 columns; ``chunk``: the first of the two that an instruction takes.
    __device__ void load_rows(const Chunk *a, int i, int chunk, unsigned (&words)[4]) const {
        int lane = threadIdx.x % 32;
        load_matrices<false>(a[place(first + i + lane % 16, chunk + lane / 16)].word, words);
    }
    __device__ void load_columns(const Chunk *b, int i, int chunk, unsigned (&words)[4]) const {
        int lane = threadIdx.x % 32;
        load_matrices<false>(b[place(first + i + lane % 8 + lane / 16 * 8, chunk + lane / 8 % 2)].word, words);
    }
};

// Across the depth: a chunk holds neighbours in i. Of numbers of 16 bits each 64 of i have lines of their own, one for each k;
// ldmatrix transposes them, and reads one chunk of 8 neighbours in k. Of floats a k has all its lines side by side. They are read
// one by one, by a warp 8 neighbours in i of 4 in k: where these are is worked out once, for what the changing of places makes of
// the first four times 8 in i, and the rest are at constant distances.
template <int EXTENT> struct Across {
    static constexpr Order ORDER = ACROSS;
    static constexpr int LENGTH = EXTENT / PER_CHUNK;  // of k, in chunks
    int first;
    int float_at[4];  // in words

    __device__ explicit Across(int first) : first(first) {
        int lane = threadIdx.x % 32, i = first + lane / 4;
#pragma unroll
        for (int e = 0; e < 4; e++) float_at[e] = place(lane % 4, i / 4 + 2 * e) * 4 + i % 4;
    }
    __device__ static int place(int k, int chunk) {
        if constexpr (sizeof(real) == 2) return (chunk / 8 * DEPTH + k) * 8 + (chunk % 8 ^ k % 8);
        return k * LENGTH + (chunk ^ k % 4 * 2);
    }
    __device__ static Operand operand(const Chunk *tile, int i, int chunk) {
        return {tile + (i / 64 * DEPTH + chunk * PER_CHUNK) * 8, ACROSS, DEPTH * 8 * 16, 8 * 8 * 16};
    }

    // The float of this thread in the ``e``-th 8 of i, from k on.
    __device__ unsigned word(const Chunk *tile, int e, int k) const {
        return ((const unsigned *) tile)[float_at[e % 4] + (k * LENGTH + e / 4 * 8) * 4];
    }
    __device__ void load_rows(const Chunk *a, int i, int chunk, unsigned (&words)[4]) const {
        int k = chunk * PER_CHUNK;
        if constexpr (sizeof(real) == 2) {
            int lane = threadIdx.x % 32;
            load_matrices<true>(a[place(k + lane % 8 + lane / 16 * 8, (first + i) / 8 + lane / 8 % 2)].word, words);
        } else
#pragma unroll
            for (int w = 0; w < 4; w++) words[w] = word(a, i / 8 + w % 2, k + w / 2 * 4);
    }
    __device__ void load_columns(const Chunk *b, int i, int chunk, unsigned (&words)[4]) const {
        int k = chunk * PER_CHUNK;
        if constexpr (sizeof(real) == 2) {
            int lane = threadIdx.x % 32;
            load_matrices<true>(b[place(k + lane % 8 + lane / 8 % 2 * 8, (first + i) / 8 + lane / 16)].word, words);
        } else
#pragma unroll
            for (int w = 0; w < 4; w++) words[w] = word(b, i / 8 + w / 2, k + w % 2 * 4);
    }
};

// What follows is said twice: for warps with fragments of their own, and for groups of four (wgmma.cuh), of which each takes 64
// rows of 128, or 64 columns where there are 64 rows alone.
template <int M, int N, template <int> class LieA, template <int> class LieB> struct Tile {
    static constexpr int ROWS = 32 * M, COLUMNS = 32 * N;
    using A = LieA<ROWS>;
    using B = LieB<COLUMNS>;
    static constexpr bool GROUPS = WARPGROUPS && N == 4 && (sizeof(real) == 2 || (A::ORDER == ALONG && B::ORDER == ALONG));
    static constexpr int PAD = 8;  // rows that begin 8 banks apart: the 4 rows x 4 pairs of columns of 16 threads hit all banks

    union alignas(1024) Shared {  // as the lines that change places begin
        struct { Chunk a[STAGES][ROWS * CHUNKS], b[STAGES][COLUMNS * CHUNKS]; };
        float sums[32][COLUMNS + PAD];
    };

    FragmentC c[M * N];
    A rows;     // of the warp's part of the tile
    B columns;

    __device__ Tile() : c(), rows(first_row()), columns(first_column()) {}

    __device__ static int first_row() {
        int warp = threadIdx.x / 32;
        if (GROUPS) return ROWS == 128 ? warp * 16 : warp % 4 * 16;
        return warp / 4 * 16 * M;
    }
    __device__ static int first_column() {
        int warp = threadIdx.x / 32;
        if (GROUPS) return ROWS == 128 ? 0 : warp / 4 * 64;
        return warp % 4 * 8 * N;
    }

    __device__ void multiply(const Chunk *a, const Chunk *b) {
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; chunk += 2) {  // an instruction takes 8 words of a row
            FragmentA x[M];
            FragmentB y[N];
#pragma unroll
            for (int m = 0; m < M; m++) rows.load_rows(a, 16 * m, chunk, x[m].word);
#pragma unroll
            for (int n = 0; n < N; n += 2) {
                unsigned both[4];
                columns.load_columns(b, 8 * n, chunk, both);
                y[n] = {both[0], both[1]}, y[n + 1] = {both[2], both[3]};
            }
#pragma unroll
            for (int m = 0; m < M; m++)
#pragma unroll
                for (int n = 0; n < N; n++) multiply_add(x[m], y[n], c[m * N + n], real{});
        }
    }

    // The products are under way when this returns.
    __device__ void multiply_in_groups(const Chunk *a, const Chunk *b) {
        begin_products();
#pragma unroll
        for (int chunk = 0; chunk < CHUNKS; chunk += 2)
            multiply_add<A::ORDER, B::ORDER>(A::operand(a, first_row() / 64 * 64, chunk), B::operand(b, first_column(), chunk), c,
                                             real{});
        end_products();
    }

    // C = the sum over ``steps``; ``source.fetch`` begins to copy a's and b's next step.
    template <class Source> __device__ void accumulate(Source &source, Shared &shared, int steps) {
        for (int stage = 0; stage < STAGES - 1; stage++) {
            if (stage < steps) source.fetch(shared.a[stage], shared.b[stage]);
            end_group();
        }
        for (int step = 0, now = 0, next = STAGES - 1; step < steps; step++) {
            wait_for_all_but<STAGES - 2>();
            if constexpr (GROUPS) show_to_cores(), wait_for_products(c);
            __syncthreads();
            if constexpr (GROUPS) multiply_in_groups(shared.a[now], shared.b[now]);
            if (step + STAGES - 1 < steps) source.fetch(shared.a[next], shared.b[next]);
            end_group();
            if constexpr (!GROUPS) multiply(shared.a[now], shared.b[now]);
            next = now, now = now == STAGES - 1 ? 0 : now + 1;
        }
        if constexpr (GROUPS) wait_for_products(c);
        __syncthreads();
    }

    // The first of the four neighbouring columns of which ``finish`` gives a thread all sums.
    __device__ static int four() { return threadIdx.x % (COLUMNS / 4) * 4; }

    // Calls ``store(row, sums)`` for all of C, with four sums each, so that neighbouring threads write neighbouring numbers.
    // Fragments are not like that, so 32 rows at a time pass through shared memory.
    template <class Store> __device__ void finish(Shared &shared, Store store) {
        int above = (GROUPS ? rows.first % 32 : threadIdx.x / 128 * 16) + threadIdx.x % 32 / 4;
        int left = columns.first + threadIdx.x % 4 * 2;
        constexpr int WIDTH = GROUPS ? M * N : N;  // fragments side by side
#pragma unroll
        for (int m = 0; m < M; m++) {
            if (!GROUPS || rows.first / 32 == m)
#pragma unroll
                for (int n = 0; n < WIDTH; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        shared.sums[above + i / 2 * 8][left + 8 * n + i % 2] = c[GROUPS ? n : m * N + n].sum[i];
            __syncthreads();
            for (int r = threadIdx.x / (COLUMNS / 4); r < 32; r += BLOCK / (COLUMNS / 4))
                store(GROUPS ? 32 * m + r : r / 16 * 16 * M + 16 * m + r % 16, &shared.sums[r][four()]);
            __syncthreads();
        }
    }
};
