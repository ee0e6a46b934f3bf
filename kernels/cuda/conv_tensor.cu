// Convolution as a product of matrices on tensor cores, without ever writing down the matrix of windows: implicit GEMM.
//
// Both convolution and its gradient in x let windows of taps walk over images (N, groups channels, height, width):
//
//     y[n, r, i, j]  =  sum over c, a, b of  w[r, (c, a, b)]  x[n, c, i stride_h + first_h + a step_h, j ... + b step_w]
//        C                                      A                                  B
//
// A's rows are the channels of y, its columns, the depth of the sum, are (channel, row of the window, column of the window), as w
// lies in memory. B has a column for each pixel (n, i, j) of y. Its element is found where it is needed, in x, as
//
//     place of the pixel's first tap  +  offset of the tap,        0 if that lies in the padding
//
// The first is a matter of B's column alone, the second of its row alone. So a thread looks after one pixel, which it works out
// once, and a step's taps are worked out by the first DEPTH threads for all: no division for a product. Neighbouring threads have
// neighbouring pixels.
//
// Source: S. Chetlur et al., cuDNN: Efficient Primitives for Deep Learning, 2014, section 3.
#include "digits.cuh"
#include "load.cuh"
#include "mma.cuh"
#include "tile.cuh"

struct Correlation {
    int groups, rows, channels;       // channels of y and of x in a group
    int height, width;                // of x
    int images, out_height, out_width;
    int window_h, window_w;
    int stride_h, stride_w, first_h, first_w, step_h, step_w;
    int pitch;                        // numbers from one row of w to the next, whole chunks
    int plane, start, row, column;    // of y: from channel to channel, pixel (0, 0), from row to row, from pixel to pixel

    __device__ int depth() const { return channels * window_h * window_w; }
    __device__ int pixels() const { return images * out_height * out_width; }
    __device__ Digits tap(int k) const { return digits_of(k, window_h, window_w); }
    __device__ Digits pixel(int index) const { return digits_of(index, out_height, out_width); }
};

constexpr int OUTSIDE = -(1 << 30);  // a row that no image has, whatever is added

struct alignas(16) Tap {
    int offset, row, column, unused;  // 16 bytes, read at once
};

__device__ Tap tap_of(const Correlation &g, Digits k) {
    int row = k.middle * g.step_h, column = k.low * g.step_w;
    return {(k.high * g.height + row) * g.width + column, k.high < g.channels ? row : OUTSIDE, column, 0};
}

struct Window {
    int row, column;  // of its first tap in x
    const real *x;    // there, in the first channel of the group

    __device__ Window(const Correlation &g, Digits p, int group, bool exists, const real *images)
        : row(exists ? p.middle * g.stride_h + g.first_h : OUTSIDE), column(p.low * g.stride_w + g.first_w) {
        x = images + ((long long) (p.high * g.groups + group) * g.channels * g.height + row) * g.width + column;
    }

    __device__ real at(const Correlation &g, Tap tap) const {
        bool inside = ((unsigned) (row + tap.row) < g.height) & ((unsigned) (column + tap.column) < g.width);
        return load_if(inside, x + tap.offset);
    }
};

// The tile that a block computes: blocks that run at the same time share the columns of B.
struct Place {
    int row, column, group, part;

    template <class T> __device__ static Place of_block(const Correlation &g, int columns) {
        int block = blockIdx.x, down = (g.rows + T::ROWS - 1) / T::ROWS, across = (columns + T::COLUMNS - 1) / T::COLUMNS;
        int rest = block / down / across;
        return {block % down * T::ROWS, block / down % across * T::COLUMNS, rest % g.groups, rest / g.groups};
    }
};

// w's rows come in chunks, 4 threads to a row; windows number by number, a thread for each pixel and NUMBERS of its taps.
template <class T> struct Windows {
    static constexpr int A_CHUNKS = T::ROWS * CHUNKS / BLOCK, B_CHUNKS = T::COLUMNS * CHUNKS / BLOCK;
    static constexpr int NUMBERS = B_CHUNKS * PER_CHUNK;

    const Correlation &g;
    const real *w;
    Window window;
    Tap (*taps)[DEPTH];  // two steps, in shared memory
    int rows;            // of w from here on
    int step = 0;
    Counter k;           // the tap that this thread works out
    Chunk a[A_CHUNKS];
    real b[NUMBERS];

    __device__ Windows(const Correlation &g, const real *w, Place p, Window window, Tap (*taps)[DEPTH])
        : g(g), w(w + ((long long) p.group * g.rows + p.row) * g.pitch), window(window), taps(taps), rows(g.rows - p.row),
          k(DEPTH, g.window_h, g.window_w, g.depth()) {
        k.start(threadIdx.x);
        plan(0);
        __syncthreads();
    }

    __device__ void plan(int step) {
        if (threadIdx.x < DEPTH) taps[step % 2][threadIdx.x] = tap_of(g, k.now);
        k.advance();
    }

    __device__ void fetch() {
        int column = step * DEPTH + threadIdx.x % CHUNKS * PER_CHUNK;
#pragma unroll
        for (int i = 0; i < A_CHUNKS; i++) {
            int row = threadIdx.x / CHUNKS + i * (BLOCK / CHUNKS);
            a[i] = load_if((row < rows) & (column < g.pitch), (const Chunk *) &w[(long long) row * g.pitch + column]);
        }
        const Tap *tap = &taps[step % 2][threadIdx.x / T::COLUMNS * NUMBERS];
#pragma unroll
        for (int i = 0; i < NUMBERS; i++) b[i] = window.at(g, tap[i]);
        plan(++step);
    }

    __device__ void deposit(Chunk *to_a, Chunk *to_b) {
#pragma unroll
        for (int i = 0; i < A_CHUNKS; i++)
            to_a[place_of(threadIdx.x / CHUNKS + i * (BLOCK / CHUNKS), threadIdx.x % CHUNKS)] = operands(a[i].number);
#pragma unroll
        for (int i = 0; i < B_CHUNKS; i++)
            to_b[place_of(threadIdx.x % T::COLUMNS, threadIdx.x / T::COLUMNS * B_CHUNKS + i)] = operands(b + i * PER_CHUNK);
    }
};

// y = bias + w x, and what is below 0 becomes 0 if ``relu``; NaN stays NaN.
template <class T> __device__ void correlate(const real *x, const real *w, const real *bias, real *y, bool relu,
                                             const Correlation &g) {
    __shared__ typename T::Shared shared;
    __shared__ Tap taps[2][DEPTH];
    __shared__ Place p;  // not in registers, of which the loop needs all
    if (threadIdx.x == 0) p = Place::of_block<T>(g, g.pixels());
    __syncthreads();
    T tile;
    {
        int index = p.column + threadIdx.x % T::COLUMNS;
        Windows<T> source(g, w, p, Window(g, g.pixel(index), p.group, index < g.pixels(), x), taps);
        tile.accumulate(source, shared, (g.depth() + DEPTH - 1) / DEPTH);
    }
    int index = p.column + threadIdx.x % T::COLUMNS;
    bool exists = index < g.pixels();
    Digits pixel = g.pixel(index);
    int channel = p.group * g.rows + p.row, rows = g.rows - p.row;
    real *out = y + ((long long) pixel.high * g.groups * g.rows + channel) * g.plane;
    out += g.start + pixel.middle * g.row + pixel.low * g.column;
    tile.finish(shared, [&](int row, float value) {
        if (row >= rows || !exists) return;
        if (bias) value += float(bias[channel + row]);
        out[(long long) row * g.plane] = relu && value <= 0 ? 0 : value;
    });
}

// The gradient in w is a product of the same two kinds of numbers, summed over pixels:
//
//     gw[r, (c, a, b)]  =  sum over n, i, j of  gy[n, r, i, j]  x[n, c, i stride_h + first_h + a step_h, ...]
//        C                                         A                               B
//
// Now the columns of B are taps, worked out once for the block, and the depth runs over pixels: a thread takes every DEPTH-th of
// them, for several rows of A and columns of B, and again neighbouring threads have neighbouring pixels. As there are few tiles
// and the sums are long, each is cut into parts for several blocks; parts.cu adds them up.
template <class T> struct Pixels {
    static constexpr int APART = BLOCK / DEPTH, A_NUMBERS = T::ROWS / APART, B_NUMBERS = T::COLUMNS / APART;

    const Correlation &g;
    const real *gy, *x;
    const Tap *taps;
    int group, rows;
    Counter pixel;
    real a[A_NUMBERS], b[B_NUMBERS];

    __device__ Pixels(const Correlation &g, const real *gy, const real *x, Place p, int from, const Tap *taps)
        : g(g), gy(gy + ((long long) p.group * g.rows + p.row) * g.plane), x(x), taps(taps), group(p.group),
          rows(g.rows - p.row), pixel(DEPTH, g.out_height, g.out_width, g.pixels()) {
        pixel.start(from + threadIdx.x % DEPTH);
    }

    __device__ void fetch() {
        bool exists = pixel.left > 0;
        const real *place = gy + (long long) pixel.now.high * g.groups * g.rows * g.plane;
        place += (long long) (threadIdx.x / DEPTH) * g.plane + pixel.now.middle * g.row + pixel.now.low;
#pragma unroll
        for (int i = 0; i < A_NUMBERS; i++, place += (long long) APART * g.plane)
            a[i] = load_if((threadIdx.x / DEPTH + i * APART < rows) & exists, place);
        Window window(g, pixel.now, group, exists, x);
#pragma unroll
        for (int i = 0; i < B_NUMBERS; i++) b[i] = window.at(g, taps[threadIdx.x / DEPTH + i * APART]);
        pixel.advance();
    }

    __device__ void deposit(Chunk *to_a, Chunk *to_b) {
#pragma unroll
        for (int i = 0; i < A_NUMBERS; i++) put(to_a, i, a[i]);
#pragma unroll
        for (int i = 0; i < B_NUMBERS; i++) put(to_b, i, b[i]);
    }

    __device__ void put(Chunk *to, int i, real value) {
        int k = threadIdx.x % DEPTH;
        to[place_of(threadIdx.x / DEPTH + i * APART, k / PER_CHUNK)].number[k % PER_CHUNK] = operand(value);
    }
};

template <class T> __device__ void correlate_weights(const real *gy, const real *x, float *parts, int steps,
                                                     const Correlation &g) {
    __shared__ typename T::Shared shared;
    __shared__ Tap taps[T::COLUMNS];
    __shared__ Place p;
    if (threadIdx.x == 0) p = Place::of_block<T>(g, g.depth());
    __syncthreads();
    if (threadIdx.x < T::COLUMNS) taps[threadIdx.x] = tap_of(g, g.tap(p.column + threadIdx.x));
    __syncthreads();
    T tile;
    {
        Pixels<T> source(g, gy, x, p, p.part * steps * DEPTH, taps);
        tile.accumulate(source, shared, steps);
    }
    int rows = g.rows - p.row, column = p.column + threadIdx.x % T::COLUMNS, depth = g.depth();
    float *out = parts + (((long long) p.part * g.groups + p.group) * g.rows + p.row) * depth + column;
    tile.finish(shared, [&](int row, float value) {
        if (row < rows && column < depth) out[(long long) row * depth] = value;
    });
}

// A kernel for each size of tile, and a block for each of ``items``. A multiprocessor has registers for two blocks if a thread
// takes 128 at most: while one block waits at its barrier, the other multiplies. Before sm_80 these would not do.
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
constexpr int BLOCKS = 1;
#else
constexpr int BLOCKS = 2;
#endif

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_128x128(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, const Correlation g) {
    correlate<Tile<4, 4>>(x, w, bias, y, relu, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_64x128(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, const Correlation g) {
    correlate<Tile<2, 4>>(x, w, bias, y, relu, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_64x64(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, const Correlation g) {
    correlate<Tile<2, 2>>(x, w, bias, y, relu, g);
}

// Too many numbers are on their way here for 128 registers.
extern "C" __global__ void __launch_bounds__(BLOCK)
weights_128x128(long long items, const real *gy, const real *x, float *parts, int steps, const Correlation g) {
    correlate_weights<Tile<4, 4>>(gy, x, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_64x128(long long items, const real *gy, const real *x, float *parts, int steps, const Correlation g) {
    correlate_weights<Tile<2, 4>>(gy, x, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_64x64(long long items, const real *gy, const real *x, float *parts, int steps, const Correlation g) {
    correlate_weights<Tile<2, 2>>(gy, x, parts, steps, g);
}
