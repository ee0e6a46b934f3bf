// Cross-entropy of softmax(x) against class indices: one warp to a row of x (R, C), which is read once (row.cuh), and again for
// smoothing. Formulas: kernels/portable. Exponentials are ``wide``, sums and the loss double.
#include "row.cuh"

__device__ wide weight_of(const wide *weight, long long c) { return weight ? weight[c] : wide(1); }

// Classes are checked before a kernel runs, but not at each replay of a recorded step: there the loss of a wrong one is NaN.
__device__ bool is_class(long long t, int classes) { return 0 <= t && t < classes; }

extern "C" __global__ void cross_entropy(long long items, const real *__restrict__ x, const long long *__restrict__ target,
                                         const wide *__restrict__ weight, long long ignored, double smoothing, int classes,
                                         real *__restrict__ loss, double *__restrict__ log_total) {
    Row row = row_of_this_thread(items, classes, 1);
    if (!row.exists) return;  // the whole warp
    wide largest = x[row.first];
    double sum = 0, smooth = 0;
    by_length(row, [&](auto size) {
        constexpr int KEPT = decltype(size)::value;
        wide kept[KEPT + 1];
        over<KEPT>(row, [&](int j, long long i) {
            kept[j] = x[i];
            largest = fmax(largest, kept[j]);
        });
        largest = row.largest(largest);
        over<KEPT>(row, [&](int j, long long i) { sum += exp((KEPT ? kept[j] : wide(x[i])) - largest); });
    });
    double total = largest + log(sum_of_warp(sum));
    if (smoothing) {
        over<0>(row, [&](int, long long i) { smooth += weight_of(weight, i - row.first) * (total - x[i]); });
        smooth = smoothing / classes * sum_of_warp(smooth);
    }
    if (row.start) return;
    long long n = row.first / classes, t = target[n];
    log_total[n] = total;
    if (t == ignored) loss[n] = 0;
    else if (is_class(t, classes)) loss[n] = (1 - smoothing) * weight_of(weight, t) * (total - x[row.first + t]) + smooth;
    else loss[n] = nan("");
}

extern "C" __global__ void cross_entropy_grad(long long items, const real *__restrict__ gy, const real *__restrict__ x,
                                              const double *__restrict__ log_total, const long long *__restrict__ target,
                                              const wide *__restrict__ weight, long long ignored, double smoothing, int classes,
                                              real *__restrict__ gx) {
    Row row = row_of_this_thread(items, classes, 1);
    if (!row.exists) return;
    long long n = row.first / classes, t = target[n], hit = row.first + t;
    wide weights = 0, near = log_total[n], rest = log_total[n] - near;  // near + rest keeps the digits of a large total
    if (smoothing) {
        for (int c = row.start; c < classes; c += 32) weights += weight_of(weight, c);
        weights = sum_of_warp(weights);
    }
    wide hard = t == ignored || !is_class(t, classes) ? wide(0) : wide((1 - smoothing) * weight_of(weight, t) * gy[n]);
    wide soft = smoothing / classes * gy[n];
    over<0>(row, [&](int, long long i) {
        wide p = exp(x[i] - near - rest), g = hard * (p - (i == hit));
        if (smoothing) g += soft * (p * weights - weight_of(weight, i - row.first));
        gx[i] = t == ignored ? wide(0) : g;
    });
}
