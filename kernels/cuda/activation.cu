// Piecewise linear activations of single elements, and their gradients: a thread for each element. Formulas: kernels/portable.
// Comparisons are written so that NaN, for which all are false, stays NaN.

__device__ long long item() { return (long long) blockIdx.x * blockDim.x + threadIdx.x; }

extern "C" __global__ void relu(long long items, const real *x, real *y) {
    long long i = item();
    if (i < items) y[i] = x[i] <= 0 ? 0 : x[i];
}

extern "C" __global__ void add(long long items, const real *x, const real *y, real *z) {
    long long i = item();
    if (i < items) z[i] = x[i] + y[i];
}

extern "C" __global__ void add_relu(long long items, const real *x, const real *y, real *z) {
    long long i = item();
    if (i >= items) return;
    real sum = x[i] + y[i];
    z[i] = sum <= 0 ? 0 : sum;
}

extern "C" __global__ void relu_grad(long long items, const real *gy, const real *y, real *gx) {
    long long i = item();
    if (i < items) gx[i] = y[i] <= 0 ? 0 : gy[i];
}

extern "C" __global__ void leaky_relu(long long items, const real *x, real *y, double slope) {
    long long i = item();
    if (i < items) y[i] = x[i] > 0 ? x[i] : real(slope) * x[i];
}

extern "C" __global__ void leaky_relu_grad(long long items, const real *gy, const real *x, real *gx, double slope) {
    long long i = item();
    if (i < items) gx[i] = x[i] > 0 ? gy[i] : real(slope) * gy[i];
}
