// Tensor cores since Hopper (sm_90a): the 4 warps of a group multiply together, and the cores read both matrices from shared
// memory by themselves, while the threads go on.
//
//     C (64 x 8 N floats)  +=  A (64 rows of 8 words)  x  B (8 N columns of 8 words)
//
// Warp w of the group has rows 16w to 16w + 15 of C, as N fragments of 16 x 8 side by side, each as mma.cuh shows it. Where the
// numbers of A and B lie, a descriptor says:
//
//     along the depth    8 rows of 64 bytes behind each other; the next 8 rows follow ``stride`` bytes further
//     across the depth   64 rows of one k behind each other, 128 bytes, then the next k; the next 8 k follow ``stride`` bytes
//                        further, the next 64 rows ``leading`` bytes. Numbers of 16 bits alone.
//
// (rows of A, and columns of B likewise). Chunks change places as in tile.cuh: their number is xored with bits 7 and up of their
// address, 2 of them or 3.
//
// Source: NVIDIA, Parallel Thread Execution ISA, "Asynchronous Warpgroup Level Matrix Multiply-Accumulate Operation".
// Without a GPU each thread works out its part of C for itself.
#pragma once

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define WARPGROUPS 1
#elif !defined(WARPGROUPS)
#define WARPGROUPS 0
#endif

enum Order { ALONG = 2, ACROSS = 1 };  // as descriptors call the two ways to change places: by 2 bits, and by 3

struct Operand {
    const void *first;
    Order order;
    int leading, stride;

    __device__ unsigned long long descriptor() const {
        unsigned long long place = 0;
#ifdef __CUDA_ARCH__
        place = __cvta_generic_to_shared(first);
#endif
        return (place & 0x3ffff) >> 4 | (unsigned long long) leading >> 4 << 16 | (unsigned long long) stride >> 4 << 32 |
               (unsigned long long) order << 62;
    }
};

#ifdef __CUDA_ARCH_FEAT_SM90_ALL

#define TEN(n) "%" #n "0, %" #n "1, %" #n "2, %" #n "3, %" #n "4, %" #n "5, %" #n "6, %" #n "7, %" #n "8, %" #n "9, "
#define TO_31 "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, " TEN(1) TEN(2) "%30, %31"
#define TO_63 TO_31 ", %32, %33, %34, %35, %36, %37, %38, %39, " TEN(4) TEN(5) "%60, %61, %62, %63"
#define SUMS(i) "+f"(c[i].sum[0]), "+f"(c[i].sum[1]), "+f"(c[i].sum[2]), "+f"(c[i].sum[3])
#define EIGHT(i) SUMS(i), SUMS(i + 1), SUMS(i + 2), SUMS(i + 3), SUMS(i + 4), SUMS(i + 5), SUMS(i + 6), SUMS(i + 7)
#define BEGIN "{ .reg .pred add; mov.pred add, 1; wgmma.mma_async.sync.aligned."
#define OF_64(numbers, after) BEGIN "m64n64" numbers " {" TO_31 "}, %32, %33, add, 1, 1" after "; }"
#define OF_128(numbers, after) BEGIN "m64n128" numbers " {" TO_63 "}, %64, %65, add, 1, 1" after "; }"

// How A and B lie is said once more, as 1 for numbers of 16 bits that lie across the depth.
#define ORDERS "n"(of_a == ACROSS), "n"(of_b == ACROSS)
#define WGMMA_16(numbers)                                                                                                     \
    if constexpr (N == 8)                                                                                                     \
        asm volatile(OF_64(numbers, ", %34, %35") : EIGHT(0) : "l"(a.descriptor()), "l"(b.descriptor()), ORDERS);             \
    else                                                                                                                      \
        asm volatile(OF_128(numbers, ", %66, %67") : EIGHT(0), EIGHT(8) : "l"(a.descriptor()), "l"(b.descriptor()), ORDERS)

template <Order of_a, Order of_b, int N> __device__ void multiply_add(Operand a, Operand b, FragmentC (&c)[N], float16) {
    WGMMA_16("k16.f32.f16.f16");
}

template <Order of_a, Order of_b, int N> __device__ void multiply_add(Operand a, Operand b, FragmentC (&c)[N], bfloat16) {
    WGMMA_16("k16.f32.bf16.bf16");
}

template <Order of_a, Order of_b, int N> __device__ void multiply_add(Operand a, Operand b, FragmentC (&c)[N], float) {
    if constexpr (N == 8)
        asm volatile(OF_64("k8.f32.tf32.tf32", "") : EIGHT(0) : "l"(a.descriptor()), "l"(b.descriptor()));
    else
        asm volatile(OF_128("k8.f32.tf32.tf32", "") : EIGHT(0), EIGHT(8) : "l"(a.descriptor()), "l"(b.descriptor()));
}

// Between what was written to shared memory, or to the sums, and the products that read it.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
__device__ inline void show_to_cores() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
__device__ inline void end_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until no products are under way; only then does anybody read the sums.
template <int N> __device__ void wait_for_products(FragmentC (&c)[N]) {
    asm volatile("wgmma.wait_group.sync.aligned 0;" ::: "memory");
#pragma unroll
    for (int n = 0; n < N; n++) asm volatile("" : SUMS(n)::"memory");
}

#else

inline void begin_products() {}
inline void show_to_cores() {}
inline void end_products() {}
template <int N> __device__ void wait_for_products(FragmentC (&)[N]) {}

#ifndef __CUDA_ARCH__

// Number (i, k) of a matrix, where its descriptor says.
template <class Number> Number number_of(Operand m, int i, int k) {
    unsigned long long d = m.descriptor(), leading = (d >> 16 & 0x3fff) << 4, stride = (d >> 32 & 0x3fff) << 4;
    bool along = d >> 62 == ALONG;
    uintptr_t place = (uintptr_t) m.first;
    if (along)
        place += i / 8 * stride + i % 8 * 64 + k * sizeof(Number);
    else
        place += i / 64 * leading + i % 64 * sizeof(Number) + k / 8 * stride + k % 8 * 128;
    place ^= (place >> 7 & (along ? 3 : 7)) << 4;
    return *(const Number *) place;
}

template <Order of_a, Order of_b, int N, class Number> void multiply_add(Operand a, Operand b, FragmentC (&c)[N], Number) {
    constexpr int DEPTH = 32 / sizeof(Number);
    int g = threadIdx.x % 32 / 4, t = threadIdx.x % 4, row = threadIdx.x % 128 / 32 * 16;
    for (int n = 0; n < N; n++)
        for (int i = 0; i < 4; i++)
            for (int k = 0; k < DEPTH; k++) {
                Number x = number_of<Number>(a, row + g + i / 2 * 8, k), y = number_of<Number>(b, 8 * n + 2 * t + i % 2, k);
                c[n].sum[i] += float(x) * float(y);
            }
}

#endif
#endif
