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
    // d^-beta, 1 for beta = 0 whatever d is. A logarithm to base 2 is fast, and as d is no large power of 2 it loses few digits.
    __device__ wide power(wide d) const { return beta == 0 ? wide(1) : exp2(-beta * log2(d)); }
    __device__ wide base(const real *x, int c) const {
        wide sum = 0;
        for (int j = c - before; j <= c + after; j++)
            if (has(j)) sum += wide(x[j * inner]) * x[j * inner];
        return k + scale * sum;
    }
};

__device__ Lrn settings(int channels, long long inner, int size, double alpha, double beta, double k) {
    return {channels, size / 2, (size - 1) / 2, inner, wide(alpha / size), wide(beta), wide(k)};
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

extern "C" __global__ void local_response_norm(long long items, const real *__restrict__ x, real *__restrict__ y, int channels,
                                               int chunks, int inner, int size, double alpha, double beta, double k) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place at = place_of(item, chunks, inner);
    Lrn p = settings(channels, inner, size, alpha, beta, k);
    long long image = at.plane * channels * inner + at.j;
    x += image, y += image;
    int first = at.i * CHUNK;
    if (size == USUAL) {
        wide v[CHUNK + USUAL - 1];
        read(p, x, first - USUAL / 2, v);
#pragma unroll
        for (int c = 0; c < CHUNK; c++)
            if (p.has(first + c))
                y[(first + c) * p.inner] = v[c + USUAL / 2] * p.power(p.k + p.scale * squares_of_window<USUAL>(v + c));
    } else
        for (int c = first; c < first + CHUNK && p.has(c); c++) y[c * p.inner] = x[c * p.inner] * p.power(p.base(x, c));
}

// gx_c = gy_c d_c^-beta - 2 scale beta x_c sum of t_j, t = gy x d^-beta / d, over the channels whose window holds c: those from
// c - after to c + before.
extern "C" __global__ void local_response_norm_grad(long long items, const real *__restrict__ gy, const real *__restrict__ x,
                                                    real *__restrict__ gx, int channels, int chunks, int inner, int size,
                                                    double alpha, double beta, double k) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place at = place_of(item, chunks, inner);
    Lrn p = settings(channels, inner, size, alpha, beta, k);
    wide factor = 2 * p.scale * p.beta;
    long long image = at.plane * channels * inner + at.j;
    gy += image, x += image, gx += image;
    int first = at.i * CHUNK;
    if (size == USUAL) {
        constexpr int SIDE = USUAL / 2, AROUND = CHUNK + 2 * SIDE;
        wide v[AROUND + 2 * SIDE], direct[AROUND], t[AROUND];
        read(p, x, first - 2 * SIDE, v);
        read(p, gy, first - SIDE, direct);
#pragma unroll
        for (int j = 0; j < AROUND; j++) {
            wide d = p.k + p.scale * squares_of_window<USUAL>(v + j);
            direct[j] *= p.power(d);
            t[j] = p.has(first - SIDE + j) ? direct[j] * v[j + SIDE] / d : wide(0);
        }
#pragma unroll
        for (int c = 0; c < CHUNK; c++)
            if (p.has(first + c))
                gx[(first + c) * p.inner] = direct[c + SIDE] - factor * v[c + 2 * SIDE] * sum_of_window<USUAL>(t + c);
    } else
        for (int c = first; c < first + CHUNK && p.has(c); c++) {
            wide spread = 0;
            for (int j = c - p.after; j <= c + p.before; j++)
                if (p.has(j)) {
                    wide d = p.base(x, j);
                    spread += gy[j * p.inner] * p.power(d) * x[j * p.inner] / d;
                }
            gx[c * p.inner] = gy[c * p.inner] * p.power(p.base(x, c)) - factor * x[c * p.inner] * spread;
        }
}
