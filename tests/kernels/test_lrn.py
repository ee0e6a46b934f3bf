"""Local response normalisation against loops over channels in Python's floats."""

import math

import numpy as np
import pytest

from minidl.kernels.cpu import lrn as cpu
from minidl.kernels.cuda import lrn
from minidl.kernels.portable import lrn as portable
from tests.kernels.cuda import bfloat16, on_device, with_cuda

cuda = on_device(lrn)
TOLERANCE = {np.float16: 2e-3, bfloat16: 1.6e-2, np.float32: 2e-6, np.float64: 1e-14}
ROOMS = [(cpu, np.float32), (cpu, np.float64), (portable, np.float16), (portable, np.float32), (portable, np.float64)]

by_room = pytest.mark.parametrize("room, dtype", with_cuda(ROOMS, cuda))


def numbers(shape, dtype, seed=0, strided=False):
    random = np.random.default_rng(seed)
    if strided:
        wide = random.standard_normal([2 * n for n in shape])
        return wide.astype(dtype)[tuple(slice(None, None, 2) for _ in shape)]
    return random.standard_normal(shape).astype(dtype)


def window(c, size, channels):
    return [j for j in range(c - size // 2, c - size // 2 + size) if 0 <= j < channels]


def naive(x, gy, size, alpha, beta, k):
    """y and gx of the channels at one position."""
    channels = len(x)
    d = [k + alpha / size * math.fsum(x[j] ** 2 for j in window(c, size, channels)) for c in range(channels)]
    y = [v * base**-beta for v, base in zip(x, d, strict=True)]
    gx = [0.0] * channels
    for c in range(channels):  # y_c depends on x_c, and on every x_j of its window through d_c
        gx[c] += gy[c] * d[c] ** -beta
        for j in window(c, size, channels):
            gx[j] += gy[c] * x[c] * -beta * d[c] ** (-beta - 1) * 2 * alpha / size * x[j]
    return y, gx


SETTINGS = [(5, 1.5, 0.75, 2.0), (4, 0.7, 0.5, 1.0), (1, 1.0, 0.75, 1.0), (2, 2.0, 1.0, 0.5), (9, 0.3, 0.6, 1.5)]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", [(2, 7, 3), (3, 1, 2), (2, 6, 3, 5), (1, 3, 4, 5, 2), (2, 4, 1, 1), (1, 5, 700)])
@pytest.mark.parametrize("settings", SETTINGS)
@by_room
def test_local_response_norm(room, dtype, settings, shape, strided):
    x, gy = (numbers(shape, dtype, seed, strided) for seed in (0, 1))
    before = x.copy(), gy.copy()
    y, gx = room.local_response_norm(x, *settings), room.local_response_norm_grad(gy, x, *settings)
    expected_y, expected_gx = np.empty(shape), np.empty(shape)
    for n, *at in np.ndindex(shape[0], *shape[2:]):
        place = (n, slice(None), *at)
        expected_y[place], expected_gx[place] = naive(*(a[place].astype(float).tolist() for a in (x, gy)), *settings)
    np.testing.assert_allclose(y, expected_y, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    np.testing.assert_allclose(gx, expected_gx, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
    assert y.dtype == gx.dtype == dtype
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(gy, before[1])


@by_room
def test_nan_and_inf_stay_in_their_windows(room, dtype):
    for bad in (math.nan, math.inf):
        x = numbers((1, 9, 2), dtype)
        x[0, 4, 1] = bad
        y = room.local_response_norm(x, 3, 1.0, 0.75, 1.0)
        assert np.isnan(y[0, 4, 1]) and np.isfinite(y[0, :, 0]).all() and np.isfinite(y[0, [0, 1, 2, 6, 7, 8], 1]).all()
        assert np.isnan(y[0, [3, 5], 1]).all() if math.isnan(bad) else not y[0, [3, 5], 1].any()


@by_room
def test_squares_that_overflow_count_as_one_to_the_power_of_0(room, dtype):
    x = np.full((1, 3, 2), np.finfo(np.float32).max if dtype is bfloat16 else np.finfo(dtype).max).astype(dtype)
    for size in (4, 5):
        np.testing.assert_array_equal(room.local_response_norm(x, size, 10.0, 0.0, 1.0), x)


@pytest.mark.parametrize("shape", [(0, 3, 2), (2, 0, 3), (2, 3, 0)])
@by_room
def test_of_nothing(room, dtype, shape):
    x = np.zeros(shape, dtype)
    y, gx = room.local_response_norm(x, 5, 1.0, 0.75, 1.0), room.local_response_norm_grad(x, x, 5, 1.0, 0.75, 1.0)
    assert y.shape == gx.shape == shape and y.dtype == gx.dtype == dtype


def test_on_all_threads():
    x, gy, settings = numbers((3, 16, 37, 41), np.float32), numbers((3, 16, 37, 41), np.float32, 1), SETTINGS[0]
    np.testing.assert_allclose(cpu.local_response_norm(x, *settings), portable.local_response_norm(x, *settings), rtol=1e-5)
    np.testing.assert_allclose(cpu.local_response_norm_grad(gy, x, *settings),
                               portable.local_response_norm_grad(gy, x, *settings), rtol=1e-5, atol=1e-6)
