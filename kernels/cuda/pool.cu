// Pooling over rectangular windows of x (planes, height, width) -> y (planes, rows, columns), and its adjoints. Formulas:
// kernels/portable. Each number that is written is gathered by one thread: nothing is added in memory, so sums come out the same
// every time. Where windows overlap, numbers are read again, from the cache.
//
// ``h_windows`` (2, rows): window i covers rows h_windows[0][i], then every h_step, below h_windows[1][i], all in the image.
// ``h_covers`` (2, height): row h lies in no windows but h_covers[0][h] up to, not including, h_covers[1][h]. Columns alike.
//
// A division of whole numbers takes about twenty instructions, as long as a small window: a thread divides once for its OUTPUTS,
// one above the other, or for its tile of 4 x 2 pixels. Neighbours have neighbouring columns. Of the windows that most networks
// have, a thread reads all pixels for its outputs before it needs the first, and those that two windows share once.
#include "load.cuh"
#include "pack.cuh"
#include "place.cuh"

constexpr int OUTPUTS = 4, TILE_H = 4, TILE_W = 2;

struct Sizes {
    int height, width, rows, columns, h_step, w_step;
    int kernel, stride, top, left;  // of windows that are squares, all alike; where the first begins. Otherwise 0
};

__device__ int nearest(int i, int size) { return min(max(i, 0), size - 1); }

// f(row of the output, place of the first number of its window, over) for the outputs of column j from row i on, whose windows
// are KERNEL x KERNEL pixels, STRIDE apart; over(take) calls take(number, its place, whether it exists) for each pixel, row by
// row. Instead of one outside of the image comes the nearest, without a branch, which loads would wait at.
template <int KERNEL, int STRIDE, class F>
__device__ void square_windows(const Sizes &s, const real *plane, int i, int j, F f) {
    constexpr int ROWS = (OUTPUTS - 1) * STRIDE + KERNEL;
    const int top = i * STRIDE + s.top, left = j * STRIDE + s.left;
    int rows[ROWS], columns[KERNEL];
    const real *in_column[KERNEL];
    real values[ROWS][KERNEL];
#pragma unroll
    for (int b = 0; b < KERNEL; b++) columns[b] = nearest(left + b, s.width), in_column[b] = settled(plane + columns[b]);
#pragma unroll
    for (int a = 0; a < ROWS; a++) {
        rows[a] = nearest(top + a, s.height) * s.width;
#pragma unroll
        for (int b = 0; b < KERNEL; b++) values[a][b] = load_if(true, in_column[b] + rows[a]);
    }
#pragma unroll
    for (int o = 0; o < OUTPUTS; o++)
        if (i + o < s.rows)
            f(i + o, rows[o * STRIDE] + columns[0], [&](auto take) {
#pragma unroll
                for (int a = o * STRIDE; a < o * STRIDE + KERNEL; a++)
#pragma unroll
                    for (int b = 0; b < KERNEL; b++)
                        take(values[a][b], rows[a] + columns[b],
                             0 <= top + a && top + a < s.height && 0 <= left + b && left + b < s.width);
            });
}

// The same for windows of any kind.
template <class F>
__device__ void any_windows(const Sizes &s, const int *h_windows, const int *w_windows, const real *plane, int i, int j, F f) {
    const int left = w_windows[j], right = w_windows[s.columns + j];
    for (int row = i; row < min(i + OUTPUTS, s.rows); row++) {
        const int top = h_windows[row], bottom = h_windows[s.rows + row];
        f(row, top * s.width + left, [&](auto take) {
            for (int h = top; h < bottom; h += s.h_step)
                for (int w = left; w < right; w += s.w_step) take(plane[h * s.width + w], h * s.width + w, true);
        });
    }
}

// f(number of the output, its place in its plane, place of the first number of its window, over) for each output of this thread.
template <class F>
__device__ void each_output(long long items, const Sizes &s, const int *h_windows, const int *w_windows, const real *x, F f) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, (s.rows + OUTPUTS - 1) / OUTPUTS, s.columns);
    const real *plane = x + p.plane * s.height * s.width;
    auto output = [&](int row, int first, auto over) {
        int place = row * s.columns + p.j;
        f(p.plane * s.rows * s.columns + place, place, first, over);
    };
    int i = p.i * OUTPUTS;
    if (s.kernel == 3 && s.stride == 2)
        square_windows<3, 2>(s, plane, i, p.j, output);
    else if (s.kernel == 2 && s.stride == 2)
        square_windows<2, 2>(s, plane, i, p.j, output);
    else if (s.kernel == 3 && s.stride == 1)
        square_windows<3, 1>(s, plane, i, p.j, output);
    else
        any_windows(s, h_windows, w_windows, plane, i, p.j, output);
}

// The larger of two numbers, or NaN.
__device__ wide larger(wide a, wide b) { return a <= b || b != b ? b : a; }

// The maximum and, where ``winners`` is not null, its place h width + w. The first of equal elements wins, and the first NaN.
extern "C" __global__ void max_windows(long long items, const real *__restrict__ x, real *__restrict__ values,
                                       long long *__restrict__ winners, Sizes s, const int *__restrict__ h_windows,
                                       const int *__restrict__ w_windows) {
    const wide LEAST = -1 / wide(0);  // -inf
    if (!winners) {
        each_output(items, s, h_windows, w_windows, x, [&](long long output, int, int, auto over) {
            wide best = LEAST;
            over([&](wide value, int, bool) { best = larger(best, value); });
            values[output] = best;
        });
        return;
    }
    each_output(items, s, h_windows, w_windows, x, [&](long long output, int, int winner, auto over) {
        wide best = LEAST;
        over([&](wide value, int place, bool) {  // what comes again does not win again
            if (!(value <= best) && best == best) best = value, winner = place;
        });
        values[output] = best, winners[output] = winner;
    });
}

// The sum over divisors (rows, columns); an empty window gives 0.
extern "C" __global__ void mean_windows(long long items, const real *__restrict__ x, const wide *__restrict__ divisors,
                                        real *__restrict__ y, Sizes s, const int *__restrict__ h_windows,
                                        const int *__restrict__ w_windows) {
    each_output(items, s, h_windows, w_windows, x, [&](long long output, int at, int, auto over) {
        wide sum = 0;
        over([&](wide value, int, bool exists) { sum += exists ? value : wide(0); });
        y[output] = sum / divisors[at];
    });
}

// Pixels from (h, w) on, some of which may lie outside of the image, and the windows that hold any of them.
struct Tile {
    long long plane;
    int h, w, i, i_stop, j, j_stop;
};

__device__ Tile tile_of(long long item, const Sizes &s, const int *h_covers, const int *w_covers) {
    Place p = place_of(item, (s.height + TILE_H - 1) / TILE_H, (s.width + TILE_W - 1) / TILE_W);
    int h = p.i * TILE_H, w = p.j * TILE_W;
    return {p.plane, h, w, h_covers[h], h_covers[s.height + min(h + TILE_H, s.height) - 1],
            w_covers[w], w_covers[s.width + min(w + TILE_W, s.width) - 1]};
}

__device__ void store_tile(real *gx, const Tile &t, const Sizes &s, const wide (&sums)[TILE_H][TILE_W]) {
    gx += t.plane * s.height * s.width + t.h * s.width + t.w;
    bool packs = s.width % TILE_W == 0;  // then every row begins where a pack may: new arrays do
#pragma unroll
    for (int a = 0; a < TILE_H; a++, gx += s.width) {
        if (t.h + a >= s.height) return;
        if (packs)
            store(gx, Pack<real, TILE_W>{{sums[a][0], sums[a][1]}});
        else
            for (int b = 0; b < TILE_W && t.w + b < s.width; b++) gx[b] = sums[a][b];
    }
}

// The adjoint of the maximum: the sum of gy over the windows that a pixel has won. Windows are read 3 x 2 at a time, all before
// the first is needed: so many hold pixels of a tile, where windows of 3 x 3 are 2 apart. Of a winner, the lower 32 bits say all.
extern "C" __global__ void add_winners(long long items, const real *__restrict__ gy, const long long *__restrict__ winners,
                                       real *__restrict__ gx, Sizes s, const int *__restrict__ h_covers,
                                       const int *__restrict__ w_covers) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Tile t = tile_of(item, s, h_covers, w_covers);
    gy += t.plane * s.rows * s.columns, winners += t.plane * s.rows * s.columns;
    wide sums[TILE_H][TILE_W] = {};
    for (int i = t.i; i < t.i_stop; i += 3)
        for (int j = t.j; j < t.j_stop; j += 2) {
            real g[6];
            int place[6];  // of the winner, from the tile's first pixel on
#pragma unroll
            for (int k = 0; k < 6; k++) {
                int row = i + k / 2, column = j + k % 2, window = row * s.columns + column;
                bool exists = row < t.i_stop && column < t.j_stop;  // or it adds 0
                g[k] = load_if(exists, gy + window);
                place[k] = load_if(exists, (const int *) (winners + window)) - (t.h * s.width + t.w);
            }
#pragma unroll
            for (int k = 0; k < 6; k++)
#pragma unroll
                for (int a = 0; a < TILE_H; a++)
#pragma unroll
                    for (int b = 0; b < TILE_W; b++)
                        if (place[k] == a * s.width + b) sums[a][b] += g[k];
        }
    store_tile(gx, t, s, sums);
}

// The adjoint of the mean: the sum of gy / divisor over the windows that hold a pixel, all that cover it as the step is 1.
extern "C" __global__ void spread_windows(long long items, const real *__restrict__ gy, const wide *__restrict__ divisors,
                                          real *__restrict__ gx, Sizes s, const int *__restrict__ h_covers,
                                          const int *__restrict__ w_covers) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Tile t = tile_of(item, s, h_covers, w_covers);
    gy += t.plane * s.rows * s.columns;
    wide sums[TILE_H][TILE_W] = {};
    int first[TILE_H], stop[TILE_H];  // the windows that hold each row of the tile
#pragma unroll
    for (int a = 0; a < TILE_H; a++) {
        int h = min(t.h + a, s.height - 1);
        first[a] = h_covers[h], stop[a] = h_covers[s.height + h];
    }
    int left_stop = w_covers[s.width + t.w], right_first = w_covers[min(t.w + 1, s.width - 1)];
    for (int i = t.i; i < t.i_stop; i++)
        for (int j = t.j; j < t.j_stop; j++) {
            wide g = gy[i * s.columns + j] / divisors[i * s.columns + j];
#pragma unroll
            for (int a = 0; a < TILE_H; a++)
                if (first[a] <= i && i < stop[a]) {
                    if (j < left_stop) sums[a][0] += g;
                    if (j >= right_first) sums[a][1] += g;
                }
        }
    store_tile(gx, t, s, sums);
}

// The same for windows of 2 x 2 pixels side by side, of which each pixel has one: a thread writes two rows of LANES pixels.
extern "C" __global__ void spread_squares(long long items, const real *__restrict__ gy, const wide *__restrict__ divisors,
                                          real *__restrict__ gx, Sizes s) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, (s.height + 1) / 2, (s.width + LANES - 1) / LANES);
    const int first = p.j * LANES / 2;  // window, of row i
    gy += p.plane * s.rows * s.columns + p.i * s.columns, divisors += p.i * s.columns;
    gx += (p.plane * s.height + 2 * p.i) * s.width + p.j * LANES;
    Pack<wide> pack;
#pragma unroll
    for (int j = 0; j < LANES / 2; j++) {
        bool exists = p.i < s.rows && first + j < s.columns;  // behind the last window there may be a pixel
        wide g = load_if(exists, gy + first + j), divisor = load_if(exists, divisors + first + j);
        wide share = exists ? g / divisor : wide(0);
        pack.at[2 * j] = pack.at[2 * j + 1] = share;
    }
    for (int a = 0; a < 2 && 2 * p.i + a < s.height; a++, gx += s.width) {
        if (s.width % LANES == 0)  // then every row begins where a pack may: new arrays do
            write(gx, pack);
        else
            for (int k = 0; k < LANES && p.j * LANES + k < s.width; k++) gx[k] = pack.at[k];
    }
}

// The same for windows that are whole planes, of ``pixels``: gx has gy / divisor everywhere, and is written in packs.
extern "C" __global__ void spread_planes(long long items, const real *__restrict__ gy, double divisor, real *__restrict__ gx,
                                         int pixels) {
    long long first = ((long long) blockIdx.x * blockDim.x + threadIdx.x) * LANES;
    if (first >= items) return;
    Place at = place_of(first, 1, pixels);
    wide share = gy[at.plane] / wide(divisor);
    int count = (int) min(items - first, (long long) LANES);
    Pack<real> pack = {};
    for (int k = 0; k < LANES; k++) {
        if (at.j == pixels && k < count) at.j = 0, share = gy[++at.plane] / wide(divisor);
        pack.at[k] = share, at.j++;
    }
    if (count == LANES && aligned(gx))
        store(gx + first, pack);
    else
        for (int k = 0; k < count; k++) gx[first + k] = pack.at[k];
}

// y = the element of its plane at ``winners``.
extern "C" __global__ void take_winners(long long items, const real *__restrict__ x, const long long *__restrict__ winners,
                                        real *__restrict__ y, long long in_plane, int out_plane) {
    long long output = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (output < items) y[output] = x[place_of(output, 1, out_plane).plane * in_plane + winners[output]];
}

// Its adjoint: the winners may come from anywhere, so a thread for each plane goes through all of them. ``sums`` begin as zeros.
extern "C" __global__ void add_anywhere(long long items, const real *__restrict__ gy, const long long *__restrict__ winners,
                                        wide *__restrict__ sums, long long in_plane, long long out_plane) {
    long long plane = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (plane >= items) return;
    for (long long i = plane * in_plane; i < (plane + 1) * in_plane; i++) sums[plane * out_plane + winners[i]] += gy[i];
}
