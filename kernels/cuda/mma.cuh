// Tensor cores: one instruction with which the 32 threads of a warp multiply two small matrices and add the product to a third.
//
//     C (16 x 8 floats)  +=  A (16 rows of 8 words)  x  B (8 columns of 8 words)
//
// A word is 32 bits of a row of A or a column of B: one number of tf32 (a float of which the upper 19 bits count), or two
// neighbouring numbers of 16 bits. So the sum runs over 8 or 16 products, and everything below holds for all three types.
//
// Each thread holds a fragment of every matrix. With g = lane / 4 and t = lane % 4:
//
//     A      words t          words t + 4          B      column g             C     columns 2t, 2t + 1
//     row g      word[0]          word[2]          word t      word[0]         row g      sum[0], sum[1]
//     row g + 8  word[1]          word[3]          word t + 4  word[1]         row g + 8  sum[2], sum[3]
//
// Source: NVIDIA, Parallel Thread Execution ISA, "Matrix Fragments for mma.m16n8k8" and "mma.m16n8k16", and "ldmatrix".
// Without a GPU each instruction is played by the threads of the warp, which show each other their fragments.
#pragma once

struct FragmentA { unsigned word[4]; };
struct FragmentB { unsigned word[2]; };
struct FragmentC { float sum[4]; };

// A number as the tensor cores take it: a float is rounded to tf32, to the nearest, a tie away from 0.
__device__ inline float operand(float value) {
    Bits32 b = {value};
#ifndef __CUDA_ARCH__
    if (fabsf(value) < INFINITY) b.bits = (b.bits + 0x1000) & ~0x1fffu;
#elif __CUDA_ARCH__ >= 800
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(b.bits) : "f"(value));
#endif
    return b.value;
}
__device__ inline float16 operand(float16 value) { return value; }
__device__ inline bfloat16 operand(bfloat16 value) { return value; }

// Four matrices of 8 rows, 4 words each, out of shared memory: thread i names the row i % 8 of matrix i / 8, and gets of each
// matrix word t of row g. If ``transposed``, it gets the numbers of 16 bits of column g in rows 2t and 2t + 1.
template <bool transposed> __device__ void load_matrices(const unsigned *row, unsigned (&word)[4]) {
#ifdef __CUDA_ARCH__
    unsigned place = __cvta_generic_to_shared(row);
    if constexpr (transposed)
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3]) : "r"(place) : "memory");
    else
        asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                     : "=r"(word[0]), "=r"(word[1]), "=r"(word[2]), "=r"(word[3]) : "r"(place) : "memory");
#else
    auto rows = host::of_warp(row);
    int g = threadIdx.x % warpSize / 4, t = threadIdx.x % 4;
    auto half = [&](int i, int r) { return rows[8 * i + r][g / 2] >> g % 2 * 16 & 0xffff; };
    for (int i = 0; i < 4; i++) word[i] = transposed ? half(i, 2 * t) | half(i, 2 * t + 1) << 16 : rows[8 * i + g][t];
#endif
}

#ifdef __CUDA_ARCH__

#define MMA(instruction)                                                                                                      \
    asm volatile("mma.sync.aligned." instruction " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"           \
                 : "+f"(c.sum[0]), "+f"(c.sum[1]), "+f"(c.sum[2]), "+f"(c.sum[3])                                             \
                 : "r"(a.word[0]), "r"(a.word[1]), "r"(a.word[2]), "r"(a.word[3]), "r"(b.word[0]), "r"(b.word[1]))

// Before sm_80 the instruction for float16 sums half as far, and there are none for the others, which nobody launches there.
__device__ inline void multiply_add(const FragmentA &a, const FragmentB &b, FragmentC &c, float) {
#if __CUDA_ARCH__ >= 800
    MMA("m16n8k8.row.col.f32.tf32.tf32.f32");
#else
    __trap();
#endif
}

__device__ inline void multiply_add(const FragmentA &a, const FragmentB &b, FragmentC &c, bfloat16) {
#if __CUDA_ARCH__ >= 800
    MMA("m16n8k16.row.col.f32.bf16.bf16.f32");
#else
    __trap();
#endif
}

__device__ inline void multiply_add(const FragmentA &a, const FragmentB &b, FragmentC &c, float16) {
#if __CUDA_ARCH__ >= 800
    MMA("m16n8k16.row.col.f32.f16.f16.f32");
#else
    for (int half = 0; half < 2; half++)
        asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
                     : "+f"(c.sum[0]), "+f"(c.sum[1]), "+f"(c.sum[2]), "+f"(c.sum[3])
                     : "r"(a.word[2 * half]), "r"(a.word[2 * half + 1]), "r"(b.word[half]));
#endif
}

#else

template <class Number> float product_of(unsigned a, unsigned b) {
    constexpr int COUNT = sizeof a / sizeof(Number);
    constexpr unsigned READ = COUNT == 1 ? ~0x1fffu : ~0u;  // the lower bits of a float are not looked at
    Number x[COUNT], y[COUNT];
    a &= READ, b &= READ;
    std::memcpy(x, &a, sizeof a), std::memcpy(y, &b, sizeof b);
    float sum = 0;
    for (int i = 0; i < COUNT; i++) sum += float(x[i]) * float(y[i]);
    return sum;
}

template <class Number> void multiply_add(const FragmentA &a, const FragmentB &b, FragmentC &c, Number) {
    auto as = host::of_warp(a);
    auto bs = host::of_warp(b);
    int g = threadIdx.x % warpSize / 4, t = threadIdx.x % 4;
    for (int i = 0; i < 4; i++) {
        int lower = i / 2, column = 2 * t + i % 2;  // row g + 8 lower
        for (int k = 0; k < 8; k++)
            c.sum[i] += product_of<Number>(as[4 * g + k % 4].word[lower + k / 4 * 2], bs[4 * column + k % 4].word[k / 4]);
    }
}

#endif
