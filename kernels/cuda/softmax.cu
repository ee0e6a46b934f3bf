// Softmax and its logarithm along one axis, and their gradients. Formulas: kernels/portable. Who computes what, and how often
// numbers are read: row.cuh.
#include "row.cuh"

template <bool LOGARITHM, class Kept> __device__ void softmax_of(const Row &row, Kept, const real *x, real *y) {
    constexpr int KEPT = Kept::value;
    wide kept[KEPT + 1], largest = x[row.first], sum = 0;
    over<KEPT>(row, [&](int j, long long i) {
        kept[j] = x[i];
        largest = fmax(largest, kept[j]);  // a NaN is no maximum, and makes the sum NaN
    });
    largest = row.largest(largest);
    over<KEPT>(row, [&](int j, long long i) {
        wide shifted = (KEPT ? kept[j] : wide(x[i])) - largest, e = exp(shifted);
        kept[j] = LOGARITHM ? shifted : e;
        sum += e;
    });
    sum = row.sum(sum);
    wide scale = LOGARITHM ? log(sum) : 1 / sum;
    over<KEPT>(row, [&](int j, long long i) {
        if (LOGARITHM)
            y[i] = (KEPT ? kept[j] : x[i] - largest) - scale;
        else
            y[i] = (KEPT ? kept[j] : exp(x[i] - largest)) * scale;
    });
}

extern "C" __global__ void softmax(long long items, const real *__restrict__ x, real *__restrict__ y, int length,
                                   long long inner) {
    Row row = row_of_this_thread(items, length, inner);
    if (row.exists) by_length(row, [&](auto kept) { softmax_of<false>(row, kept, x, y); });  // or not, for the whole warp
}

extern "C" __global__ void log_softmax(long long items, const real *__restrict__ x, real *__restrict__ y, int length,
                                       long long inner) {
    Row row = row_of_this_thread(items, length, inner);
    if (row.exists) by_length(row, [&](auto kept) { softmax_of<true>(row, kept, x, y); });
}

extern "C" __global__ void softmax_grad(long long items, const real *__restrict__ gy, const real *__restrict__ y,
                                        real *__restrict__ gx, int length, long long inner) {
    Row row = row_of_this_thread(items, length, inner);
    if (row.exists)
        by_length(row, [&](auto size) {
            constexpr int KEPT = decltype(size)::value;
            wide kept[KEPT + 1], mean = 0;
            over<KEPT>(row, [&](int j, long long i) {
                kept[j] = gy[i];
                mean += kept[j] * y[i];
            });
            mean = row.sum(mean);
            over<KEPT>(row, [&](int j, long long i) { gx[i] = y[i] * ((KEPT ? kept[j] : wide(gy[i])) - mean); });
        });
}

extern "C" __global__ void log_softmax_grad(long long items, const real *__restrict__ gy, const real *__restrict__ y,
                                            real *__restrict__ gx, int length, long long inner) {
    Row row = row_of_this_thread(items, length, inner);
    if (row.exists)
        by_length(row, [&](auto size) {
            constexpr int KEPT = decltype(size)::value;
            wide kept[KEPT + 1], sum = 0;
            over<KEPT>(row, [&](int j, long long i) {
                kept[j] = gy[i];
                sum += kept[j];
            });
            sum = row.sum(sum);
            over<KEPT>(row, [&](int j, long long i) { gx[i] = (KEPT ? kept[j] : wide(gy[i])) - exp(wide(y[i])) * sum; });
        });
}
