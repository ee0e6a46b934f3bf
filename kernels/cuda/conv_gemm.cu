// Convolution as a product of matrices whose right one is never built: the tiles that gemm.cuh multiplies are read straight from
// the images ("implicit GEMM"). Formulas: kernels/portable/conv.py; sizes: geometry.cuh. For each group
//
//                        m                   n                       k                    A (m, k)     B (k, n)
//   conv2d               output channel o    window (image, i, j)    tap (c, a, b)        w            x where window reads tap
//   conv2d_input_grad    input channel c     pixel (image, h, w)     tap (o, a, b)        w            gy where tap sees pixel
//   conv2d_weight_grad   output channel o    tap (c, a, b)           window (image, i, j) gy           x where window reads tap
//
// The gradient in x gathers: a pixel adds up what the windows that read it sent, in a fixed order. With a stride, of all taps
// only every step-th sees a given pixel (geometry.cuh). Pixels are therefore sorted into phases, by h % sh and w % sw: within a
// phase all are seen by the same taps, and the map is a convolution of stride 1 with those. So no product is with a zero in
// between, of which there would be 3 in 4 at stride 2.
//
// The weight gradient has few elements and long sums: they are cut into parts for different blocks, which parts.cu adds up.
//
// Source: S. Chetlur et al., cuDNN: Efficient Primitives for Deep Learning, 2014, section 3.
#include "geometry.cuh"
#include "gemm.cuh"

// What one more of each digit of a number is worth, in an array of planes (rows, columns).
struct Steps {
    int plane, row, column;
};

// Where the i of element (i, k) alone puts its pixel.
struct alignas(16) Corner {
    int offset, row, column;
};

// The operand whose element (i, k) is a pixel: the digits of k, each times its step, lead there from the corner of i. Zeros
// surround the image. Corners are worked out once for the tile, and stay in shared memory, as there are no registers left for
// them.
struct Image {
    const real *first;
    bool along_k;
    int height, width;
    Counter counter;
    Steps steps;
    Corner *corners;

    __device__ wide at(int i) const {
        Digits k = counter.now;
        Corner corner = corners[i];
        int down = k.middle * steps.row, right = k.low * steps.column;
        // A negative number is a huge one without its sign. With & there are no branches.
        bool inside = (unsigned(corner.row + down) < height) & (unsigned(corner.column + right) < width) & (counter.left > 0);
        return inside ? wide(first[corner.offset + k.high * steps.plane + down * width + right]) : 0;
    }
    // Of the i from ``first`` on, which end at ``size``: (top, left) and the digits of i, each times its step.
    __device__ void find_corners(int first, int size, int middles, int lows, Steps steps, int top, int left) {
        __shared__ Corner found[COLUMNS];
        if (threadIdx.x < COLUMNS) {
            Digits i = digits_of(first + threadIdx.x, middles, lows);
            int row = top + i.middle * steps.row, column = left + i.low * steps.column;
            int offset = i.high * steps.plane + row * width + column;
            int nowhere = -(1 << 30);  // no k leads from there into the image
            found[threadIdx.x] = {offset, first + threadIdx.x < size ? row : nowhere, column};
        }
        __syncthreads();
        corners = found;
    }
};

template <int ROWS>
__device__ void convolve(const real *x, const real *w, const real *b, real *y, const Geometry &g, bool relu) {
    int outputs = g.o / g.groups, channels = g.c / g.groups, depth = channels * g.kh * g.kw;
    int image = g.h * g.w, output = g.oh * g.ow;
    Tile<ROWS> tile(outputs, g.windows);
    int group = tile.rest;

    Matrix weights = {w + (group * outputs + tile.row) * depth, true, outputs - tile.row, depth, Counter(DEPTH, 1, 1, depth),
                      1, 0, 0};
    Image pixels = {x + group * channels * image, false, g.h, g.w, Counter(DEPTH, g.kh, g.kw, depth), {image, g.dh, g.dw}};
    pixels.find_corners(tile.column, g.windows, g.oh, g.ow, {g.c * image, g.sh, g.sw}, -g.ph, -g.pw);
    wide sums[Part<ROWS>::HEIGHT][Part<ROWS>::WIDTH];
    multiply<ROWS>(weights, pixels, 0, sums);

    auto offset = [&](int n) { return n / output * g.o * output + n % output; };
    auto finish = [&](int m, wide sum) {
        if (b) sum += b[group * outputs + m];
        return relu && sum <= 0 ? wide(0) : sum;  // NaN stays NaN
    };
    store<ROWS>(sums, tile, y + group * outputs * output, output, outputs, g.windows, output % 4 == 0, offset, finish);
}

template <int ROWS> __device__ void input_grad(const real *gy, const real *w, real *gx, const Geometry &g) {
    int outputs = g.o / g.groups, channels = g.c / g.groups, taps = g.kh * g.kw, image = g.h * g.w, output = g.oh * g.ow;
    Tile<ROWS> tile(channels, g.n * ((g.h + g.sh - 1) / g.sh) * ((g.w + g.sw - 1) / g.sw));
    int top = tile.rest % g.sh, left = tile.rest / g.sh % g.sw, group = tile.rest / g.sh / g.sw;
    int height = (g.h - top + g.sh - 1) / g.sh, width = (g.w - left + g.sw - 1) / g.sw;  // of this phase's part of an image
    if (tile.column >= g.n * height * width) return;
    Taps down = taps_of(top, g.kh, g.sh, g.ph, g.dh, g.step_h), across = taps_of(left, g.kw, g.sw, g.pw, g.dw, g.step_w);

    int depth = outputs * down.count * across.count;
    Counter counter(DEPTH, max(1, down.count), max(1, across.count), depth);
    Matrix weights = {w + (group * outputs * channels + tile.row) * taps + down.first * g.kw + across.first, depth > outputs,
                      channels - tile.row, taps, counter, channels * taps, g.step_h * g.kw, g.step_w};
    Image windows = {gy + group * outputs * output, false, g.oh, g.ow, counter, {output, -g.back_h, -g.back_w}};
    windows.find_corners(tile.column, g.n * height * width, height, width, {g.o * output, 1, 1}, down.window, across.window);
    wide sums[Part<ROWS>::HEIGHT][Part<ROWS>::WIDTH];
    multiply<ROWS>(weights, windows, 0, sums);

    auto offset = [&](int n) {
        Digits d = digits_of(n, height, width);
        return d.high * g.c * image + (top + d.middle * g.sh) * g.w + left + d.low * g.sw;
    };
    store<ROWS>(sums, tile, gx + group * channels * image, image, channels, g.n * height * width,
                g.sh * g.sw == 1 && image % 4 == 0, offset, [](int, wide sum) { return sum; });
}

// The sum over ``length`` windows goes to gw, or that of each part to partial (parts, O, C/G, KH, KW).
template <int ROWS>
__device__ void weight_grad(const real *gy, const real *x, real *gw, wide *partial, int length, const Geometry &g) {
    int outputs = g.o / g.groups, channels = g.c / g.groups, taps = channels * g.kh * g.kw;
    int image = g.h * g.w, output = g.oh * g.ow;
    Tile<ROWS> tile(outputs, taps);
    int group = tile.rest % g.groups, part = tile.rest / g.groups;

    Counter counter(DEPTH, g.oh, g.ow, min(g.windows, (part + 1) * length));
    Matrix gradients = {gy + (group * outputs + tile.row) * output, true, outputs - tile.row, output, counter,
                        g.o * output, g.ow, 1};
    Image pixels = {x + group * channels * image, true, g.h, g.w, counter, {g.c * image, g.sh, g.sw}};
    pixels.find_corners(tile.column, taps, g.kh, g.kw, {image, g.dh, g.dw}, -g.ph, -g.pw);
    wide sums[Part<ROWS>::HEIGHT][Part<ROWS>::WIDTH];
    multiply<ROWS>(gradients, pixels, part * length, sums);

    store_matrix<ROWS>(sums, tile, gw, partial, outputs, taps);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_128(long long items, const real *x, const real *w, const real *b, real *y, Geometry g, bool relu) {
    convolve<128>(x, w, b, y, g, relu);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_64(long long items, const real *x, const real *w, const real *b, real *y, Geometry g, bool relu) {
    convolve<64>(x, w, b, y, g, relu);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_32(long long items, const real *x, const real *w, const real *b, real *y, Geometry g, bool relu) {
    convolve<32>(x, w, b, y, g, relu);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_input_grad_128(long long items, const real *gy, const real *w, real *gx, Geometry g) {
    input_grad<128>(gy, w, gx, g);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_input_grad_64(long long items, const real *gy, const real *w, real *gx, Geometry g) {
    input_grad<64>(gy, w, gx, g);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_input_grad_32(long long items, const real *gy, const real *w, real *gx, Geometry g) {
    input_grad<32>(gy, w, gx, g);
}

extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_weight_grad_128(long long items, const real *gy, const real *x, real *gw, wide *partial, int length, Geometry g) {
    weight_grad<128>(gy, x, gw, partial, length, g);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_weight_grad_64(long long items, const real *gy, const real *x, real *gw, wide *partial, int length, Geometry g) {
    weight_grad<64>(gy, x, gw, partial, length, g);
}
extern "C" __global__ void __launch_bounds__(THREADS, BLOCKS)
conv2d_weight_grad_32(long long items, const real *gy, const real *x, real *gw, wide *partial, int length, Geometry g) {
    weight_grad<32>(gy, x, gw, partial, length, g);
}
