"""Philox against the published vectors, against scalar code, and in pieces against itself."""

import numpy as np
import pytest

from minidl.kernels.cpu import philox as cpu
from minidl.kernels.cpu.threads import get_num_threads, set_num_threads
from minidl.kernels.cuda import philox
from minidl.kernels.portable import philox as portable
from tests.kernels.cuda import cuda_runs, on_device

cuda = on_device(philox)
# counter, key, result for "philox4x32 10" in tests/kat_vectors of Random123 (D. E. Shaw Research, version 1.14)
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]
SIZES = [0, 1, 2, 3, 4, 5, 1023, 2047, 2048, 2049, 5003]
KEY = np.array([0xA4093822, 0x299F31D0], np.uint32)
COUNTER = np.array([0xFFFFFFF0, 7, 3, 4], np.uint32)  # the lower word overflows within the first pieces


@pytest.fixture(params=[cpu, portable, pytest.param(cuda, marks=cuda_runs)], ids=["cpu", "portable", "cuda"])
def room(request):
    return request.param


def words(text):
    return np.array([int(word, 16) for word in text.split()], np.uint32)


def block(key, counter):
    """One block, in Python's integers."""
    k0, k1 = map(int, key)
    c0, c1, c2, c3 = map(int, counter)
    for _ in range(10):
        left, right = c0 * 0xD2511F53, c2 * 0xCD9E8D57
        c0, c1, c2, c3 = (right >> 32) ^ c1 ^ k0, right % 2**32, (left >> 32) ^ c3 ^ k1, left % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def stream(key, counter, n):
    """n words, block after block; the lower two words of the counter count."""
    start = int(counter[0]) + (int(counter[1]) << 32)
    found = []
    for position in range(start, start + -(-n // 4)):
        found += block(key, (position % 2**32, position // 2**32 % 2**32, counter[2], counter[3]))
    return found[:n]


@pytest.mark.parametrize("counter, key, expected", KNOWN)
def test_known_answers(room, counter, key, expected):
    assert room.philox(words(key), words(counter), 4).tolist() == words(expected).tolist()


@pytest.mark.parametrize("n", SIZES)
def test_words_are_those_of_scalar_code(room, n):
    found = room.philox(KEY, COUNTER, n)
    assert found.dtype == np.uint32
    assert found.tolist() == stream(KEY, COUNTER, n)


def test_counter_beyond_32_bits(room):
    """Block 2^32 + 5 is reached by carrying, not by wrapping round."""
    before = np.array([0xFFFFFFFE, 0, 0, 0], np.uint32)
    found = room.philox(KEY, before, 32)
    assert found[28:].tolist() == list(block(KEY, (5, 1, 0, 0)))
    wrapped = room.philox(KEY, np.array([5, 0, 0, 0], np.uint32), 4)
    assert found[28:].tolist() != wrapped.tolist()


def test_thread_count_changes_no_bit():
    n, before = 300_007, get_num_threads()
    try:
        results = []
        for threads in (1, 3):
            set_num_threads(threads)
            results.append([cpu.philox(KEY, COUNTER, n), cpu.philox_uniform(KEY, COUNTER, n, np.dtype(np.float32)),
                            cpu.philox_uniform(KEY, COUNTER, n, np.dtype(np.float64)),
                            cpu.philox_normal(KEY, COUNTER, n, np.dtype(np.float32))])
    finally:
        set_num_threads(before)
    for one, three in zip(*results, strict=True):
        np.testing.assert_array_equal(one, three)
    np.testing.assert_array_equal(results[0][0], portable.philox(KEY, COUNTER, n))


@pytest.mark.parametrize("n", SIZES)
def test_uniform_takes_the_highest_bits(room, n):
    single = [word // 2**8 / 2**24 for word in stream(KEY, COUNTER, n)]
    found = room.philox_uniform(KEY, COUNTER, n, np.dtype(np.float32))
    assert found.dtype == np.float32 and found.tolist() == single
    pairs = np.array(stream(KEY, COUNTER, 2 * n), object).reshape(-1, 2)
    double = [(high // 2**5 * 2**26 + low // 2**6) / 2**53 for high, low in pairs]
    found = room.philox_uniform(KEY, COUNTER, n, np.dtype(np.float64))
    assert found.dtype == np.float64 and found.tolist() == double


def test_uniform_half_precision(room):
    found = room.philox_uniform(KEY, COUNTER, 1001, np.dtype(np.float16))
    assert found.dtype == np.float16
    assert found.tolist() == [word // 2**21 / 2**11 for word in stream(KEY, COUNTER, 1001)]


def box_muller(n, dtype):
    """In extended precision (64 bits of mantissa where the platform has them)."""
    if dtype == np.float64:
        bits, integers = 53, [(high // 2**5 * 2**26 + low // 2**6) for high, low in
                              np.array(stream(KEY, COUNTER, 2 * n + 2), object).reshape(-1, 2)]
    else:
        bits, integers = 32, stream(KEY, COUNTER, n + 1)
    pi = np.longdouble("3.14159265358979323846264338327950288")
    found = []
    for a, b in zip(integers[0 : n + 1 : 2], integers[1 : n + 2 : 2], strict=False):
        r = np.sqrt(-2 * np.log(np.longdouble(a + 1) / 2**bits))
        # sine and cosine of an angle in the first eighth of a turn, where their arguments are small
        eighth, rest = divmod(8 * b, 2**bits)
        t = (np.longdouble(rest if eighth % 2 == 0 else 2**bits - rest) / 2**bits) * pi / 4
        c, s = (np.cos(t), np.sin(t)) if eighth in (0, 3, 4, 7) else (np.sin(t), np.cos(t))
        found += [r * (c if eighth in (0, 1, 6, 7) else -c), r * (s if eighth < 4 else -s)]
    return np.array(found[:n], np.longdouble)


@pytest.mark.parametrize("n", [1, 2, 3, 2049, 6001])
@pytest.mark.parametrize("dtype, bound", [(np.float32, 0.51), (np.float64, 3)])
def test_normal_is_box_muller(room, dtype, bound, n):
    """float32 is rounded once, from float64; float64 adds up the roundings of logarithm, angle, cosine and product."""
    found, expected = room.philox_normal(KEY, COUNTER, n, np.dtype(dtype)), box_muller(n, dtype)
    assert found.dtype == dtype and found.shape == (n,)
    ulp = np.spacing(np.abs(expected).astype(dtype)).astype(np.longdouble)
    assert (np.abs(found - expected) / ulp).max() <= bound


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rooms_agree_on_normals_within_2_ulp(dtype):
    a, b = (room.philox_normal(KEY, COUNTER, 50_001, np.dtype(dtype)) for room in (cpu, portable))
    assert (np.abs(a - b) <= 2 * np.spacing(np.abs(b))).all()


def test_normal_half_precision(room):
    single = room.philox_normal(KEY, COUNTER, 99, np.dtype(np.float32))
    found = room.philox_normal(KEY, COUNTER, 99, np.dtype(np.float16))
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, single, rtol=2**-10, atol=1e-7)


def test_extreme_words(monkeypatch):
    """The largest radius, the smallest, and angles at the quarter turns, from words put in place of the stream."""
    ones = 0xFFFFFFFF
    chosen = np.array([0, 0, ones, 0, 0, 2**30, 0, 2**31, 0, 3 * 2**30, 7, ones], np.uint32)
    monkeypatch.setattr(portable, "philox", lambda key, counter, n: chosen[:n])
    found = portable.philox_normal(KEY, COUNTER, len(chosen), np.dtype(np.float32))
    top = np.float32(np.sqrt(64 * np.log(2)))
    np.testing.assert_array_equal(found[:10], [top, 0, 0, 0, 0, top, -top, 0, 0, -top])
    assert np.isfinite(found).all()


def test_arguments_stay_untouched(room):
    key, counter = KEY.copy(), COUNTER.copy()
    room.philox_normal(key, counter, 100, np.dtype(np.float32))
    assert key.tolist() == KEY.tolist() and counter.tolist() == COUNTER.tolist()
