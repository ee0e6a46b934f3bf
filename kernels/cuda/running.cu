// Running statistics of batch norm, a thread for each channel: running = (1 - momentum) running + momentum batch. ``unbiased``
// makes of a batch's variance that divided by one value less.
extern "C" __global__ void move_statistics(long long items, real *running_mean, real *running_var, const double *mean,
                                           const double *var, double momentum, double unbiased) {
    long long c = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (c >= items) return;
    running_mean[c] = wide((1 - momentum) * wide(running_mean[c]) + momentum * mean[c]);
    running_var[c] = wide((1 - momentum) * wide(running_var[c]) + momentum * unbiased * var[c]);
}
