// Numbers of 16 bits, as they lie in memory. To compute with one it becomes a float, and a float is rounded to the nearest (a tie
// to the even one) to be stored: `wide sum = x[i]; ...; y[i] = sum;`.
#pragma once

struct float16 {
    unsigned short bits;
    float16() = default;
    __device__ float16(float value) {
#ifdef __CUDA_ARCH__
        asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
#else
        bits = host::half_of(value);
#endif
    }
    __device__ operator float() const {
#ifdef __CUDA_ARCH__
        float value;
        asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
        return value;
#else
        return host::float_of(bits);
#endif
    }
};

union Bits32 {
    float value;
    unsigned bits;
};

// The upper half of a float.
struct bfloat16 {
    unsigned short bits;
    bfloat16() = default;
    __device__ bfloat16(float value) {
        Bits32 b = {value};
        unsigned rounded = b.bits + 0x7fff + (b.bits >> 16 & 1);
        bits = value == value ? rounded >> 16 : b.bits >> 16 | 0x40;  // a NaN must not become an infinity
    }
    __device__ operator float() const {
        Bits32 b;
        b.bits = (unsigned) bits << 16;
        return b.value;
    }
};
