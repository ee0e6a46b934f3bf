// Pooling over rectangular windows of x (planes, height, width) -> y (planes, rows, columns): a thread for each output. Row i of
// windows covers h_starts[i], h_starts[i] + h_step, ... below h_stops[i], all in the image; columns alike.

struct Window {
    long long plane;  // place of the first element of its image
    int h, h_stop, w, w_stop;
};

__device__ Window window_of(long long output, int height, int width, int rows, int columns, const long long *h_starts,
                            const long long *h_stops, const long long *w_starts, const long long *w_stops) {
    int j = output % columns, i = output / columns % rows;
    long long plane = output / columns / rows;
    return {plane * height * width, (int) h_starts[i], (int) h_stops[i], (int) w_starts[j], (int) w_stops[j]};
}

// The maximum and, where ``winners`` is not null, its place h width + w. The first of equal elements wins, and the first NaN.
extern "C" __global__ void max_windows(long long items, const real *x, real *values, long long *winners, int height, int width,
                                       int rows, int columns, const long long *h_starts, const long long *h_stops,
                                       const long long *w_starts, const long long *w_stops, int h_step, int w_step) {
    long long output = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (output >= items) return;
    Window p = window_of(output, height, width, rows, columns, h_starts, h_stops, w_starts, w_stops);
    long long winner = (long long) p.h * width + p.w;
    real best = x[p.plane + winner];
    for (int h = p.h; h < p.h_stop; h += h_step)
        for (int w = p.w; w < p.w_stop; w += w_step) {
            long long place = (long long) h * width + w;
            real value = x[p.plane + place];
            if (value > best || (value != value && best == best)) best = value, winner = place;
        }
    values[output] = best;
    if (winners) winners[output] = winner;
}

// y = the element of its plane at ``winners``.
extern "C" __global__ void take_winners(long long items, const real *x, const long long *winners, real *y, long long in_plane,
                                        long long out_plane) {
    long long output = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (output < items) y[output] = x[output / out_plane * in_plane + winners[output]];
}

// The sum over divisors (rows, columns); an empty window gives 0.
extern "C" __global__ void mean_windows(long long items, const real *x, const real *divisors, real *y, int height, int width,
                                        int rows, int columns, const long long *h_starts, const long long *h_stops,
                                        const long long *w_starts, const long long *w_stops, int h_step, int w_step) {
    long long output = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (output >= items) return;
    Window p = window_of(output, height, width, rows, columns, h_starts, h_stops, w_starts, w_stops);
    real sum = 0;
    for (int h = p.h; h < p.h_stop; h += h_step)
        for (int w = p.w; w < p.w_stop; w += w_step) sum += x[p.plane + (long long) h * width + w];
    y[output] = sum / divisors[output % ((long long) rows * columns)];
}
