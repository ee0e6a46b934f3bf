// Optimizer updates of many parameters in one launch.
//
// A block changes up to CHUNK numbers of one parameter. Which one, it finds in a table on the device, which has a row for each:
// the block that begins it, how many numbers it has, and where it, its gradient and its states are; a state that an option does
// without is a null pointer. Options are read from the device too: a launch that is recorded and replayed goes on reading
// them, so that it follows a learning rate; and so is ``found_inf``, which may forbid any change. States of numbers of 16 bits
// have 32.
// Formulas and sources: kernels/portable.

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

// The direction to descend in: g, or -g with ``maximize``, and the weight decay.
__device__ wide descent(wide p, wide g, wide weight_decay, bool maximize) { return (maximize ? -g : g) + weight_decay * p; }

extern "C" __global__ void sgd_update(long long items, const long long *table, int parameters, const double *options,
                                      const float *found_inf) {
    if (found_inf && *found_inf) return;
    wide lr = options[0], momentum = options[1], fresh = options[2], weight_decay = options[3];
    bool nesterov = options[4], maximize = options[5], first = options[6];
    auto [first_block, size, p, g, states] = my_part(table, parameters);
    wide *buffer = states[0];
    for (long long i = threadIdx.x; i < size; i += blockDim.x) {
        wide change = descent(p[i], g[i], weight_decay, maximize);
        if (buffer) {
            wide moved = first ? change : momentum * buffer[i] + fresh * change;
            buffer[i] = moved;
            change = nesterov ? change + momentum * moved : moved;
        }
        p[i] = p[i] - lr * change;
    }
}

extern "C" __global__ void adam_update(long long items, const long long *table, int parameters, const double *options,
                                       const float *found_inf) {
    if (found_inf && *found_inf) return;
    wide step_size = options[0], fresh_mean = options[1], beta2 = options[2], fresh_square = options[3];
    wide correction = options[4], eps = options[5], weight_decay = options[6], shrink = options[7];
    bool maximize = options[8];
    auto [first_block, size, p, g, states] = my_part(table, parameters);
    wide *mean = states[0], *square = states[1], *largest = states[2];
    for (long long i = threadIdx.x; i < size; i += blockDim.x) {
        wide value = shrink * p[i], change = descent(p[i], g[i], weight_decay, maximize);
        wide m = mean[i] + fresh_mean * (change - mean[i]);
        wide used = beta2 * square[i] + fresh_square * change * change;
        mean[i] = m, square[i] = used;
        if (largest) used = largest[i] = largest[i] >= used || largest[i] != largest[i] ? largest[i] : used;
        p[i] = value - step_size * m / (sqrt(used) / correction + eps);
    }
}

extern "C" __global__ void rmsprop_update(long long items, const long long *table, int parameters, const double *options,
                                          const float *found_inf) {
    if (found_inf && *found_inf) return;
    wide lr = options[0], alpha = options[1], fresh = options[2], eps = options[3], weight_decay = options[4];
    wide momentum = options[5];
    bool maximize = options[6];
    auto [first_block, size, p, g, states] = my_part(table, parameters);
    wide *square = states[0], *mean = states[1], *buffer = states[2];
    for (long long i = threadIdx.x; i < size; i += blockDim.x) {
        wide change = descent(p[i], g[i], weight_decay, maximize);
        wide variance = square[i] = alpha * square[i] + fresh * change * change;
        if (mean) {
            wide m = mean[i] += fresh * (change - mean[i]);
            variance -= m * m;
        }
        change /= sqrt(variance) + eps;
        if (buffer) change = buffer[i] = momentum * buffer[i] + change;
        p[i] = p[i] - lr * change;
    }
}

extern "C" __global__ void adadelta_update(long long items, const long long *table, int parameters, const double *options,
                                           const float *found_inf) {
    if (found_inf && *found_inf) return;
    wide lr = options[0], rho = options[1], fresh = options[2], eps = options[3], weight_decay = options[4];
    bool maximize = options[5];
    auto [first_block, size, p, g, states] = my_part(table, parameters);
    wide *square = states[0], *delta = states[1];
    for (long long i = threadIdx.x; i < size; i += blockDim.x) {
        wide change = descent(p[i], g[i], weight_decay, maximize);
        wide moved = square[i] = rho * square[i] + fresh * change * change;
        change *= sqrt(delta[i] + eps) / sqrt(moved + eps);
        delta[i] = rho * delta[i] + fresh * change * change;
        p[i] = p[i] - lr * change;
    }
}
