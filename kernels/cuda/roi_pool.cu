// Pooling of regions of interest into bins of whole pixels: x (images, channels, height, width) -> y (regions, channels, rows,
// columns), and the adjoints. Formulas: kernels/portable. Bin i of region k covers rows top[k, i] up to, not including, bottom[k,
// i]; its columns alike.
//
// Each number that is written is gathered by one thread, in the order of the regions: sums come out the same every time.
#include "place.cuh"

struct Sizes {
    int channels, height, width;  // of x
    int rows, columns, regions;
};

// Where the bins of all regions lie.
struct Bins {
    const long long *top, *bottom, *left, *right;
};

// Bin (p.i, p.j) of a region: which rows and columns it covers.
struct Window {
    long long top, bottom, left, right;
    __device__ long long pixels() const { return max(bottom - top, 0ll) * max(right - left, 0ll); }
};

__device__ Window window_of(const Bins &b, const Sizes &s, long long region, int i, int j) {
    long long row = region * s.rows + i, column = region * s.columns + j;
    return {b.top[row], b.bottom[row], b.left[column], b.right[column]};
}

// The maximum of each bin and its place, h width + w; 0 and -1 of an empty one. The first of equal elements wins, and the first NaN.
extern "C" __global__ void roi_pool(long long items, const real *__restrict__ x, const long long *__restrict__ images,
                                    const long long *top, const long long *bottom, const long long *left,
                                    const long long *right, Sizes s, real *__restrict__ values,
                                    long long *__restrict__ winners) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, s.rows, s.columns);
    long long region = p.plane / s.channels, winner = -1;
    Window window = window_of({top, bottom, left, right}, s, region, p.i, p.j);
    x += (images[region] * s.channels + p.plane % s.channels) * s.height * s.width;
    wide best = 0;
    for (long long h = window.top; h < window.bottom; h++)
        for (long long w = window.left; w < window.right; w++) {
            wide value = x[h * s.width + w];
            if (winner < 0 || (!(value <= best) && best == best)) best = value, winner = h * s.width + w;
        }
    values[item] = best, winners[item] = winner;
}

// y = the element of its plane at ``winners``, 0 for -1.
extern "C" __global__ void take_roi_winners(long long items, const real *__restrict__ x, const long long *__restrict__ images,
                                            const long long *__restrict__ winners, Sizes s, real *__restrict__ y) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, s.rows, s.columns);
    long long plane = images[p.plane / s.channels] * s.channels + p.plane % s.channels;
    y[item] = winners[item] < 0 ? real(wide(0)) : x[plane * s.height * s.width + winners[item]];
}

// Its adjoint: a thread for each pixel asks the bins that hold it of all regions of its image whether it is the winner.
extern "C" __global__ void add_roi_winners(long long items, const real *__restrict__ gy, const long long *__restrict__ images,
                                           const long long *__restrict__ winners, const long long *top, const long long *bottom,
                                           const long long *left, const long long *right, Sizes s, real *__restrict__ gx) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, s.height, s.width);
    long long image = p.plane / s.channels, channel = p.plane % s.channels, place = (long long) p.i * s.width + p.j;
    wide sum = 0;
    for (long long k = 0; k < s.regions; k++) {
        long long above = k * s.rows, beside = k * s.columns;  // its first bins
        if (images[k] != image || p.i < top[above] || p.i >= bottom[above + s.rows - 1]) continue;
        if (p.j < left[beside] || p.j >= right[beside + s.columns - 1]) continue;
        for (int i = 0; i < s.rows; i++) {
            if (p.i < top[above + i] || p.i >= bottom[above + i]) continue;
            long long bins = ((k * s.channels + channel) * s.rows + i) * s.columns;
            for (int j = 0; j < s.columns; j++)
                if (winners[bins + j] == place) sum += gy[bins + j];
        }
    }
    gx[item] = sum;
}

// The mean of each bin (i, j), from the channel of its own: (c rows + i) columns + j of x for c of y.
extern "C" __global__ void ps_roi_pool(long long items, const real *__restrict__ x, const long long *__restrict__ images,
                                       const long long *top, const long long *bottom, const long long *left,
                                       const long long *right, Sizes s, real *__restrict__ y) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, s.rows, s.columns);
    int bins = s.rows * s.columns, groups = s.channels / bins;
    long long region = p.plane / groups, channel = p.plane % groups * bins + p.i * s.columns + p.j;
    Window window = window_of({top, bottom, left, right}, s, region, p.i, p.j);
    x += (images[region] * s.channels + channel) * s.height * s.width;
    wide sum = 0;
    for (long long h = window.top; h < window.bottom; h++)
        for (long long w = window.left; w < window.right; w++) sum += x[h * s.width + w];
    y[item] = sum / max(window.pixels(), 1ll);
}

// Its adjoint: a thread for each pixel asks the one bin of each region of its image that its channel belongs to.
extern "C" __global__ void ps_roi_pool_adjoint(long long items, const real *__restrict__ gy,
                                               const long long *__restrict__ images, const long long *top,
                                               const long long *bottom, const long long *left, const long long *right, Sizes s,
                                               real *__restrict__ gx) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, s.height, s.width);
    int bins = s.rows * s.columns, groups = s.channels / bins, channel = int(p.plane % s.channels), bin = channel % bins;
    wide sum = 0;
    for (long long k = 0; k < s.regions; k++) {
        if (images[k] != p.plane / s.channels) continue;
        Window window = window_of({top, bottom, left, right}, s, k, bin / s.columns, bin % s.columns);
        if (window.top <= p.i && p.i < window.bottom && window.left <= p.j && p.j < window.right)
            sum += gy[(k * groups + channel / bins) * bins + bin] / wide(window.pixels());
    }
    gx[item] = sum;
}
