// What CUDA C++ adds to C++, for a host without a GPU: its keywords, and a machine that runs one block after the other, each
// thread as a fiber that goes on until it ends or waits for others. Included before a *.cu file by host.py.
#pragma once
#include <math.h>
#include <ucontext.h>

#include <array>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#define __global__ __attribute__((unused))
#define __device__ __attribute__((unused))
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __shared__ static  // blocks run in turn, so one copy is enough
#define __restrict__ __restrict

struct dim3 { unsigned x; };
static dim3 gridDim, blockDim, blockIdx, threadIdx;
constexpr int warpSize = 32;

template <class N> std::enable_if_t<std::is_integral_v<N>, N> max(N a, N b) { return a > b ? a : b; }
template <class N> std::enable_if_t<std::is_integral_v<N>, N> min(N a, N b) { return a < b ? a : b; }

template <class N> N rsqrt(N value) { return 1 / sqrt(value); }

namespace host {

inline uint16_t half_of(float value) {
    _Float16 half = static_cast<_Float16>(value);
    uint16_t bits;
    std::memcpy(&bits, &half, sizeof bits);
    return bits;
}

inline float float_of(uint16_t bits) {
    _Float16 half;
    std::memcpy(&half, &bits, sizeof half);
    return half;
}

enum Waits { NOTHING, WARP, BLOCK, ENDED };

struct Fiber {
    ucontext_t context;
    Waits waits;
    uint64_t given[2];  // what it shows the others of its warp, in turn: they may still look at the last one
    int exchanges;
};

static std::vector<Fiber> fibers;
static std::vector<char> stacks;
static ucontext_t scheduler;
static void (*kernel)(void **arguments);  // what a thread does
static void **arguments;
static uint32_t chance;
constexpr size_t STACK = 64 << 10;

inline Fiber &current() { return fibers[threadIdx.x]; }

inline void wait(Waits what) {
    current().waits = what;
    swapcontext(&current().context, &scheduler);
}

inline void enter() {
    kernel(arguments);
    wait(ENDED);
}

// Lets threads [from, to) go on if all of them that have not ended wait for each other.
inline bool release(int from, int to, Waits what) {
    bool any = false;
    for (int t = from; t < to; t++) {
        if (fibers[t].waits != what && fibers[t].waits != ENDED) return false;
        any |= fibers[t].waits == what;
    }
    for (int t = from; t < to; t++)
        if (fibers[t].waits == what) fibers[t].waits = NOTHING;
    return any;
}

// One block, until all threads have ended; false if they wait for ever. In each round about half of the warps fall behind the
// others, and the threads of a warp go on in another order, so that a barrier that is missing is missed.
inline bool run_fibers(int threads) {
    fibers.resize(threads);
    stacks.resize(threads * STACK);
    for (int t = 0; t < threads; t++) {
        getcontext(&fibers[t].context);
        fibers[t].context.uc_stack.ss_sp = &stacks[t * STACK];
        fibers[t].context.uc_stack.ss_size = STACK;
        fibers[t].waits = NOTHING, fibers[t].exchanges = 0;
        makecontext(&fibers[t].context, enter, 0);
    }
    for (;;) {
        bool all_ended = true, behind = false, released = false;
        for (int from = 0; from < threads; from += warpSize) {
            chance = chance * 1664525 + 1013904223;  // a linear congruential generator
            for (int lane = 0; lane < warpSize; lane++) {
                int t = from + (lane ^ (chance >> 26 & 31));
                if (t >= threads) continue;
                threadIdx.x = t;
                if (fibers[t].waits == NOTHING && chance >> 31) swapcontext(&scheduler, &fibers[t].context);
                behind |= fibers[t].waits == NOTHING;
                all_ended &= fibers[t].waits == ENDED;
            }
        }
        if (all_ended) return true;
        for (int t = 0; t < threads; t += warpSize) released |= release(t, min(t + warpSize, threads), WARP);
        released |= release(0, threads, BLOCK);
        if (!released && !behind) return false;
    }
}

inline int run(long long blocks, int threads, void (*function)(void **), void **values) {
    gridDim.x = blocks, blockDim.x = threads, kernel = function, arguments = values, chance = 1;
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; blockIdx.x++) {
        if (BARRIERS) {
            if (!run_fibers(threads)) return 1;
            continue;
        }
        for (threadIdx.x = 0; threadIdx.x < blockDim.x; threadIdx.x++) kernel(arguments);
    }
    return 0;
}

// The value that thread ``lane`` of the caller's warp gives.
template <class N> N exchange(N value, int lane) {
    static_assert(sizeof(N) <= sizeof(uint64_t));
    int turn = current().exchanges++ % 2;
    std::memcpy(&current().given[turn], &value, sizeof(N));
    wait(WARP);
    std::memcpy(&value, &fibers[threadIdx.x / warpSize * warpSize + lane].given[turn], sizeof(N));
    return value;
}

// What all threads of the caller's warp give.
template <class N> std::array<N, warpSize> of_warp(const N &value) {
    std::array<N, warpSize> all;
    const N *address = &value;
    std::memcpy(&current().given, &address, sizeof address);
    wait(WARP);
    for (int lane = 0; lane < warpSize; lane++) {
        std::memcpy(&address, &fibers[threadIdx.x / warpSize * warpSize + lane].given, sizeof address);
        all[lane] = *address;
    }
    wait(WARP);
    return all;
}

}  // namespace host

inline void __syncthreads() { host::wait(host::BLOCK); }
inline void __syncwarp(unsigned = ~0u) { host::wait(host::WARP); }
template <class N> N __shfl_xor_sync(unsigned, N value, int mask) {
    return host::exchange(value, (threadIdx.x % warpSize) ^ mask);
}
