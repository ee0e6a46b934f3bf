// Reading 2, 4, 8 or 16 bytes of global memory where they exist, and 0 elsewhere, in one instruction. Of ``exists ? *x : 0`` the
// compiler makes a branch, after which the threads of a warp must meet again before they go on: a loop of such reads would wait
// for one before it asks for the next. Nobody may write there meanwhile.
#pragma once

template <class T> __device__ T load_if(bool exists, const T *x) {
    static_assert(sizeof(T) == 2 || sizeof(T) == 4 || sizeof(T) == 8 || sizeof(T) == 16);
#ifdef __CUDA_ARCH__
    union {
        T value;
        unsigned word[4];
    } u;
    if constexpr (sizeof(T) == 2)
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %2, 0; mov.b32 %0, 0; @p ld.global.nc.u16 %0, [%1]; }"
                     : "=&r"(u.word[0]) : "l"(x), "r"((int) exists));
    else if constexpr (sizeof(T) == 4)
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %2, 0; mov.b32 %0, 0; @p ld.global.nc.u32 %0, [%1]; }"
                     : "=&r"(u.word[0]) : "l"(x), "r"((int) exists));
    else if constexpr (sizeof(T) == 8)
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %3, 0; mov.b32 %0, 0; mov.b32 %1, 0; "
                     "@p ld.global.nc.v2.b32 {%0, %1}, [%2]; }"
                     : "=&r"(u.word[0]), "=&r"(u.word[1]) : "l"(x), "r"((int) exists));
    else
        asm volatile("{ .reg .pred p; setp.ne.b32 p, %5, 0; mov.b32 %0, 0; mov.b32 %1, 0; mov.b32 %2, 0; mov.b32 %3, 0; "
                     "@p ld.global.nc.v4.b32 {%0, %1, %2, %3}, [%4]; }"
                     : "=&r"(u.word[0]), "=&r"(u.word[1]), "=&r"(u.word[2]), "=&r"(u.word[3]) : "l"(x), "r"((int) exists));
    return u.value;
#else
    return exists ? *x : T{};
#endif
}

// The address as a number of its own: otherwise each address counted from it is counted anew from the beginning of the array, in
// four instructions for one. To be read with load_if.
template <class T> __device__ T *settled(T *address) {
#ifdef __CUDA_ARCH__
    asm("" : "+l"(address));
#endif
    return address;
}
