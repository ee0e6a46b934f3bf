// Elementwise kernels, out[i] = f(a[i], b[i], ...): a thread takes the LANES neighbours from LANES t on, in one access to each
// array, or one by one at the end of an array and where arrays are not aligned. Launched with per_thread=lanes(dtype).
#pragma once
#include "pack.cuh"

template <class F, class... In> __device__ void each(long long items, real *out, F f, const In *...in) {
    long long first = ((long long) blockIdx.x * blockDim.x + threadIdx.x) * LANES;
    auto together = [&](const Pack<In> &...packs) {
        Pack<real> result;
        for (int k = 0; k < LANES; k++) result.at[k] = f(packs.at[k]...);
        store(out + first, result);
    };
    if (first + LANES <= items && aligned(out, in...))
        together(load<LANES>(in + first)...);
    else
        for (long long i = first; i < items && i < first + LANES; i++) out[i] = f(in[i]...);
}
