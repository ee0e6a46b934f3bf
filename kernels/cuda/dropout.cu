// Dropout: a mask of bools from random words (philox.cuh), whether each is below ``keep``, 0 to 2^32; and the linear map at a
// fixed mask, y = x mask scale. Both at once read x and write y and the mask (1 byte) once; the map alone reads x and the mask.
//
// A thread has the eight numbers of two blocks of words.
#include "each.cuh"
#include "philox.cuh"

constexpr int OF_THREAD = 8;

__device__ Pack<bool, OF_THREAD> mask_of(const unsigned *key, const unsigned *counter, long long first, long long keep) {
    Pack<bool, OF_THREAD> mask;
    bool all = keep >> 32;
    unsigned below = (unsigned) keep;
    for (int half = 0; half < 2; half++) {
        Words block = block_of_words(key, counter, first / 4 + half);
        for (int k = 0; k < 4; k++) mask.at[4 * half + k] = all || block.w[k] < below;
    }
    return mask;
}

__device__ long long first_of_thread() { return ((long long) blockIdx.x * blockDim.x + threadIdx.x) * OF_THREAD; }

extern "C" __global__ void dropout_mask(long long items, const unsigned *key, const unsigned *counter, long long keep,
                                        bool *mask) {
    long long first = first_of_thread();
    if (first >= items) return;
    auto pack = mask_of(key, counter, first, keep);
    if (first + OF_THREAD <= items && aligned(mask))
        store(mask + first, pack);
    else
        for (int k = 0; k < OF_THREAD && first + k < items; k++) mask[first + k] = pack.at[k];
}

extern "C" __global__ void dropout(long long items, const unsigned *key, const unsigned *counter, long long keep,
                                   const real *__restrict__ x, double scale, bool *__restrict__ mask, real *__restrict__ y) {
    constexpr int N = LANES < OF_THREAD ? LANES : OF_THREAD, PACKS = OF_THREAD / N;
    long long first = first_of_thread();
    if (first >= items) return;
    wide factor = scale;
    bool whole = first + OF_THREAD <= items && aligned(x, y) && aligned(mask);
    Pack<wide, N> v[PACKS];
    if (whole)
        for (int p = 0; p < PACKS; p++) v[p] = read<N>(x + first + p * N);
    auto kept = mask_of(key, counter, first, keep);
    if (whole) {
        store(mask + first, kept);
        for (int p = 0; p < PACKS; p++) {
            for (int k = 0; k < N; k++) v[p].at[k] *= kept.at[p * N + k] ? factor : wide(0);
            write(y + first + p * N, v[p]);
        }
    } else
        for (int k = 0; k < OF_THREAD && first + k < items; k++) {
            mask[first + k] = kept.at[k];
            y[first + k] = x[first + k] * (kept.at[k] ? factor : wide(0));
        }
}

extern "C" __global__ void apply_mask(long long items, const real *__restrict__ x, const bool *__restrict__ mask,
                                      real *__restrict__ y, double scale) {
    wide factor = scale;
    each(items, y, [=](wide v, bool kept) { return v * (kept ? factor : wide(0)); }, x, mask);
}
