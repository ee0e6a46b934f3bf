// Local response normalisation across channels. Formulas and source: kernels/portable.
//
// x (N, C, inner): a thread has one position and CHUNK neighbouring channels; neighbouring threads have neighbouring positions.
// With windows of 5 channels, as all networks have, it reads its channels and those around them once, into registers: x comes
// once from memory, and what other threads have read too from the cache. The gradient reads gy likewise, and computes anew what
// it needs of the channels around. With windows of other sizes, numbers are read again for each channel.
#include "place.cuh"

constexpr int CHUNK = 16, USUAL = 5;

// d_c = k + scale sum of x_j² over the window of channel c, ``before`` and ``after`` it; scale = alpha / size.
struct Lrn {
    int channels, before, after;
    long long inner;
    wide scale, beta, k;

    __device__ bool has(int c) const { return c >= 0 && c < channels; }
    __device__ wide base(const real *x, int c) const {
        wide sum = 0;
        for (int j = c - before; j <= c + after; j++)
            if (has(j)) sum += wide(x[j * inner]) * x[j * inner];
        return k + scale * sum;
    }
};

__device__ Lrn settings(int channels, long long inner, int size, double scale, double beta, double k) {
    return {channels, size / 2, (size - 1) / 2, inner, wide(scale), wide(beta), wide(k)};
}

// d^-beta, 1 for beta = 0 whatever d is, and 1 / d. The usual beta, 3/4, takes two ROOTS, and a third of the time of a logarithm;
// that to base 2 is the fastest, and as d is no large power of 2 it loses few digits.
struct Powers {
    wide of_beta, inverse;
};

template <bool ROOTS> __device__ Powers powers(wide d, wide beta) {
    if (!ROOTS) return {beta == 0 ? wide(1) : exp2(-beta * log2(d)), 1 / d};
    wide root = rsqrt(d);
    return {root * sqrt(root), root * root};
}

// v[i] = channel c + i of x, 0 where there is none.
template <int COUNT> __device__ void read(const Lrn &p, const real *x, int c, wide (&v)[COUNT]) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) v[i] = p.has(c + i) ? wide(x[(c + i) * p.inner]) : wide(0);
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
    read(p, x, first - USUAL / 2, v);
#pragma unroll
    for (int c = 0; c < CHUNK; c++)
        if (p.has(first + c))
            y[(first + c) * p.inner] =
                v[c + USUAL / 2] * powers<ROOTS>(p.k + p.scale * squares_of_window<USUAL>(v + c), p.beta).of_beta;
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
            y[c * p.inner] = x[c * p.inner] * powers<false>(p.base(x, c), p.beta).of_beta;
}

// gx_c = gy_c d_c^-beta - 2 scale beta x_c sum of t_j, t = gy x d^-beta / d, over the channels whose window holds c: those from
// c - after to c + before.
template <bool ROOTS> __device__ void chunk_grad(const Lrn &p, const real *gy, const real *x, real *gx, int first) {
    constexpr int SIDE = USUAL / 2, AROUND = CHUNK + 2 * SIDE;
    wide v[AROUND + 2 * SIDE], direct[AROUND], t[AROUND], factor = 2 * p.scale * p.beta;
    read(p, x, first - 2 * SIDE, v);
    read(p, gy, first - SIDE, direct);
#pragma unroll
    for (int j = 0; j < AROUND; j++) {
        Powers d = powers<ROOTS>(p.k + p.scale * squares_of_window<USUAL>(v + j), p.beta);
        direct[j] *= d.of_beta;
        t[j] = p.has(first - SIDE + j) ? direct[j] * v[j + SIDE] * d.inverse : wide(0);
    }
#pragma unroll
    for (int c = 0; c < CHUNK; c++)
        if (p.has(first + c))
            gx[(first + c) * p.inner] = direct[c + SIDE] - factor * v[c + 2 * SIDE] * sum_of_window<USUAL>(t + c);
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
    int first = at.i * CHUNK;
    if (size == USUAL && beta == 0.75)
        chunk_grad<true>(p, gy, x, gx, first);
    else if (size == USUAL)
        chunk_grad<false>(p, gy, x, gx, first);
    else
        for (int c = first; c < first + CHUNK && p.has(c); c++) {
            wide spread = 0;
            for (int j = c - p.after; j <= c + p.before; j++)
                if (p.has(j)) {
                    Powers d = powers<false>(p.base(x, j), p.beta);
                    spread += gy[j * p.inner] * d.of_beta * x[j * p.inner] * d.inverse;
                }
            wide direct = gy[c * p.inner] * powers<false>(p.base(x, c), p.beta).of_beta;
            gx[c * p.inner] = direct - 2 * p.scale * p.beta * x[c * p.inner] * spread;
        }
}
