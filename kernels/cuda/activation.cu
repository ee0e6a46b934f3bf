// Copies and sums of single elements, piecewise linear activations, and their gradients. Formulas: kernels/portable.
// Each array is read or written once. Comparisons are written so that NaN, for which all are false, stays NaN.
#include "each.cuh"

extern "C" __global__ void copy(long long items, const real *__restrict__ x, real *__restrict__ y) {
    each(items, y, [](real v) { return v; }, x);  // the same bits, also of a NaN
}

extern "C" __global__ void relu(long long items, const real *__restrict__ x, real *__restrict__ y) {
    each(items, y, [](wide v) { return v <= 0 ? wide(0) : v; }, x);
}

extern "C" __global__ void add(long long items, const real *__restrict__ x, const real *__restrict__ y, real *__restrict__ z) {
    each(items, z, [](wide v, wide w) { return v + w; }, x, y);
}

extern "C" __global__ void add_relu(long long items, const real *__restrict__ x, const real *__restrict__ y,
                                    real *__restrict__ z) {
    each(items, z, [](wide v, wide w) { return v + w <= 0 ? wide(0) : v + w; }, x, y);
}

extern "C" __global__ void relu_grad(long long items, const real *__restrict__ gy, const real *__restrict__ y,
                                     real *__restrict__ gx) {
    each(items, gx, [](wide g, wide v) { return v <= 0 ? wide(0) : g; }, gy, y);
}

extern "C" __global__ void leaky_relu(long long items, const real *__restrict__ x, real *__restrict__ y, double slope) {
    wide factor = slope;
    each(items, y, [=](wide v) { return v > 0 ? v : factor * v; }, x);
}

extern "C" __global__ void leaky_relu_grad(long long items, const real *__restrict__ gy, const real *__restrict__ x,
                                           real *__restrict__ gx, double slope) {
    wide factor = slope;
    each(items, gx, [=](wide g, wide v) { return v > 0 ? g : factor * g; }, gy, x);
}
