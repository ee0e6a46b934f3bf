// Sampling of regions of interest, y = A x B^T: x (images, channels, height, width) -> y (regions, channels, rows, columns), and
// its adjoint. Formulas: kernels/portable. The weights of all channels are the same, so they are found first, along each axis:
// ``weights`` (regions, bins, size) and between which places each bin has them, ``first`` and ``stop`` (regions, bins).
//
// Each number that is written is gathered by one thread, in the order of the regions: sums come out the same every time.
#include "place.cuh"

struct Sizes {
    int channels, height, width, rows, columns, regions;
};

// A thread for each bin along one axis adds up the shares of its samples. ``weights`` begin as zeros.
extern "C" __global__ void weigh(long long items, const wide *__restrict__ starts, const wide *__restrict__ steps,
                                 const long long *__restrict__ counts, wide *__restrict__ weights, int *__restrict__ first,
                                 int *__restrict__ stop, int bins, int size) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    long long region = item / bins, count = counts[region];
    wide step = steps[region], from = starts[region] + int(item % bins) * step;
    weights += item * size;
    int low = size, high = 0;
    for (long long s = 0; s < count; s++) {
        wide at = from + (s + wide(0.5)) * step / count;
        bool inside = at >= -1 && at <= size;
        at = at < 0 ? wide(0) : at > size - 1 ? wide(size - 1) : at;
        int place = int(at);
        wide share = at - place;
        if (inside) weights[place] += (1 - share) / count;
        if (inside && share > 0) weights[place + 1] += share / count;
        low = min(low, place), high = max(high, min(place + 2, size));
    }
    first[item] = low, stop[item] = high;
}

// A thread for each number of y.
extern "C" __global__ void sample(long long items, const real *__restrict__ x, const long long *__restrict__ images,
                                  const wide *__restrict__ down, const int *__restrict__ top, const int *__restrict__ bottom,
                                  const wide *__restrict__ across, const int *__restrict__ left, const int *__restrict__ right,
                                  Sizes s, real *__restrict__ y) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, s.rows, s.columns);
    long long region = p.plane / s.channels, i = region * s.rows + p.i, j = region * s.columns + p.j;
    x += (images[region] * s.channels + p.plane % s.channels) * s.height * s.width;
    down += i * s.height, across += j * s.width;
    wide sum = 0;
    for (int h = top[i]; h < bottom[i]; h++) {
        if (down[h] == 0) continue;  // what has no weight may be NaN
        wide row = 0;
        for (int w = left[j]; w < right[j]; w++)
            if (across[w] != 0) row += across[w] * x[h * s.width + w];
        sum += down[h] * row;
    }
    y[item] = sum;
}

// Whether any of a region's bins, which follow each other up or down the axis, may hold this place.
__device__ bool may_hold(const int *first, const int *stop, int bins, int place) {
    return place >= min(first[0], first[bins - 1]) && place < max(stop[0], stop[bins - 1]);
}

// A thread for each pixel asks all regions of its image.
extern "C" __global__ void spread(long long items, const real *__restrict__ gy, const long long *__restrict__ images,
                                  const wide *__restrict__ down, const int *__restrict__ top, const int *__restrict__ bottom,
                                  const wide *__restrict__ across, const int *__restrict__ left, const int *__restrict__ right,
                                  Sizes s, real *__restrict__ gx) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, s.height, s.width);
    long long image = p.plane / s.channels, channel = p.plane % s.channels;
    wide sum = 0;
    for (long long k = 0; k < s.regions; k++) {
        if (images[k] != image || !may_hold(top + k * s.rows, bottom + k * s.rows, s.rows, p.i)) continue;
        if (!may_hold(left + k * s.columns, right + k * s.columns, s.columns, p.j)) continue;
        for (long long i = k * s.rows; i < (k + 1) * s.rows; i++) {
            if (p.i < top[i] || p.i >= bottom[i] || down[i * s.height + p.i] == 0) continue;
            const real *g = gy + ((k * s.channels + channel) * s.rows + i - k * s.rows) * s.columns;
            wide row = 0;
            for (long long j = k * s.columns; j < (k + 1) * s.columns; j++)
                if (p.j >= left[j] && p.j < right[j] && across[j * s.width + p.j] != 0)
                    row += across[j * s.width + p.j] * g[j - k * s.columns];
            sum += down[i * s.height + p.i] * row;
        }
    }
    gx[item] = sum;
}
