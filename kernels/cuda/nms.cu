// Non-maximum suppression of boxes (count, 4) in falling order of score. Formulas: kernels/portable. All pairs are compared at
// once, into a table of bits, and then one block walks down the boxes in order.
#include "place.cuh"

constexpr int BITS = 32;

// Bit b of word w of row i, ``table`` (count, words): box i suppresses box 32 w + b, if that is behind it. Words before the box
// itself are not written. Threads side by side compare with the same 32 boxes.
extern "C" __global__ void compare(long long items, const wide *__restrict__ boxes, double limit,
                                   unsigned *__restrict__ table, int count, int words) {
    long long item = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (item >= items) return;
    Place p = place_of(item, words, count);
    int word = p.i, i = p.j;
    if (word < i / BITS) return;
    const wide *a = boxes + 4ll * i;
    wide area = (a[2] - a[0]) * (a[3] - a[1]);  // where it is NaN, no comparison holds
    unsigned bits = 0;
    for (int j = max(i + 1, word * BITS); j < min(count, (word + 1) * BITS); j++) {
        const wide *b = boxes + 4ll * j;
        wide width = (a[2] < b[2] ? a[2] : b[2]) - (a[0] > b[0] ? a[0] : b[0]);
        wide height = (a[3] < b[3] ? a[3] : b[3]) - (a[1] > b[1] ? a[1] : b[1]);
        if (!(width > 0 && height > 0)) continue;
        wide shared = width * height, both = area + (b[2] - b[0]) * (b[3] - b[1]);
        if (shared > wide(limit) * (both - shared)) bits |= 1u << (j - word * BITS);
    }
    table[(long long) i * words + word] = bits;
}

// One block: what a box suppresses, if it stays, is gone. ``gone`` (words) begins as zeros. A row says nothing of boxes up to its
// own, so that a thread that is ahead changes no bit that others still read.
extern "C" __global__ void settle(long long items, const unsigned *__restrict__ table, unsigned *gone,
                                  bool *__restrict__ stay, int count, int words) {
    for (int i = 0; i < count; i++) {
        bool stays = !(gone[i / BITS] >> (i % BITS) & 1);
        if (threadIdx.x == 0) stay[i] = stays;
        if (!stays) continue;
        for (int w = i / BITS + threadIdx.x; w < words; w += blockDim.x) gone[w] |= table[(long long) i * words + w];
        __syncthreads();
    }
}
