// Sums and maxima over the 32 threads of a warp, by exchanging values at distances 16, 8, 4, 2, 1. All threads get the result.
#pragma once

template <class N> __device__ N sum_of_warp(N value) {
    for (int distance = 16; distance; distance /= 2) value += __shfl_xor_sync(0xffffffff, value, distance);
    return value;
}

// A NaN is no maximum.
template <class N> __device__ N max_of_warp(N value) {
    for (int distance = 16; distance; distance /= 2) value = fmax(value, __shfl_xor_sync(0xffffffff, value, distance));
    return value;
}
