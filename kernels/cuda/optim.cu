// Optimizer updates: a thread for each number of a parameter p, its gradient g and its state, in one pass over memory. A state
// that an option does without is a null pointer. Formulas and sources: kernels/portable.

// The direction to descend in: g, or -g with ``maximize``, and the weight decay.
__device__ real descent(real p, real g, double weight_decay, bool maximize) {
    return (maximize ? -g : g) + real(weight_decay) * p;
}

extern "C" __global__ void sgd_update(long long items, real *p, const real *g, real *buffer, double lr, double momentum,
                                      double dampening, double weight_decay, bool nesterov, bool maximize, bool first) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    real change = descent(p[i], g[i], weight_decay, maximize);
    if (buffer) {
        real moved = first ? change : real(momentum) * buffer[i] + real(1 - dampening) * change;
        buffer[i] = moved;
        change = nesterov ? change + real(momentum) * moved : moved;
    }
    p[i] -= real(lr) * change;
}

extern "C" __global__ void adam_update(long long items, real *p, const real *g, real *mean, real *square, real *largest,
                                       double lr, double beta1, double beta2, double eps, double weight_decay, bool decoupled,
                                       bool maximize, int step) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    real value = decoupled ? p[i] * real(1 - lr * weight_decay) : p[i];
    real change = descent(p[i], g[i], decoupled ? 0 : weight_decay, maximize);
    mean[i] += real(1 - beta1) * (change - mean[i]);
    real used = square[i] = real(beta2) * square[i] + real(1 - beta2) * change * change;
    if (largest) used = largest[i] = largest[i] >= used || largest[i] != largest[i] ? largest[i] : used;
    real denominator = sqrt(used) / real(sqrt(1 - pow(beta2, double(step)))) + real(eps);
    p[i] = value - real(lr / (1 - pow(beta1, double(step)))) * mean[i] / denominator;
}

extern "C" __global__ void rmsprop_update(long long items, real *p, const real *g, real *square, real *mean, real *buffer,
                                          double lr, double alpha, double eps, double weight_decay, double momentum,
                                          bool maximize) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    real change = descent(p[i], g[i], weight_decay, maximize);
    real variance = square[i] = real(alpha) * square[i] + real(1 - alpha) * change * change;
    if (mean) {
        mean[i] += real(1 - alpha) * (change - mean[i]);
        variance -= mean[i] * mean[i];
    }
    change /= sqrt(variance) + real(eps);
    if (buffer) change = buffer[i] = real(momentum) * buffer[i] + change;
    p[i] -= real(lr) * change;
}

extern "C" __global__ void adadelta_update(long long items, real *p, const real *g, real *square, real *delta, double lr,
                                           double rho, double eps, double weight_decay, bool maximize) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    real change = descent(p[i], g[i], weight_decay, maximize);
    square[i] = real(rho) * square[i] + real(1 - rho) * change * change;
    change *= sqrt(delta[i] + real(eps)) / sqrt(square[i] + real(eps));
    delta[i] = real(rho) * delta[i] + real(1 - rho) * change * change;
    p[i] -= real(lr) * change;
}
