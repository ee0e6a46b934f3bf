// Random numbers from a counter: Philox4x32-10, the same bits as on the CPU. Formulas and source: kernels/portable.
//
// A thread makes one block of four words, from nothing but its own place in the stream, and of it four float or two double.
#include "philox.cuh"

// Numbers of a block, made of BITS random bits each: integers below 2^BITS.
constexpr bool WIDE = sizeof(real) == 8;
constexpr int NUMBERS = WIDE ? 2 : 4;

__device__ long long integer53(Words block, int i) {
    return ((long long) (block.w[2 * i] >> 5) << 26) + (block.w[2 * i + 1] >> 6);
}

extern "C" __global__ void philox(long long items, const unsigned *key, const unsigned *counter, long long n, unsigned *words) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Words block = block_of_words(key, counter, i);
    for (int j = 0; j < 4 && 4 * i + j < n; j++) words[4 * i + j] = block.w[j];
}

extern "C" __global__ void philox_uniform(long long items, const unsigned *key, const unsigned *counter, long long n, real *u) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Words block = block_of_words(key, counter, i);
    for (int j = 0; j < NUMBERS && NUMBERS * i + j < n; j++)
        u[NUMBERS * i + j] = WIDE ? real(integer53(block, j) * (1.0 / (1ll << 53))) : real((block.w[j] >> 8) * (1.0 / (1 << 24)));
}

// Box and Muller: a pair of integers gives r cos(t) and r sin(t). The angle is taken in quarter turns and a rest near 0.
__device__ void pair_of_normals(long long a, long long b, int bits, real &x, real &y) {
    double r = sqrt(-2 * log((a + 1) * (1.0 / (1ll << bits))));
    long long turn = b + (1ll << (bits - 3)), eighth = 1ll << (bits - 3);
    int quarter = (int) (turn >> (bits - 2)) & 3;
    double t = (turn % (2 * eighth) - eighth) * (3.141592653589793 / (1ll << (bits - 1)));
    if (quarter & 2) r = -r;
    x = real(r * (quarter & 1 ? -sin(t) : cos(t)));
    y = real(r * (quarter & 1 ? cos(t) : sin(t)));
}

extern "C" __global__ void philox_normal(long long items, const unsigned *key, const unsigned *counter, long long n, real *z) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Words block = block_of_words(key, counter, i);
    real normals[4];
    if (WIDE) {
        pair_of_normals(integer53(block, 0), integer53(block, 1), 53, normals[0], normals[1]);
    } else {
        pair_of_normals(block.w[0], block.w[1], 32, normals[0], normals[1]);
        pair_of_normals(block.w[2], block.w[3], 32, normals[2], normals[3]);
    }
    for (int j = 0; j < NUMBERS && NUMBERS * i + j < n; j++) z[NUMBERS * i + j] = normals[j];
}
