// Local response normalisation across channels. Formulas and source: kernels/portable.
//
// x (N, C, inner): a thread has one position and CHUNK neighbouring channels; neighbouring threads have neighbouring positions.
// With windows of 5 channels, as all networks have, it reads its channels and those around them once, into registers: x comes
// once from memory, and what other threads have read too from the cache. The gradient has GRAD_CHUNK channels to a thread, reads
// gy likewise, and computes anew what it needs of the channels before. With other windows, numbers are read for each channel.
#include "load.cuh"
#include "place.cuh"

constexpr int CHUNK = 16, GRAD_CHUNK = 64, USUAL = 5;

// d_c = k + scale sum of x_j² over the window of channel c, ``before`` and ``after`` it; scale = alpha / size.
struct Lrn {
    int channels, before, after, inner;
    wide scale, beta, k;

    __device__ bool has(int c) const { return (unsigned) c < channels; }
    // Where channel c is, from where channel 0 is.
    template <class T> __device__ T *at(T *x, int c) const { return x + (long long) c * inner; }
    __device__ wide base(const real *x, int c) const {
        wide sum = 0;
        for (int j = c - before; j <= c + after; j++)
            if (has(j)) sum += wide(*at(x, j)) * *at(x, j);
        return k + scale * sum;
    }
};

__device__ Lrn settings(int channels, int inner, int size, double scale, double beta, double k) {
    return {channels, size / 2, (size - 1) / 2, inner, wide(scale), wide(beta), wide(k)};
}

// d^-beta, 1 for beta = 0 whatever d is, and 1 / d. The usual beta, 3/4, takes two ROOTS, which are one instruction each, and a
// fifth of the time of a logarithm; that to base 2 is the fastest, and as d is no large power of 2 it loses few digits.
struct Powers {
    wide of_beta, inverse;
};

template <bool ROOTS> __device__ Powers powers(wide d, wide beta) {
    if (!ROOTS) return {beta == 0 ? wide(1) : exp2(-beta * log2(d)), 1 / d};
    constexpr wide LEAST = sizeof(wide) == 8 ? 1e-200 : 1e-30;  // the root of an infinite d is 0, and has an infinite one
    wide root = rsqrt(d);
    return {root * (root * rsqrt(fmax(root, LEAST))), root * root};
}

// v[i] = channel c + i, 0 where there is none; ``from`` is where channel c would be.
template <int COUNT> __device__ void read(const Lrn &p, const real *from, int c, wide (&v)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) v[i] = load_if(p.has(c + i), p.at(from, i));
}

template <int SIZE> __device__ wide sum_of_window(const wide *v) {
    wide sum = 0;
#pragma unroll
    for (int j = 0; j < SIZE; j++) sum += v[j];
    return sum;
}

template <int SIZE> __device__ wide squares_of_window(const wide *v) {
    wide sum = 0;
#pragma unroll
    for (int j = 0; j < SIZE; j++) sum += v[j] * v[j];
    return sum;
}

// The channels from ``first`` on, for windows of the usual size.
template <bool ROOTS> __device__ void chunk(const Lrn &p, const real *x, real *y, int first) {
    wide v[CHUNK + USUAL - 1];
    read(p, settled(p.at(x, first - USUAL / 2)), first - USUAL / 2, v);
    y = settled(p.at(y, first));
#pragma unroll
    for (int c = 0; c < CHUNK; c++) {
        wide d = p.k + p.scale * squares_of_window<USUAL>(v + c), out = v[c + USUAL / 2] * powers<ROOTS>(d, p.beta).of_beta;
        if (p.has(first + c)) *p.at(y, c) = out;
    }
}

extern "C" __global__ void local_response_norm(long long items, const real *__restrict__ x, real *__restrict__ y, int channels,
                                               int chunks, int inner, int size, double scale, double beta, double k) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place at = place_of(item, chunks, inner);
    Lrn p = settings(channels, inner, size, scale, beta, k);
    long long image = at.plane * channels * inner + at.j;
    x += image, y += image;
    int first = at.i * CHUNK;
    if (size == USUAL && beta == 0.75)
        chunk<true>(p, x, y, first);
    else if (size == USUAL)
        chunk<false>(p, x, y, first);
    else
        for (int c = first; c < first + CHUNK && p.has(c); c++)
            *p.at(y, c) = *p.at(x, c) * powers<false>(p.base(x, c), p.beta).of_beta;
}

// gx_c = gy_c d_c^-beta - 2 scale beta x_c sum of t_j, t = gy x d^-beta / d, over the channels whose window holds c: those from
// c - after to c + before.
//
// For windows of the usual size, a thread goes along the channels in batches, and keeps what the next batch needs of this one.
// The numbers of the next are on their way meanwhile; the first two batches only gather what lies before the first channel.
template <bool ROOTS> __device__ void chunk_grad(const Lrn &p, const real *gy, const real *x, real *gx, int first) {
    constexpr int SIDE = USUAL / 2, BATCH = 2 * SIDE;
    wide v[BATCH + 4 * SIDE] = {}, t[BATCH + 2 * SIDE] = {}, direct[BATCH + SIDE] = {};  // from c - 2 SIDE, c - SIDE, c
    wide next_x[BATCH], next_gy[BATCH], factor = 2 * p.scale * p.beta;
    int c = first - 2 * BATCH;
    x = settled(p.at(x, c + 2 * SIDE)), gy = settled(p.at(gy, c + SIDE)), gx = settled(p.at(gx, c));
    read(p, x, c + 2 * SIDE, next_x);
    read(p, gy, c + SIDE, next_gy);
    for (; c < min(first + GRAD_CHUNK, p.channels); c += BATCH, gx = p.at(gx, BATCH)) {
        wide g[BATCH];
#pragma unroll
        for (int i = 0; i < 4 * SIDE; i++) v[i] = v[BATCH + i];
#pragma unroll
        for (int i = 0; i < 2 * SIDE; i++) t[i] = t[BATCH + i];
#pragma unroll
        for (int i = 0; i < SIDE; i++) direct[i] = direct[BATCH + i];
#pragma unroll
        for (int i = 0; i < BATCH; i++) v[4 * SIDE + i] = next_x[i], g[i] = next_gy[i];
        x = p.at(x, BATCH), gy = p.at(gy, BATCH);
        read(p, x, c + BATCH + 2 * SIDE, next_x);
        read(p, gy, c + BATCH + SIDE, next_gy);
#pragma unroll
        for (int i = 0; i < BATCH; i++) {  // channel c + SIDE + i
            Powers d = powers<ROOTS>(p.k + p.scale * squares_of_window<USUAL>(v + 2 * SIDE + i), p.beta);
            direct[SIDE + i] = g[i] * d.of_beta;
            t[2 * SIDE + i] = p.has(c + SIDE + i) ? direct[SIDE + i] * v[3 * SIDE + i] * d.inverse : wide(0);
        }
#pragma unroll
        for (int i = 0; i < BATCH; i++) {
            wide out = direct[i] - factor * v[2 * SIDE + i] * sum_of_window<USUAL>(t + i);
            if (c >= first && p.has(c + i)) *p.at(gx, i) = out;
        }
    }
}

extern "C" __global__ void local_response_norm_grad(long long items, const real *__restrict__ gy, const real *__restrict__ x,
                                                    real *__restrict__ gx, int channels, int chunks, int inner, int size,
                                                    double scale, double beta, double k) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place at = place_of(item, chunks, inner);
    Lrn p = settings(channels, inner, size, scale, beta, k);
    long long image = at.plane * channels * inner + at.j;
    gy += image, x += image, gx += image;
    int first = at.i * GRAD_CHUNK;
    if (size == USUAL && beta == 0.75)
        chunk_grad<true>(p, gy, x, gx, first);
    else if (size == USUAL)
        chunk_grad<false>(p, gy, x, gx, first);
    else
        for (int c = first; c < first + GRAD_CHUNK && p.has(c); c++) {
            wide spread = 0;
            for (int j = c - p.after; j <= c + p.before; j++)
                if (p.has(j)) {
                    Powers d = powers<false>(p.base(x, j), p.beta);
                    spread += *p.at(gy, j) * d.of_beta * *p.at(x, j) * d.inverse;
                }
            wide direct = *p.at(gy, c) * powers<false>(p.base(x, c), p.beta).of_beta;
            *p.at(gx, c) = direct - 2 * p.scale * p.beta * *p.at(x, c) * spread;
        }
}
