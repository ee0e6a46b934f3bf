// What normalisation and its gradients share.
#pragma once
#include "team.cuh"

// x^ = (x - mean) / sqrt(var + eps). What rounding the mean loses is kept: near + rest is the mean.
struct Standard {
    wide near, rest, rstd;
    __device__ wide operator()(wide x) const { return (x - near - rest) * rstd; }
};

__device__ Standard standard(double mean, double var, double eps) {
    return {wide(mean), wide(mean - wide(mean)), wide(rsqrt(var + eps))};
}

// Which weight a number has: that of its channel, of its row, or of its place in the row.
enum { OF_CHANNEL, OF_ROW, OF_PLACE };

struct Weights {
    const wide *first;
    int kind;

    // Of N numbers, from place i of a row on.
    template <int N> __device__ Pack<wide, N> of(int row, int i) const {
        if (kind == OF_PLACE) return load<N>(first + i);
        Pack<wide, N> all;
        for (int k = 0; k < N; k++) all.at[k] = first[kind == OF_ROW ? row : 0];
        return all;
    }
};

// The weights of a channel, of which there are ``groups`` different ones.
__device__ Weights weights_of(const Share &s, const wide *weight, int kind, int groups) {
    int each = kind == OF_CHANNEL ? 1 : kind == OF_ROW ? s.outer : s.inner;
    return {weight + (groups > 1 ? s.channel % groups * each : 0), kind};
}
