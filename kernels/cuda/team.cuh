// Sums over parts of an array x (batch, outer, kept, inner): over ``outer`` and ``inner``, one for each of its batch * kept channels.
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

struct Share {  // of one thread
    int team, member, members;
    bool exists;  // if not, it only takes part in barriers
    long long channel;
    int part, parts;
    long long first, stride;  // places of the channel's first number and, from there, of the next row
    int outer, inner;
};

__device__ Share share_of_this_thread(long long items, int team, int outer, int kept, int inner, int parts) {
    int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Share s = {team, (int) threadIdx.x, (int) blockDim.x, true, blockIdx.x / parts, (int) (blockIdx.x % parts), parts};
    if (team == WARP) {
        s.channel = (long long) blockIdx.x * (blockDim.x / 32) + warp, s.member = lane, s.members = 32;
        s.exists = s.channel < items;
    }
    int c = (int) (s.channel % kept);
    long long batch = s.channel / kept;
    if (team == COLUMN) {
        int groups = (kept + 31) / 32;
        c = (int) (s.channel % groups) * 32 + lane, batch = s.channel / groups;
        s.channel = batch * kept + c, s.member = warp, s.members = blockDim.x / 32, s.exists = c < kept;
    }
    s.stride = (long long) kept * inner, s.first = batch * outer * s.stride + (long long) c * inner;
    s.outer = outer, s.inner = inner;
    return s;
}

// The range of numbers, in steps of n, that makes a part.
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

// Where step u of n numbers begins.
__device__ long long place_of(const Share &s, int n, long long u) {
    if (u == 0) return s.first;
    int in_row = s.inner / n;
    return s.first + u / in_row * s.stride + u % in_row * n;
}

template <int N> struct Size { static constexpr int value = N; };

// f(Size<N>, place, row, i) for each step of a thread: N numbers from x[place] on, those from i on in their row.
template <int N, class F> __device__ void steps(const Share &s, F f) {
    Range range = range_of(s, N);
    if (!s.exists || s.member >= range.count) return;
    unsigned in_row = s.inner / N, row_step = s.members / in_row, step = s.members % in_row;
    unsigned row = range.from ? (unsigned) (range.from / in_row) : 0, i = (unsigned) (range.from - (long long) row * in_row) + s.member;
    row += i / in_row, i %= in_row;
#pragma unroll 4
    for (int at = s.member; at < range.count; at += s.members) {
        f(Size<N>(), s.first + row * s.stride + (long long) i * N, (int) row, (int) i * N);
        row += row_step, i += step;
        if (i >= in_row) i -= in_row, row++;
    }
}

template <class F> __device__ void walk(const Share &s, bool packs, F f) {
    if (packs && s.inner % LANES == 0)
        steps<LANES>(s, f);
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
