// Rows of numbers that belong together, ``length`` of them, ``inner`` apart: a warp for each, or where neighbouring rows have
// neighbouring numbers (inner of 32 or more) a thread.
//
// A warp keeps a row of up to 1024 floats or 512 doubles in its registers, so that each is read once and no work is done twice.
// Longer rows and those of single threads are read again for each pass, from the cache.
#pragma once
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

// f(j, place) for each number of a thread. With KEPT, which is enough, j counts them at compile time: kept[j] is a register.
template <int KEPT, class F> __device__ void over(const Row &row, F f) {
    constexpr int TOGETHER = 4;  // loads that are on their way at the same time
    const long long first = row.first, inner = row.inner;
    if (KEPT) {
#pragma unroll
        for (int j = 0; j < KEPT; j++)
            if (row.start + 32 * j < row.length) f(j, first + (row.start + 32 * j) * inner);
        return;
    }
    int k = row.start;
    for (; k + (TOGETHER - 1) * row.step < row.length; k += TOGETHER * row.step) {
#pragma unroll
        for (int j = 0; j < TOGETHER; j++) f(0, first + (k + j * row.step) * inner);
    }
    for (; k < row.length; k += row.step) f(0, first + k * inner);
}

// f(Size<KEPT>) with how many numbers a thread keeps, at most; 0 if it reads them again.
template <class F> __device__ void by_length(const Row &row, F f) {
    if (row.step == 1 || row.length > 32 * MOST_KEPT)
        f(Size<0>());
    else if (row.length <= 32)
        f(Size<1>());
    else if (row.length <= 256)
        f(Size<8>());
    else
        f(Size<MOST_KEPT>());
}
