// Pooling over rectangular windows of x (planes, height, width) -> y (planes, rows, columns), and its adjoints. Formulas:
// kernels/portable. A thread for each number that is written, which gathers what it needs: nothing is added in memory, so sums
// come out the same every time. Where windows overlap, numbers are read again, from the cache.
//
// ``h_windows`` (2, rows): window i covers rows h_windows[0][i], then every h_step, below h_windows[1][i], all in the image.
// ``h_covers`` (2, height): row h lies in no windows but h_covers[0][h] up to, not including, h_covers[1][h]. Columns alike.
#include "place.cuh"

struct Window {
    int h, h_stop, h_step, w, w_stop, w_step;
    __device__ bool is_square(int size) const { return h_step * w_step == 1 && h_stop - h == size && w_stop - w == size; }
};

template <int SIZE, class F> __device__ void over_square(Window p, int width, F f) {
#pragma unroll
    for (int a = 0; a < SIZE; a++)
#pragma unroll
        for (int b = 0; b < SIZE; b++) f((p.h + a) * width + p.w + b);
}

// f(place in the plane) for each position of a window, row by row; the usual ones without branches, which loads wait at.
template <class F> __device__ void over(Window p, int width, F f) {
    if (p.is_square(2))
        over_square<2>(p, width, f);
    else if (p.is_square(3))
        over_square<3>(p, width, f);
    else
        for (int h = p.h; h < p.h_stop; h += p.h_step)
            for (int w = p.w; w < p.w_stop; w += p.w_step) f(h * width + w);
}

// The maximum and, where ``winners`` is not null, its place h width + w. The first of equal elements wins, and the first NaN.
extern "C" __global__ void max_windows(long long items, const real *__restrict__ x, real *__restrict__ values,
                                       long long *__restrict__ winners, int height, int width, int rows, int columns,
                                       const int *__restrict__ h_windows, const int *__restrict__ w_windows, int h_step,
                                       int w_step) {
    long long output = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (output >= items) return;
    Place p = place_of(output, rows, columns);
    Window window = {h_windows[p.i], h_windows[rows + p.i], h_step, w_windows[p.j], w_windows[columns + p.j], w_step};
    const real *plane = x + p.plane * height * width;
    int winner = window.h * width + window.w;
    wide best = plane[winner];
    over(window, width, [&](int place) {
        wide value = plane[place];
        if (value > best || (value != value && best == best)) best = value, winner = place;
    });
    values[output] = best;
    if (winners) winners[output] = winner;
}

// y = the element of its plane at ``winners``.
extern "C" __global__ void take_winners(long long items, const real *__restrict__ x, const long long *__restrict__ winners,
                                        real *__restrict__ y, long long in_plane, int out_plane) {
    long long output = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (output < items) y[output] = x[place_of(output, 1, out_plane).plane * in_plane + winners[output]];
}

// Its adjoint, for winners of windows: the sum of gy over those that place (h, w) has won.
extern "C" __global__ void add_winners(long long items, const real *__restrict__ gy, const long long *__restrict__ winners,
                                       real *__restrict__ gx, int height, int width, int rows, int columns,
                                       const int *__restrict__ h_covers, const int *__restrict__ w_covers) {
    long long pixel = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= items) return;
    Place p = place_of(pixel, height, width);
    long long plane = p.plane * rows * columns;
    wide sum = 0;
    for (int i = h_covers[p.i]; i < h_covers[height + p.i]; i++)
        for (int j = w_covers[p.j]; j < w_covers[width + p.j]; j++) {
            long long window = plane + i * columns + j;
            if (winners[window] == p.i * width + p.j) sum += gy[window];
        }
    gx[pixel] = sum;
}

// The same for winners from anywhere: a thread for each plane goes through all of them. ``sums`` begin as zeros.
extern "C" __global__ void add_anywhere(long long items, const real *__restrict__ gy, const long long *__restrict__ winners,
                                        wide *__restrict__ sums, long long in_plane, long long out_plane) {
    long long plane = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (plane >= items) return;
    for (long long i = plane * in_plane; i < (plane + 1) * in_plane; i++) sums[plane * out_plane + winners[i]] += gy[i];
}

// The sum over divisors (rows, columns); an empty window gives 0.
extern "C" __global__ void mean_windows(long long items, const real *__restrict__ x, const wide *__restrict__ divisors,
                                        real *__restrict__ y, int height, int width, int rows, int columns,
                                        const int *__restrict__ h_windows, const int *__restrict__ w_windows, int h_step,
                                        int w_step) {
    long long output = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (output >= items) return;
    Place p = place_of(output, rows, columns);
    Window window = {h_windows[p.i], h_windows[rows + p.i], h_step, w_windows[p.j], w_windows[columns + p.j], w_step};
    const real *plane = x + p.plane * height * width;
    wide sum = 0;
    over(window, width, [&](int place) { sum += plane[place]; });
    y[output] = sum / divisors[p.i * columns + p.j];
}

// Its adjoint: the sum of gy / divisor over the windows that hold place (h, w), all that cover it as the step is 1.
extern "C" __global__ void spread_windows(long long items, const real *__restrict__ gy, const wide *__restrict__ divisors,
                                          real *__restrict__ gx, int height, int width, int rows, int columns,
                                          const int *__restrict__ h_covers, const int *__restrict__ w_covers) {
    long long pixel = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (pixel >= items) return;
    Place p = place_of(pixel, height, width);
    const real *plane = gy + p.plane * rows * columns;
    wide sum = 0;
    for (int i = h_covers[p.i]; i < h_covers[height + p.i]; i++)
        for (int j = w_covers[p.j]; j < w_covers[width + p.j]; j++)
            sum += plane[i * columns + j] / divisors[i * columns + j];
    gx[pixel] = sum;
}
