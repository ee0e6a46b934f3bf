// Random numbers from a counter: Philox4x32-10, the same bits as on the CPU. Formulas and source: kernels/portable.
//
// A thread makes one block of four words, from nothing but its own place in the stream, and of it four float or two double.

__device__ unsigned high(unsigned a, unsigned b) { return (unsigned) ((unsigned long long) a * b >> 32); }

struct Words { unsigned w[4]; };

__device__ Words block_of_words(const unsigned *key, const unsigned *counter, long long i) {
    unsigned long long position = ((unsigned long long) counter[1] << 32 | counter[0]) + i;
    unsigned c0 = (unsigned) position, c1 = (unsigned) (position >> 32), c2 = counter[2], c3 = counter[3];
    unsigned k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        unsigned left = high(0xD2511F53, c0), right = high(0xCD9E8D57, c2);
        unsigned low = 0xD2511F53 * c0;
        c0 = right ^ c1 ^ k0, c1 = 0xCD9E8D57 * c2, c2 = left ^ c3 ^ k1, c3 = low;
        k0 += 0x9E3779B9, k1 += 0xBB67AE85;
    }
    return {{c0, c1, c2, c3}};
}

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

// Dropout's mask: whether a word is below ``keep``, 0 to 2^32.
extern "C" __global__ void dropout_mask(long long items, const unsigned *key, const unsigned *counter, long long n,
                                        long long keep, bool *mask) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    Words block = block_of_words(key, counter, i);
    for (int j = 0; j < 4 && 4 * i + j < n; j++) mask[4 * i + j] = block.w[j] < keep;
}
