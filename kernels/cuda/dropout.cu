// The linear map of dropout at a fixed mask: y = x mask scale. Masks are made in philox.cu. Reads x and the mask (1 byte) once.
#include "each.cuh"

extern "C" __global__ void apply_mask(long long items, const real *__restrict__ x, const bool *__restrict__ mask,
                                      real *__restrict__ y, double scale) {
    wide factor = scale;
    each(items, y, [=](wide v, bool kept) { return v * (kept ? factor : wide(0)); }, x, mask);
}
