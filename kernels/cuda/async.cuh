// Copies of 16 bytes from global to shared memory, past the registers, that go on while the thread does something else. They are
// ended in groups, and a thread waits until no more than so many of its groups are on their way; a barrier then shows the others
// what came. What does not exist becomes 0. GPUs before sm_80, and the host, copy at once.
//
// Source: NVIDIA, Parallel Thread Execution ISA, "cp.async".
#pragma once

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
#define ASYNC 1
#else
#define ASYNC 0
#endif

template <class T> __device__ void copy_async(T *to, const T *from, bool exists) {
    static_assert(sizeof(T) == 16);
#if ASYNC
    unsigned place = __cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(place), "l"(from), "r"(exists ? 16 : 0) : "memory");
#else
    *to = exists ? *from : T{};
#endif
}

__device__ inline void end_group() {
#if ASYNC
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int GROUPS> __device__ void wait_for_all_but() {
#if ASYNC
    asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
#endif
}
