// Philox4x32-10: the block of four random words at a place in a stream. Formulas and source: kernels/portable.
#pragma once

struct Words { unsigned w[4]; };

__device__ Words block_of_words(const unsigned *key, const unsigned *counter, long long i) {
    unsigned long long position = ((unsigned long long) counter[1] << 32 | counter[0]) + i;
    unsigned c0 = (unsigned) position, c1 = (unsigned) (position >> 32), c2 = counter[2], c3 = counter[3];
    unsigned k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        unsigned long long left = 0xD2511F53ull * c0, right = 0xCD9E8D57ull * c2;  // one instruction each, for both halves
        c0 = (unsigned) (right >> 32) ^ c1 ^ k0, c1 = (unsigned) right;
        c2 = (unsigned) (left >> 32) ^ c3 ^ k1, c3 = (unsigned) left;
        k0 += 0x9E3779B9, k1 += 0xBB67AE85;
    }
    return {{c0, c1, c2, c3}};
}
