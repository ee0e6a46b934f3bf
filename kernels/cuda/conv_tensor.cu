// Convolution as a product of matrices on tensor cores, without ever writing down the matrix of windows: implicit GEMM.
//
// Both convolution and its gradient in x let windows of taps walk over images:
//
//     y[n, r, i, j]  =  sum over a, b, c of  w[r, (a, b, c)]  x[n, i stride_h + first_h + a step_h, j ... + b step_w, c]
//        C                                      A                                  B
//
// w and x come with the channels of a group last (channels_last.cu), cut into chunks of 16 bytes. So the depth of the sum is
// counted in chunks, (row of the window, column of the window, chunk of channels), as w lies in memory. B has a column for each
// pixel (n, i, j) of y, and its chunk is found where it is needed, in x: at the place of the pixel's first tap, plus the offset
// of the tap and the chunk; 0 if that lies in the padding. The first is a matter of B's column alone, the second of its row
// alone: a thread looks after one or two pixels, which it works out once, and for one of the chunks of a step, whose digits it
// counts on. So there is no division in the loop.
//
// Source: S. Chetlur et al., cuDNN: Efficient Primitives for Deep Learning, 2014, section 3.
#include "correlation.cuh"
#include "planes.cuh"

constexpr int OUTSIDE = -(1 << 30);  // a row that no image has, whatever is added

// Where the windows of one pixel of y begin in x.
struct Window {
    int row, column, place;  // place: in chunks

    __device__ Window() {}
    __device__ Window(const Correlation &g, Digits pixel, bool exists) {
        row = exists ? pixel.middle * g.stride_h + g.first_h : OUTSIDE, column = pixel.low * g.stride_w + g.first_w;
        place = exists ? ((pixel.high * g.height + row) * g.width + column) * g.chunks : 0;
    }

    // Copies the chunk of the tap ``down`` rows and ``right`` columns further.
    __device__ void copy(const Correlation &g, const Chunk *x, int down, int right, int chunk, bool exists, Chunk *to) const {
        exists &= ((unsigned) (row + down) < g.height) & ((unsigned) (column + right) < g.width);
        copy_async(to, x + (place + (down * g.width + right) * g.chunks + chunk), exists);
    }
};

// Steps of a convolution: 4 threads copy a row of A or a column of B.
template <class T> struct Windows {
    static constexpr int APART = BLOCK / CHUNKS, PIXELS = T::COLUMNS / APART;

    const Correlation &g;
    Rows<T> weights;
    const Chunk *x;
    Counter k;  // the chunk that comes next
    Window window[PIXELS];

    __device__ Windows(const Correlation &g, const Chunk *x, const Chunk *w, Place p, int from)
        : g(g), weights(g, w, p, from), x(x + (long long) p.group * g.images * g.height * g.width * g.chunks),
          k(CHUNKS, g.window_w, g.chunks, g.depth()) {
        k.start(from + threadIdx.x % CHUNKS);
#pragma unroll
        for (int i = 0; i < PIXELS; i++) {
            int index = p.column + threadIdx.x / CHUNKS + i * APART;
            window[i] = Window(g, digits_of(index, g.out_height, g.out_width), index < g.pixels());
        }
    }

    __device__ void fetch(Chunk *a, Chunk *b) {
        weights.fetch(a);
#pragma unroll
        for (int i = 0; i < PIXELS; i++)
            window[i].copy(g, x, k.now.high * g.step_h, k.now.middle * g.step_w, k.now.low, k.left > 0,
                           &b[T::B::place(threadIdx.x / CHUNKS + i * APART, threadIdx.x % CHUNKS)]);
        k.advance();
    }
};

// Four neighbours, stored at once where they lie side by side at a place that is a multiple of 4.
template <class Number> __device__ void store_four(Number *y, const int (&place)[4], bool together, const float (&value)[4]) {
    Pack<Number, 4> four;
#pragma unroll
    for (int e = 0; e < 4; e++) four.at[e] = value[e];
    if (together && place[3] >= 0)
        store(y + place[0], four);
    else
#pragma unroll
        for (int e = 0; e < 4; e++)
            if (place[e] >= 0) y[place[e]] = four.at[e];
}

// y = bias + w x, and what is below 0 becomes 0 if ``relu``; NaN stays NaN. Or a part of the sum, ``steps`` long, where there are
// few tiles.
template <class T, class Source> __device__ void correlate(const real *x, const real *w, const real *bias, real *y, bool relu,
                                                           float *parts, int steps, const Correlation &g) {
    __shared__ typename T::Shared shared;
    T tile;
    {
        Place p = Place::of_block<T>(g, g.pixels());
        Source source(g, (const Chunk *) x, (const Chunk *) w, p, p.part * steps * CHUNKS);
        tile.accumulate(source, shared, steps);
    }
    Place p = Place::of_block<T>(g, g.pixels());
    int channel = p.group * g.rows + p.row, rows = g.rows - p.row;
    int place[4];  // in y, of the four pixels in the first channel
#pragma unroll
    for (int e = 0; e < 4; e++) {
        int index = p.column + T::four() + e;
        Digits pixel = digits_of(index, g.out_height, g.out_width);
        place[e] = (pixel.high * g.groups * g.rows + channel) * g.plane + g.start + pixel.middle * g.row + pixel.low * g.column;
        if (index >= g.pixels()) place[e] = OUTSIDE;
    }
    bool together = (g.plane % 4 == 0) & (g.column == 1) & (g.row == g.out_width) & (g.out_width * g.out_height == g.plane);
    if (parts) parts += (long long) p.part * g.images * g.groups * g.rows * g.plane;
    tile.finish(shared, [&](int row, const float *sums) {
        if (row >= rows) return;
        float value[4];
        int at[4];
#pragma unroll
        for (int e = 0; e < 4; e++) {
            value[e] = bias ? sums[e] + float(bias[channel + row]) : sums[e];
            if (relu && value[e] <= 0) value[e] = 0;
            at[e] = place[e] < 0 ? OUTSIDE : place[e] + row * g.plane;
        }
        if (parts)
            store_four(parts, at, together, value);
        else
            store_four(y, at, together, value);
    });
}

// The gradient in w is a product of the same two kinds of numbers, summed over pixels:
//
//     gw[r, (a, b, c)]  =  sum over n, i, j of  gy[n, i, j, r]  x[n, i stride_h + first_h + a step_h, ..., c]
//        C                                         A                               B
//
// The depth runs over pixels, across chunks: now a thread has a chunk of A's rows and one of B's columns, that is a tap and some
// channels, for good, and pixels move on. As there are few tiles and the sums are long, each is cut into parts for several
// blocks; parts.cu adds them up.
template <class T> struct Pixels {
    static constexpr int A_LENGTH = T::ROWS / PER_CHUNK, B_LENGTH = T::COLUMNS / PER_CHUNK;
    static constexpr int A_APART = BLOCK / A_LENGTH, B_APART = BLOCK / B_LENGTH;  // pixels that are copied at the same time
    static constexpr int B_PIXELS = DEPTH / B_APART;

    const Correlation &g;
    const Chunk *gy, *x;
    int chunks, left;          // of gy's channels; pixels from this thread's first on
    bool row_exists, exists;   // the chunk of gy, and that of x
    int down, right, chunk;    // the tap, and the chunk of channels
    Counter pixel[B_PIXELS];

    __device__ Pixels(const Correlation &g, const Chunk *gy, const Chunk *x, Place p, int from)
        : g(g), chunks((g.rows + PER_CHUNK - 1) / PER_CHUNK) {
        int row = p.row / PER_CHUNK + threadIdx.x % A_LENGTH, first = from + threadIdx.x / A_LENGTH;
        this->gy = gy + ((long long) p.group * g.pixels() + first) * chunks + row;
        this->x = x + (long long) p.group * g.images * g.height * g.width * g.chunks;
        row_exists = row < chunks, left = g.pixels() - first;
        int column = p.column / PER_CHUNK + threadIdx.x % B_LENGTH;
        Digits tap = digits_of(column, g.window_w, g.chunks);
        exists = column < g.depth(), down = tap.high * g.step_h, right = tap.middle * g.step_w, chunk = tap.low;
#pragma unroll
        for (int i = 0; i < B_PIXELS; i++) {
            pixel[i] = Counter(DEPTH, g.out_height, g.out_width, g.pixels());
            pixel[i].start(from + threadIdx.x / B_LENGTH + i * B_APART);
        }
    }

    __device__ void fetch(Chunk *a, Chunk *b) {
#pragma unroll
        for (int i = 0; i < DEPTH; i += A_APART)
            copy_async(&a[T::A::place(threadIdx.x / A_LENGTH + i, threadIdx.x % A_LENGTH)], gy + i * chunks,
                       row_exists & (i < left));
        gy += DEPTH * chunks, left -= DEPTH;
#pragma unroll
        for (int i = 0; i < B_PIXELS; i++) {
            Window window(g, pixel[i].now, pixel[i].left > 0);
            window.copy(g, x, down, right, chunk, exists,
                        &b[T::B::place(threadIdx.x / B_LENGTH + i * B_APART, threadIdx.x % B_LENGTH)]);
            pixel[i].advance();
        }
    }
};

template <class T, class Source> __device__ void correlate_weights(const real *gy, const real *x, real *gw, float *parts,
                                                                   int steps, const Correlation &g) {
    __shared__ typename T::Shared shared;
    int columns = g.depth() * PER_CHUNK;
    T tile;
    {
        Place p = Place::of_block<T>(g, columns);
        Source source(g, (const Chunk *) gy, (const Chunk *) x, p, p.part * steps * DEPTH);
        tile.accumulate(source, shared, steps);
    }
    // Four columns are channels of one tap, and lie side by side in w if it is the only one.
    Place p = Place::of_block<T>(g, columns);
    Digits tap = digits_of(p.column + T::four(), g.window_w, g.chunks * PER_CHUNK);
    int taps = g.window_h * g.window_w, rows = g.rows - p.row, left = tap.high < g.window_h ? g.channels - tap.low : 0;
    int first = ((p.group * g.rows + p.row) * g.channels + tap.low) * taps + tap.high * g.window_w + tap.middle;
    bool together = (taps == 1) & (g.channels % 4 == 0);
    if (parts) parts += (long long) p.part * g.groups * g.rows * g.channels * taps;
    tile.finish(shared, [&](int row, const float *sums) {
        if (row >= rows) return;
        float value[4];
        int at[4];
#pragma unroll
        for (int e = 0; e < 4; e++) value[e] = sums[e], at[e] = e < left ? first + (row * g.channels + e) * taps : OUTSIDE;
        if (parts)
            store_four(parts, at, together, value);
        else
            store_four(gw, at, together, value);
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
correlate_128x128(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, float *parts,
                  int steps, const Correlation g) {
    using T = Tile<4, 4, Along, Along>;
    correlate<T, Windows<T>>(x, w, bias, y, relu, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_planes_128x128(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, float *parts,
                  int steps, const Correlation g) {
    using T = Tile<4, 4, Along, Across>;
    correlate<T, PlaneWindows<T>>(x, w, bias, y, relu, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_64x128(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, float *parts,
                  int steps, const Correlation g) {
    using T = Tile<2, 4, Along, Along>;
    correlate<T, Windows<T>>(x, w, bias, y, relu, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_planes_64x128(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, float *parts,
                  int steps, const Correlation g) {
    using T = Tile<2, 4, Along, Across>;
    correlate<T, PlaneWindows<T>>(x, w, bias, y, relu, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_64x64(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, float *parts,
                  int steps, const Correlation g) {
    using T = Tile<2, 2, Along, Along>;
    correlate<T, Windows<T>>(x, w, bias, y, relu, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
correlate_planes_64x64(long long items, const real *x, const real *w, const real *bias, real *y, bool relu, float *parts,
                  int steps, const Correlation g) {
    using T = Tile<2, 2, Along, Across>;
    correlate<T, PlaneWindows<T>>(x, w, bias, y, relu, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_128x128(long long items, const real *gy, const real *x, real *gw, float *parts, int steps, const Correlation g) {
    using T = Tile<4, 4, Across, Across>;
    correlate_weights<T, Pixels<T>>(gy, x, gw, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_planes_128x128(long long items, const real *gy, const real *x, real *gw, float *parts, int steps, const Correlation g) {
    using T = Tile<4, 4, Along, Along>;
    correlate_weights<T, PlanePixels<T>>(gy, x, gw, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_64x128(long long items, const real *gy, const real *x, real *gw, float *parts, int steps, const Correlation g) {
    using T = Tile<2, 4, Across, Across>;
    correlate_weights<T, Pixels<T>>(gy, x, gw, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_planes_64x128(long long items, const real *gy, const real *x, real *gw, float *parts, int steps, const Correlation g) {
    using T = Tile<2, 4, Along, Along>;
    correlate_weights<T, PlanePixels<T>>(gy, x, gw, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_64x64(long long items, const real *gy, const real *x, real *gw, float *parts, int steps, const Correlation g) {
    using T = Tile<2, 2, Across, Across>;
    correlate_weights<T, Pixels<T>>(gy, x, gw, parts, steps, g);
}

extern "C" __global__ void __launch_bounds__(BLOCK, BLOCKS)
weights_planes_64x64(long long items, const real *gy, const real *x, real *gw, float *parts, int steps, const Correlation g) {
    using T = Tile<2, 2, Along, Along>;
    correlate_weights<T, PlanePixels<T>>(gy, x, gw, parts, steps, g);
}
