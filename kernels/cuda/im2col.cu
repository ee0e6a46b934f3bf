// im2col and its adjoint. Formula: kernels/portable/im2col.py; sizes: geometry.cuh.
#include "geometry.cuh"
#include "digits.cuh"

// cols (N, C, KH, KW, OH, OW): a thread for each entry.
extern "C" __global__ void im2col(long long items, const real *x, real *cols, Geometry g) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    long long planes = i / g.ow / g.oh;
    Digits tap = digits_of(planes % (g.c * g.kh * g.kw), g.kh, g.kw);
    int row = i / g.ow % g.oh * g.sh + tap.middle * g.dh - g.ph, column = i % g.ow * g.sw + tap.low * g.dw - g.pw;
    bool inside = row >= 0 && row < g.h && column >= 0 && column < g.w;
    long long plane = planes / (g.c * g.kh * g.kw) * g.c + tap.high;
    cols[i] = inside ? x[(plane * g.h + row) * g.w + column] : real(0);
}

// x (N, C, H, W): a thread for each pixel adds up its copies, over the taps that see it.
extern "C" __global__ void col2im(long long items, const real *cols, real *x, Geometry g) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Taps down = taps_of(i / g.w % g.h, g.kh, g.sh, g.ph, g.dh, g.step_h);
    Taps across = taps_of(i % g.w, g.kw, g.sw, g.pw, g.dw, g.step_w);
    long long plane = i / g.w / g.h;
    wide sum = 0;
    for (int a = 0; a < down.count; a++) {
        int row = down.window - a * g.back_h;
        if (row < 0 || row >= g.oh) continue;
        for (int k = 0; k < across.count; k++) {
            int column = across.window - k * g.back_w;
            if (column < 0 || column >= g.ow) continue;
            long long tap = (plane * g.kh + down.first + a * g.step_h) * g.kw + across.first + k * g.step_w;
            sum += cols[(tap * g.oh + row) * g.ow + column];
        }
    }
    x[i] = sum;
}
