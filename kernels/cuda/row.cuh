// Rows of numbers that belong together, ``length`` of them, ``inner`` apart: a warp for each, or where neighbouring rows have
// neighbouring numbers (inner of 32 or more) a thread. Numbers side by side (inner 1) are read and written in packs, where every
// row begins with a whole one.
//
// A warp keeps a row of up to 1024 floats or 512 doubles in its registers, or 256 numbers one by one, so that each is read once
// and no work is done twice. Longer rows and those of single threads are read again for each pass, from the cache.
#pragma once
#include "load.cuh"
#include "pack.cuh"
#include "warp.cuh"

constexpr int MOST_KEPT = 128 / sizeof(wide);  // in the registers of a thread

struct Row {
    long long first;  // place of its first number
    int length, start, step;  // this thread takes start, start + step, ...
    long long inner;
    bool exists;

    __device__ wide sum(wide value) const { return step == 1 ? value : sum_of_warp(value); }
    __device__ wide largest(wide value) const { return step == 1 ? value : max_of_warp(value); }
};

__device__ Row row_of_this_thread(long long rows, int length, long long inner) {
    long long thread = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (inner >= 32) return {thread / inner * length * inner + thread % inner, length, 0, 1, inner, thread < rows};
    long long row = thread / 32, outer = inner == 1 ? row : row / inner;
    return {outer * length * inner + (row - outer * inner), length, (int) (thread % 32), 32, inner, row < rows};
}

// A row as one thread goes through it: in packs of N, of which up to KEPT, all that it has, can be kept in registers; or none.
template <int KEPT_, int N_> struct Walk : Row {
    static constexpr int KEPT = KEPT_, N = N_;

    // Reads the packs that can be kept, all before the first is needed: a branch around each would make it wait for the last.
    template <int COUNT> __device__ void keep(const real *x, Pack<wide, N> (&kept)[COUNT]) const {
        const Pack<real, N> *from = (const Pack<real, N> *) (x + first) + start;
#pragma unroll
        for (int j = 0; j < KEPT; j++) {
            Pack<real, N> stored = load_if(start + 32 * j < length / N, from + 32 * j);
            for (int k = 0; k < N; k++) kept[j].at[k] = stored.at[k];
        }
    }

    // f(j, place of the first number) for each pack. With KEPT, j counts them at compile time: kept[j] is a register.
    template <class F> __device__ void each(F f) const {
        constexpr int TOGETHER = 4;  // loads that are on their way at the same time
        const int packs = length / N;
        const long long from = first + start * N * inner, stride = step * N * inner;
        if (KEPT) {
#pragma unroll
            for (int j = 0; j < KEPT; j++)
                if (start + 32 * j < packs) f(j, from + j * stride);
            return;
        }
        int k = start;
        long long place = from;
        for (; k + (TOGETHER - 1) * step < packs; k += TOGETHER * step, place += TOGETHER * stride) {
#pragma unroll
            for (int j = 0; j < TOGETHER; j++) f(0, place + j * stride);
        }
        for (; k < packs; k += step, place += stride) f(0, place);
    }
};

// f(Walk) with what fits the length of this thread's row, the same for a whole warp; nothing if there is no such row.
template <class F, class... T>
__device__ void each_row(long long rows, int length, long long inner, F f, const T *...arrays) {
    Row row = row_of_this_thread(rows, length, inner);
    if (!row.exists) return;
    if (inner == 1 && length % LANES == 0 && aligned(arrays...)) {
        if (length <= 32 * LANES)
            f(Walk<1, LANES>{row});
        else if (length <= 32 * MOST_KEPT)
            f(Walk<MOST_KEPT / LANES, LANES>{row});
        else
            f(Walk<0, LANES>{row});
    } else if (row.step == 1 || length > 256)
        f(Walk<0, 1>{row});
    else if (length <= 32)
        f(Walk<1, 1>{row});
    else
        f(Walk<8, 1>{row});
}
