// Softmax and its logarithm along one axis, and their gradients. Formulas: kernels/portable. Who computes what, and how often
// numbers are read: row.cuh.
#include "row.cuh"

template <bool LOGARITHM> __device__ void softmax_of(long long items, const real *x, real *y, int length, long long inner) {
    each_row(items, length, inner, [=](auto row) {
        constexpr int KEPT = decltype(row)::KEPT, N = decltype(row)::N;
        Pack<wide, N> kept[KEPT + 1];
        wide largest = x[row.first], sum = 0;
        row.each([&](int j, long long i) {
            kept[j] = read<N>(x + i);
            for (int k = 0; k < N; k++) largest = fmax(largest, kept[j].at[k]);  // a NaN is no maximum, and makes the sum NaN
        });
        largest = row.largest(largest);
        row.each([&](int j, long long i) {
            if (!KEPT) kept[j] = read<N>(x + i);
            for (int k = 0; k < N; k++) {
                wide shifted = kept[j].at[k] - largest, e = exp(shifted);
                kept[j].at[k] = LOGARITHM ? shifted : e;
                sum += e;
            }
        });
        sum = row.sum(sum);
        wide scale = LOGARITHM ? log(sum) : 1 / sum;
        row.each([&](int j, long long i) {
            Pack<wide, N> v = KEPT ? kept[j] : read<N>(x + i);
            for (int k = 0; k < N; k++) {
                if (!KEPT) v.at[k] = LOGARITHM ? v.at[k] - largest : exp(v.at[k] - largest);
                v.at[k] = LOGARITHM ? v.at[k] - scale : v.at[k] * scale;
            }
            write(y + i, v);
        });
    }, x, y);
}

template <bool LOGARITHM>
__device__ void gradient_of(long long items, const real *gy, const real *y, real *gx, int length, long long inner) {
    each_row(items, length, inner, [=](auto row) {
        constexpr int KEPT = decltype(row)::KEPT, N = decltype(row)::N;
        Pack<wide, N> g[KEPT + 1], v[KEPT + 1];
        wide sum = 0;
        row.each([&](int j, long long i) {
            g[j] = read<N>(gy + i), v[j] = read<N>(y + i);
            for (int k = 0; k < N; k++) sum += LOGARITHM ? g[j].at[k] : g[j].at[k] * v[j].at[k];
        });
        sum = row.sum(sum);
        row.each([&](int j, long long i) {
            Pack<wide, N> h = KEPT ? g[j] : read<N>(gy + i), w = KEPT ? v[j] : read<N>(y + i);
            for (int k = 0; k < N; k++) h.at[k] = LOGARITHM ? h.at[k] - exp(w.at[k]) * sum : w.at[k] * (h.at[k] - sum);
            write(gx + i, h);
        });
    }, gy, y, gx);
}

extern "C" __global__ void softmax(long long items, const real *__restrict__ x, real *__restrict__ y, int length,
                                   long long inner) {
    softmax_of<false>(items, x, y, length, inner);
}

extern "C" __global__ void log_softmax(long long items, const real *__restrict__ x, real *__restrict__ y, int length,
                                       long long inner) {
    softmax_of<true>(items, x, y, length, inner);
}

extern "C" __global__ void softmax_grad(long long items, const real *__restrict__ gy, const real *__restrict__ y,
                                        real *__restrict__ gx, int length, long long inner) {
    gradient_of<false>(items, gy, y, gx, length, inner);
}

extern "C" __global__ void log_softmax_grad(long long items, const real *__restrict__ gy, const real *__restrict__ y,
                                            real *__restrict__ gx, int length, long long inner) {
    gradient_of<true>(items, gy, y, gx, length, inner);
}
