"""Random numbers from a counter: Philox4x32-10.

A block of four words is a bijection of a 128-bit counter, scrambled by a 64-bit key. It needs no block before it: any
part of a stream can be computed anywhere, in any order, with the same bits.

Source: Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.3 and table 2.

All kernels take ``key`` (uint32 array of 2 words) and the ``counter`` of the first block (uint32 array of 4 words, the
lowest first). Blocks count up in the lower two words, modulo 2^64; the upper two name the stream.
"""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.recording import number

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
KEY_STEPS = 0x9E3779B9, 0xBB67AE85  # from the golden ratio and the square root of 3
LOW = 0xFFFFFFFF


def philox(key, counter, n):
    """The first ``n`` words of the stream, uint32 (n,); block i gives words 4i to 4i + 3."""
    xp = namespace(key)
    key, counter = key.astype(np.uint64), counter.astype(np.uint64)
    blocks = counter[0] + (counter[1] << 32) + xp.arange(-(-n // 4), dtype=np.uint64)
    c0, c1, c2, c3 = blocks & LOW, blocks >> 32, counter[2], counter[3]
    k0, k1 = key[:1], key[1:]
    for _ in range(ROUNDS):
        left, right = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right & LOW, (left >> 32) ^ c3 ^ k1, left & LOW
        k0, k1 = (k0 + KEY_STEPS[0]) & LOW, (k1 + KEY_STEPS[1]) & LOW
    return xp.stack((c0, c1, c2, c3), axis=1).astype(np.uint32).reshape(-1)[:n]


def philox_uniform(key, counter, n, dtype):
    """``n`` numbers uniform on [0, 1), multiples of 2^-53 (float64, 2 words each), 2^-24 (float32), 2^-11 (float16)
    or 2^-8 (bfloat16), made of the highest bits of each word.
    """
    if dtype == np.float64:
        words = philox(key, counter, 2 * n).astype(np.uint64)
        return ((words[0::2] >> 5 << 26) + (words[1::2] >> 6)).astype(dtype) * 2.0**-53
    bits = 24 if dtype == np.float32 else 11 if dtype == np.float16 else 8
    return (philox(key, counter, n) >> (32 - bits)).astype(dtype) * number(2.0**-bits, dtype, key)


def philox_normal(key, counter, n, dtype):
    """``n`` numbers from the standard normal distribution. Two integers a and b of ``bits`` bits give two of them,
    r cos(t) and r sin(t) with r = sqrt(-2 log((a + 1) / 2^bits)) and t = 2 pi b / 2^bits.

    float32 and half precision take words of 32 bits and are computed in float64; float64 takes 53 bits, as ``philox_uniform``.
    The largest magnitude is sqrt(2 bits log 2): 6.7, or 8.6 in float64. Rooms agree within 2 ulp.

    Source: Box and Muller, "A note on the generation of random normal deviates" (1958).
    """
    xp = namespace(key)
    pairs = -(-n // 2)
    if dtype == np.float64:
        bits, integers = 53, (philox_uniform(key, counter, 2 * pairs, dtype) * 2.0**53).astype(np.int64)
    else:
        bits, integers = 32, philox(key, counter, 2 * pairs).astype(np.int64)
    a, b = integers[0::2], integers[1::2]
    r = xp.sqrt(-2 * xp.log((a + 1) * 2.0**-bits))
    # b in quarter turns, rounded to the nearest, and the rest: exact, so that sines near 0 keep all their digits.
    turn = b + (1 << (bits - 3))
    quarter = turn >> (bits - 2) & 3
    t = (turn % (1 << (bits - 2)) - (1 << (bits - 3))) * (np.pi * 2.0 ** (1 - bits))
    cos, sin = xp.cos(t), xp.sin(t)
    x, y = xp.where(quarter & 1, -sin, cos), xp.where(quarter & 1, cos, sin)
    r = xp.where(quarter & 2, -r, r)
    return xp.stack((r * x, r * y), axis=1).astype(dtype).reshape(-1)[:n]
