// Cross-entropy of softmax(x) against class indices: one warp to a row of x (R, C). Formulas: kernels/portable.
// Sums are formed in double, so that a loss is exact to the last digit of real.
#include "warp.cuh"

__device__ double weight_of(const real *weight, long long c) { return weight ? double(weight[c]) : 1; }

extern "C" __global__ void cross_entropy(long long items, const real *x, const long long *target, const real *weight,
                                         long long ignored, double smoothing, int classes, real *loss, double *log_total) {
    long long thread = (long long) blockIdx.x * blockDim.x + threadIdx.x, row = thread / 32;
    int lane = thread % 32;
    if (row >= items) return;  // the whole warp
    const real *scores = x + row * classes;
    double largest = scores[0], sum = 0, smooth = 0;
    for (int c = lane; c < classes; c += 32) largest = fmax(largest, double(scores[c]));
    largest = max_of_warp(largest);
    for (int c = lane; c < classes; c += 32) sum += exp(scores[c] - largest);
    double total = largest + log(sum_of_warp(sum));
    if (smoothing) {
        for (int c = lane; c < classes; c += 32) smooth += weight_of(weight, c) * (total - scores[c]);
        smooth = smoothing / classes * sum_of_warp(smooth);
    }
    if (lane) return;
    long long t = target[row];
    log_total[row] = total;
    loss[row] = t == ignored ? 0 : (1 - smoothing) * weight_of(weight, t) * (total - scores[t]) + smooth;
}

extern "C" __global__ void cross_entropy_grad(long long items, const real *gy, const real *x, const double *log_total,
                                              const long long *target, const real *weight, long long ignored, double smoothing,
                                              int classes, real *gx) {
    long long thread = (long long) blockIdx.x * blockDim.x + threadIdx.x, row = thread / 32;
    int lane = thread % 32;
    if (row >= items) return;
    long long t = target[row];
    double weights = 0;
    for (int c = lane; c < classes; c += 32) weights += weight_of(weight, c);
    weights = sum_of_warp(weights);
    for (int c = lane; c < classes; c += 32) {
        long long i = row * classes + c;
        double p = exp(x[i] - log_total[row]), hard = 0;
        if (t != ignored) hard = (1 - smoothing) * weight_of(weight, t) * (p - (c == t));
        double soft = smoothing / classes * (p * weights - weight_of(weight, c));
        gx[i] = t == ignored ? 0 : gy[row] * (hard + soft);
    }
}
