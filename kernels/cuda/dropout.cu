// The linear map of dropout at a fixed mask: y = x mask scale. Masks are made in philox.cu.

extern "C" __global__ void apply_mask(long long items, const real *x, const bool *mask, real *y, double scale) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i < items) y[i] = x[i] * (mask[i] ? real(scale) : real(0));
}
