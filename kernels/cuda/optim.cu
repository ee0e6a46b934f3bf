// Optimizer updates of many parameters in one launch.
//
// A block changes up to CHUNK numbers of one parameter. Which one, it finds in a table on the device, which has a row for each:
// the block that begins it, how many numbers it has, and where it, its gradient and its states are; a state that an option does
// without is a null pointer. Options are read from the device too: a launch that is recorded and replayed goes on reading
// them, so that it follows a learning rate; and so is ``found_inf``, which may forbid any change. States of numbers of 16 bits
// have 32.
// Formulas and sources: kernels/portable.
//
// Each array is read and written once, in packs of what are 16 bytes of a parameter, or one by one where an array is not aligned.
#include "pack.cuh"

constexpr long long CHUNK = 4096;

struct Parameter {
    long long first_block, size;
    real *p;
    const real *g;
    wide *states[3];
};

// What this block changes: its part of a parameter, and of what belongs to it.
__device__ Parameter my_part(const long long *table, int parameters) {
    const Parameter *all = (const Parameter *) table;
    int low = 0, high = parameters - 1;  // the last parameter that begins at this block or before it
    while (low < high) {
        int middle = (low + high + 1) / 2;
        if (all[middle].first_block <= blockIdx.x) low = middle;
        else high = middle - 1;
    }
    Parameter part = all[low];
    long long start = (blockIdx.x - part.first_block) * CHUNK;
    part.size = min(part.size - start, CHUNK);
    part.p += start, part.g += start;
    for (int s = 0; s < 3; s++)
        if (part.states[s]) part.states[s] += start;
    return part;
}

// f(p, g, states...), which changes p and the states, for TIMES packs of N neighbours, a block of packs apart, from number ``i``
// on. All are read before the first is written: for all that the compiler knows, a parameter could be another's gradient. Of the
// states up to STATES are there; one that is not is 0.
template <int N, int TIMES, int STATES, class F> __device__ void change(const Parameter &part, long long i, F f) {
    const int step = blockDim.x * N;
    Pack<wide, N> p[TIMES], g[TIMES], states[3][TIMES] = {};
#pragma unroll
    for (int t = 0; t < TIMES; t++) {
        p[t] = read<N>(part.p + i + t * step), g[t] = read<N>(part.g + i + t * step);
        for (int s = 0; s < STATES; s++)
            if (part.states[s]) states[s][t] = load<N>(part.states[s] + i + t * step);
    }
#pragma unroll
    for (int t = 0; t < TIMES; t++) {
        for (int k = 0; k < N; k++) f(p[t].at[k], g[t].at[k], states[0][t].at[k], states[1][t].at[k], states[2][t].at[k]);
        write(part.p + i + t * step, p[t]);
        for (int s = 0; s < STATES; s++)
            if (part.states[s]) store(part.states[s] + i + t * step, states[s][t]);
    }
}

template <int STATES, class F> __device__ void change_all(const Parameter &part, F f) {
    int packs = aligned(part.p, part.g, part.states[0], part.states[1], part.states[2]) ? (int) part.size / LANES : 0;
    int i = threadIdx.x, step = blockDim.x;
    for (; i + step < packs; i += 2 * step) change<LANES, 2, STATES>(part, i * LANES, f);
    if (i < packs) change<LANES, 1, STATES>(part, i * LANES, f);
    for (i = packs * LANES + threadIdx.x; i < part.size; i += step) change<1, 1, STATES>(part, i, f);
}

// The direction to descend in: g, or -g with ``maximize``, and the weight decay.
__device__ wide descent(wide p, wide g, wide weight_decay, bool maximize) { return (maximize ? -g : g) + weight_decay * p; }

extern "C" __global__ void sgd_update(long long items, const long long *table, int parameters, const double *options,
                                      const float *found_inf) {
    wide lr = options[0], momentum = options[1], fresh = options[2], weight_decay = options[3];
    bool nesterov = options[4], maximize = options[5], first = options[6];
    Parameter part = my_part(table, parameters);
    if (found_inf && *found_inf) return;
    bool has_buffer = part.states[0];
    change_all<1>(part, [=](wide &p, wide g, wide &buffer, wide, wide) {
        wide change = descent(p, g, weight_decay, maximize);
        if (has_buffer) {
            buffer = first ? change : momentum * buffer + fresh * change;
            change = nesterov ? change + momentum * buffer : buffer;
        }
        p = p - lr * change;
    });
}

extern "C" __global__ void adam_update(long long items, const long long *table, int parameters, const double *options,
                                       const float *found_inf) {
    wide step_size = options[0], fresh_mean = options[1], beta2 = options[2], fresh_square = options[3];
    wide correction = options[4], eps = options[5], weight_decay = options[6], shrink = options[7];
    bool maximize = options[8];
    Parameter part = my_part(table, parameters);
    if (found_inf && *found_inf) return;
    bool has_largest = part.states[2];
    change_all<3>(part, [=](wide &p, wide g, wide &mean, wide &square, wide &largest) {
        wide value = shrink * p, change = descent(p, g, weight_decay, maximize);
        mean = mean + fresh_mean * (change - mean);
        square = beta2 * square + fresh_square * change * change;
        largest = largest >= square || largest != largest ? largest : square;
        p = value - step_size * mean / (sqrt(has_largest ? largest : square) / correction + eps);
    });
}

extern "C" __global__ void rmsprop_update(long long items, const long long *table, int parameters, const double *options,
                                          const float *found_inf) {
    wide lr = options[0], alpha = options[1], fresh = options[2], eps = options[3], weight_decay = options[4];
    wide momentum = options[5];
    bool maximize = options[6];
    Parameter part = my_part(table, parameters);
    if (found_inf && *found_inf) return;
    bool has_mean = part.states[1], has_buffer = part.states[2];
    change_all<3>(part, [=](wide &p, wide g, wide &square, wide &mean, wide &buffer) {
        wide change = descent(p, g, weight_decay, maximize);
        wide variance = square = alpha * square + fresh * change * change;
        if (has_mean) {
            mean += fresh * (change - mean);
            variance -= mean * mean;
        }
        change /= sqrt(variance) + eps;
        if (has_buffer) change = buffer = momentum * buffer + change;
        p = p - lr * change;
    });
}

extern "C" __global__ void adadelta_update(long long items, const long long *table, int parameters, const double *options,
                                           const float *found_inf) {
    wide lr = options[0], rho = options[1], fresh = options[2], eps = options[3], weight_decay = options[4];
    bool maximize = options[5];
    Parameter part = my_part(table, parameters);
    if (found_inf && *found_inf) return;
    change_all<2>(part, [=](wide &p, wide g, wide &square, wide &delta, wide) {
        wide change = descent(p, g, weight_decay, maximize);
        square = rho * square + fresh * change * change;
        change *= sqrt(delta + eps) / sqrt(square + eps);
        delta = rho * delta + fresh * change * change;
        p = p - lr * change;
    });
}

// g = g / scale; ``found`` becomes 1 where a g is infinite or no number.
extern "C" __global__ void unscale_update(long long items, const long long *table, int parameters, const float *scale,
                                          float *found) {
    Parameter part = my_part(table, parameters);
    wide divisor = *scale;
    bool infinite = false;
    change_all<0>(part, [=, &infinite](wide &p, wide, wide, wide, wide) {
        infinite |= !(p - p == 0);
        p = p / divisor;
    });
    if (infinite) *found = 1;  // whoever writes, writes the same
}
