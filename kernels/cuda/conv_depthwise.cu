// Convolution where each input channel is a group of its own, with O/C output channels: no sum over channels, so that there is
// little to compute and memory decides. A thread computes one element and reads it all through the caches; neighbouring threads
// have neighbouring columns. Formulas: kernels/portable/conv.py; sizes: geometry.cuh.
#include "geometry.cuh"
#include "digits.cuh"
#include "warp.cuh"

constexpr int THREADS = 256;

extern "C" __global__ void conv2d(long long items, const real *x, const real *w, const real *b, real *y, Geometry g, bool relu) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Digits d = digits_of(i, g.oh, g.ow);
    int o = d.high % g.o, c = o / (g.o / g.c), top = d.middle * g.sh - g.ph, left = d.low * g.sw - g.pw;
    const real *image = x + (d.high / g.o * g.c + c) * g.h * g.w, *taps = w + o * g.kh * g.kw;
    wide sum = 0;
    for (int a = 0; a < g.kh; a++) {
        int row = top + a * g.dh;
        if (row < 0 || row >= g.h) continue;
        for (int k = 0; k < g.kw; k++) {
            int column = left + k * g.dw;
            if (column >= 0 && column < g.w) sum += wide(image[row * g.w + column]) * wide(taps[a * g.kw + k]);
        }
    }
    if (b) sum += b[o];
    y[i] = relu && sum <= 0 ? wide(0) : sum;  // NaN stays NaN
}

// A pixel gathers from the windows that read it.
extern "C" __global__ void conv2d_input_grad(long long items, const real *gy, const real *w, real *gx, Geometry g) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Digits d = digits_of(i, g.h, g.w);
    int outputs = g.o / g.c, c = d.high % g.c, first = (d.high / g.c * g.c + c) * outputs;
    Taps down = taps_of(d.middle, g.kh, g.sh, g.ph, g.dh, g.step_h), across = taps_of(d.low, g.kw, g.sw, g.pw, g.dw, g.step_w);
    wide sum = 0;
    for (int o = 0; o < outputs; o++) {
        const real *image = gy + (first + o) * g.oh * g.ow, *taps = w + (c * outputs + o) * g.kh * g.kw;
        for (int a = 0; a < down.count; a++) {
            int row = down.window - a * g.back_h, tap = (down.first + a * g.step_h) * g.kw + across.first;
            if (row < 0 || row >= g.oh) continue;
            for (int k = 0; k < across.count; k++) {
                int column = across.window - k * g.back_w;
                if (column >= 0 && column < g.ow) sum += wide(image[row * g.ow + column]) * wide(taps[tap + k * g.step_w]);
            }
        }
    }
    gx[i] = sum;
}

// A block sums over ``length`` windows for all taps of one output channel: it reads them again for each tap, from the caches. The
// sum goes to gw, or that of each part to partial (parts, O, 1, KH, KW).
extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_weight_grad(long long items, const real *gy, const real *x, real *gw, wide *partial, int length, Geometry g) {
    __shared__ wide warps[THREADS / 32];
    int o = blockIdx.x % g.o, part = blockIdx.x / g.o, c = o / (g.o / g.c), taps = g.kh * g.kw;
    for (int tap = 0; tap < taps; tap++) {
        int down = tap / g.kw * g.dh - g.ph, right = tap % g.kw * g.dw - g.pw;
        Counter window(THREADS, g.oh, g.ow, min(g.windows, (part + 1) * length));
        wide sum = 0;
        for (window.start(part * length + threadIdx.x); window.left > 0; window.advance()) {
            Digits d = window.now;
            int row = d.middle * g.sh + down, column = d.low * g.sw + right;
            if (row < 0 || row >= g.h || column < 0 || column >= g.w) continue;
            wide output = gy[((d.high * g.o + o) * g.oh + d.middle) * g.ow + d.low];
            sum += output * wide(x[((d.high * g.c + c) * g.h + row) * g.w + column]);
        }
        sum = sum_of_warp(sum);
        if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
        __syncthreads();
        if (threadIdx.x == 0) {
            for (int warp = 1; warp < THREADS / 32; warp++) sum += warps[warp];
            if (partial)
                partial[blockIdx.x * taps + tap] = sum;
            else
                gw[o * taps + tap] = sum;
        }
        __syncthreads();
    }
}
