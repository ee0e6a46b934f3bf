// Sums over an array x (batch, outer, kept, inner), over ``outer`` and ``inner``: one for each of its batch * kept channels.
// A team of threads adds up one of ``parts`` equal parts of a channel:
//   WARP    32 threads: for channels with few numbers, all in one part
//   BLOCK   256 threads
//   COLUMN  8 threads, one of each warp of a block, where inner is 1: the 32 teams of a block have neighbouring channels, so that
//           a warp reads neighbouring numbers
// A channel has ``outer`` rows of ``inner`` numbers, kept * inner apart. A team walks over its part side by side: member m takes
// the numbers m, m + members, ... of it, or if rows can be cut into packs, the packs.
#pragma once
#include "pack.cuh"
#include "warp.cuh"

enum Team { WARP, BLOCK, COLUMN };
constexpr int HALF = LANES == 8 ? 4 : 1;

struct Share {  // of one thread
    int team, member, members;
    bool exists;  // if not, it only takes part in barriers
    unsigned channel;
    int part, parts;
    long long first, stride;  // places of the channel's first number and, from there, of the next row
    int outer, inner;
};

__device__ Share share_of_this_thread(long long items, int team, int outer, int kept, int inner, int parts) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Share s = {team, (int) threadIdx.x, (int) blockDim.x, true, blockIdx.x, 0, parts};
    if (team == WARP) {
        s.channel = blockIdx.x * (blockDim.x / 32) + warp, s.member = lane, s.members = 32, s.exists = s.channel < items;
    } else if (parts > 1)
        s.channel = blockIdx.x / parts, s.part = blockIdx.x % parts;
    unsigned batch = s.channel, c = 0;
    if (team == COLUMN) {
        unsigned groups = (kept + 31) / 32;
        batch = s.channel / groups, c = s.channel % groups * 32 + lane, s.channel = batch * kept + c;
        s.member = warp, s.members = blockDim.x / 32, s.exists = c < kept;
    } else if (kept > 1)
        batch = s.channel / kept, c = s.channel % kept;
    s.stride = (long long) kept * inner, s.first = batch * (outer * s.stride) + (long long) c * inner;
    s.outer = outer, s.inner = inner;
    return s;
}

// The steps of n numbers, counted along a channel, that make a part.
struct Range {
    long long from;
    int count;
};

__device__ Range range_of(const Share &s, int n) {
    long long all = (long long) s.outer * (s.inner / n);
    if (s.parts == 1) return {0, (int) all};
    long long from = all * s.part / s.parts;
    return {from, (int) (all * (s.part + 1) / s.parts - from)};
}

// Where step u begins.
__device__ long long place_of(const Share &s, int n, long long u) {
    if (u == 0) return s.first;
    int in_row = s.inner / n;
    return s.first + u / in_row * s.stride + u % in_row * n;
}

// f(Size<N>, place, row, i) for each step of a thread: N numbers from x[place] on, those from i on in their row. As long as there
// are enough, several steps are taken without a branch, so that the loads of all are on their way together.
template <int N, class F> __device__ void steps(const Share &s, F f) {
    constexpr int TOGETHER = N == 1 ? 8 : 4;
    Range range = range_of(s, N);
    if (!s.exists || range.count == 0) return;
    unsigned in_row = s.inner / N, row = 0, i = (unsigned) range.from + s.member, row_step = 0, step = s.members;
    if (s.outer > 1) {
        row = range.from ? (unsigned) (range.from / in_row) : 0, i -= row * in_row;
        row += i / in_row, i %= in_row, row_step = step / in_row, step %= in_row;
    }
    auto one = [&] {
        f(Size<N>(), s.first + row * s.stride + (long long) i * N, (int) row, (int) i * N);
        row += row_step, i += step;
        if (i >= in_row) i -= in_row, row++;
    };
    int at = s.member;
    for (; at + (TOGETHER - 1) * s.members < range.count; at += TOGETHER * s.members) {
#pragma unroll
        for (int k = 0; k < TOGETHER; k++) one();
    }
    for (; at < range.count; at += s.members) one();
}

// How many numbers a step takes: a pack, or half of one (rows of 14 x 14 numbers of 16 bits can be cut no better), or one.
__device__ int numbers_of_step(const Share &s, bool packs) {
    return packs && s.inner % LANES == 0 ? LANES : packs && s.inner % HALF == 0 ? HALF : 1;
}

template <class F> __device__ void walk(const Share &s, bool packs, F f) {
    int n = numbers_of_step(s, packs);
    if (n == LANES)
        steps<LANES>(s, f);
    else if (HALF > 1 && n == HALF)
        steps<HALF>(s, f);
    else
        steps<1>(s, f);
}

// The sum over all members of a team; all get it.
__device__ double sum_of_team(const Share &s, double value) {
    __shared__ double values[256];
    if (s.team != COLUMN) value = sum_of_warp(value);
    if (s.team == WARP) return value;
    values[threadIdx.x] = value;
    __syncthreads();
    value = 0;
    for (int i = threadIdx.x % 32; i < 256; i += 32) value += values[i];
    __syncthreads();  // until all have read
    return value;
}
