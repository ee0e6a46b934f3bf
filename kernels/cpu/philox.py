"""Philox4x32-10, compiled: words are made in pieces that stay in the first cache, and turned into numbers there."""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.threads import split
from minidl.kernels.half import is_half
from minidl.kernels.portable import philox as portable

PIECE = 2048  # words
M0, M1 = map(np.uint64, portable.MULTIPLIERS)
W0, W1 = map(np.uint32, portable.KEY_STEPS)
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
ROUNDS = portable.ROUNDS


def philox(key, counter, n):
    """As the portable kernel."""
    words = np.empty(-(-n // 4) * 4, np.uint32)
    in_pieces(_words, words.size, key, counter, words)
    return words[:n]


def philox_uniform(key, counter, n, dtype):
    """As the portable kernel, which does half precision."""
    if is_half(dtype):
        return portable.philox_uniform(key, counter, n, dtype)
    numbers = np.empty(n, dtype)
    if dtype == np.float64:
        in_pieces(_uniform64, 2 * n, key, counter, numbers)
    else:
        in_pieces(_uniform32, n, key, counter, numbers)
    return numbers


def in_pieces(function, words, key, counter, *args):
    """Run ``function(start, stop, key, counter, *args)`` over pieces, on all threads if there are many words."""
    split(function, -(-words // PIECE), words, key, counter, *args)


@jit
def fill(words, key, counter, first):
    """Words of blocks ``first``, ``first`` + 1, ... of the stream."""
    start = np.uint64(counter[0]) + (np.uint64(counter[1]) << HALF) + np.uint64(first)
    for block in range(words.size // 4):
        position = start + np.uint64(block)
        c0, c1, c2, c3 = position & LOW, position >> HALF, np.uint64(counter[2]), np.uint64(counter[3])
        k0, k1 = key[0], key[1]
        for _ in range(ROUNDS):
            left, right = c0 * M0, c2 * M1
            c0, c1, c2, c3 = (right >> HALF) ^ c1 ^ k0, right & LOW, (left >> HALF) ^ c3 ^ k1, left & LOW
            k0, k1 = np.uint32(k0 + W0), np.uint32(k1 + W1)
        words[4 * block] = c0
        words[4 * block + 1] = c1
        words[4 * block + 2] = c2
        words[4 * block + 3] = c3


@jit
def _words(start, stop, key, counter, out):
    for piece in range(start, stop):
        fill(out[piece * PIECE : (piece + 1) * PIECE], key, counter, piece * (PIECE // 4))


@jit
def _uniform32(start, stop, key, counter, out):
    words = np.empty(PIECE, np.uint32)
    for piece in range(start, stop):
        fill(words, key, counter, piece * (PIECE // 4))
        part = out[piece * PIECE : (piece + 1) * PIECE]
        for i in range(part.size):
            part[i] = np.float32(words[i] >> 8) * np.float32(2.0**-24)


@jit
def _uniform64(start, stop, key, counter, out):
    words = np.empty(PIECE, np.uint32)
    for piece in range(start, stop):
        fill(words, key, counter, piece * (PIECE // 4))
        part = out[piece * (PIECE // 2) : (piece + 1) * (PIECE // 2)]
        for i in range(part.size):
            part[i] = (np.float64(words[2 * i] >> 5) * 2.0**26 + np.float64(words[2 * i + 1] >> 6)) * 2.0**-53


def philox_normal(key, counter, n, dtype):
    """As the portable kernel, which does half precision."""
    if is_half(dtype):
        return portable.philox_normal(key, counter, n, dtype)
    numbers = np.empty(-(-n // 2) * 2, dtype)
    if dtype == np.float64:
        in_pieces(_normal64, 2 * numbers.size, key, counter, numbers)
    else:
        in_pieces(_normal32, numbers.size, key, counter, numbers)
    return numbers[:n]


@jit
def _normal32(start, stop, key, counter, out):
    words = np.empty(PIECE, np.uint32)
    for piece in range(start, stop):
        fill(words, key, counter, piece * (PIECE // 4))
        part = out[piece * PIECE : (piece + 1) * PIECE]
        for i in range(0, part.size, 2):
            part[i], part[i + 1] = _box_muller(np.int64(words[i]), np.int64(words[i + 1]), 32, 2.0**-32)


@jit
def _normal64(start, stop, key, counter, out):
    words = np.empty(PIECE, np.uint32)
    for piece in range(start, stop):
        fill(words, key, counter, piece * (PIECE // 4))
        part = out[piece * (PIECE // 2) : (piece + 1) * (PIECE // 2)]
        for i in range(0, part.size, 2):
            a = (np.int64(words[2 * i] >> 5) << 26) + np.int64(words[2 * i + 1] >> 6)
            b = (np.int64(words[2 * i + 2] >> 5) << 26) + np.int64(words[2 * i + 3] >> 6)
            part[i], part[i + 1] = _box_muller(a, b, 53, 2.0**-53)


@jit
def _box_muller(a, b, bits, unit):
    r = math.sqrt(-2 * math.log(np.float64(a + 1) * unit))
    quarter_turn = 1 << (bits - 2)
    turn = b + quarter_turn // 2
    quarter = turn >> (bits - 2)
    t = np.float64((turn & (quarter_turn - 1)) - quarter_turn // 2) * (2 * math.pi * unit)
    cos, sin = math.cos(t), math.sin(t)
    if quarter & 1:
        cos, sin = -sin, cos
    if quarter & 2:
        r = -r
    return r * cos, r * sin
