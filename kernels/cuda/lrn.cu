// Local response normalisation across channels. Formulas and source: kernels/portable.
//
// x (N, C, inner): a thread for each element adds up the squares in its window of channels. Neighbouring threads have
// neighbouring positions, so that each step of the loop reads one piece of memory.

struct Place {
    int channel;
    int from, to;  // channels of the window that exist
};

__device__ Place place_of(long long i, int channels, long long inner, int before, int after) {
    int c = i / inner % channels;
    return {c, max(0, c - before), min(channels, c + after + 1)};
}

// d_c = k + (alpha / size) sum of x_j² over the window.
__device__ real base(const real *x, long long i, int channels, long long inner, int size, real alpha, real k) {
    Place p = place_of(i, channels, inner, size / 2, (size - 1) / 2);
    real sum = 0;
    for (int j = p.from; j < p.to; j++) {
        real value = x[i + (j - p.channel) * inner];
        sum += value * value;
    }
    return k + alpha / size * sum;
}

extern "C" __global__ void local_response_norm(long long items, const real *x, real *y, int channels, long long inner, int size,
                                               double alpha, double beta, double k) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i < items) y[i] = x[i] * pow(base(x, i, channels, inner, size, alpha, k), real(-beta));
}

// t = gy x d^(-beta - 1), of which the gradient needs sums over windows.
extern "C" __global__ void spread(long long items, const real *gy, const real *x, real *t, int channels, long long inner,
                                  int size, double alpha, double beta, double k) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    real d = base(x, i, channels, inner, size, alpha, k);
    t[i] = gy[i] * pow(d, real(-beta)) * x[i] / d;
}

// The windows that hold channel c are those of channels c - (size - 1) / 2 to c + size / 2.
extern "C" __global__ void local_response_norm_grad(long long items, const real *gy, const real *x, const real *t, real *gx,
                                                    int channels, long long inner, int size, double alpha, double beta,
                                                    double k) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Place p = place_of(i, channels, inner, (size - 1) / 2, size / 2);
    real sum = 0;
    for (int j = p.from; j < p.to; j++) sum += t[i + (j - p.channel) * inner];
    real direct = gy[i] * pow(base(x, i, channels, inner, size, alpha, k), real(-beta));
    gx[i] = direct - real(2 * alpha * beta / size) * x[i] * sum;
}
