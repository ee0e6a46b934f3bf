// A long sum is cut into parts, which different blocks add up; this adds the parts, always in the same order. In double, as
// the numbers are few.

// partial (parts, items) -> total (items)
extern "C" __global__ void sum_parts(long long items, const wide *partial, int parts, real *total) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    double sum = 0;
    for (int part = 0; part < parts; part++) sum += partial[part * items + i];
    total[i] = wide(sum);
}
