"""Sums over axes against loops that add up exactly."""

import math

import numpy as np
import pytest

from minidl.kernels.cpu import sum as cpu
from minidl.kernels.cuda import sum as cuda_sum
from minidl.kernels.portable import sum as portable
from tests.kernels.cuda import bfloat16, on_device, with_cuda

cuda = on_device(cuda_sum)
ROOMS = [(room, dtype) for room in (cpu, portable) for dtype in (np.float32, np.float64)] + [(portable, np.float16)]
# Rounded once; float64 at each of up to 150,000 terms.
TOLERANCE = {np.float16: 1e-3, bfloat16: 8e-3, np.float32: 1e-7, np.float64: 1e-13}

by_room = pytest.mark.parametrize("room, dtype", with_cuda(ROOMS, cuda))


def naive(x, axes):
    kept = [axis for axis in range(x.ndim) if axis not in axes]
    lines = x.transpose(*kept, *axes).reshape(*(x.shape[axis] for axis in kept), math.prod(x.shape[axis] for axis in axes))
    y = np.empty(lines.shape[:-1])
    for index in np.ndindex(y.shape):
        y[index] = math.fsum(lines[index].astype(float).tolist())
    return y


SHAPES = [((7,), (0,)), ((3, 5), (0,)), ((3, 5), (1,)), ((3, 5), (0, 1)), ((2, 3, 4, 5), (0, 2, 3)), ((2, 3, 4, 5), (1, 3)),
          ((2, 3, 4, 5), (0, 2)), ((2, 3, 1, 5, 2, 3), (1, 3, 5)), ((2, 3, 2, 3, 4), (1, 3)), ((1, 3, 1), (1,)), ((0, 3), (0,)),
          ((3, 0), (0,)), ((2, 3, 4), ()), ((3, 8200), (1,)), ((1500, 70), (0,)), ((7, 3, 40, 50), (0, 2, 3)),
          ((3, 4, 64), (1, 2)), ((2, 9000, 3), (1,)), ((3, 20_000), (1,)),
          ((9, 49), (1,)), ((2, 3, 10, 20), (2, 3)), ((5, 256), (1,))]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape, axes", SHAPES)
@by_room
def test_sum(room, dtype, shape, axes, strided):
    x = np.random.default_rng(0).uniform(-1, 2, [2 * n for n in shape] if strided else shape).astype(dtype)
    x = x[tuple(slice(None, None, 2) for _ in shape)] if strided else x
    before, tolerance = x.copy(), TOLERANCE[dtype]
    y = room.sum(x, axes)
    assert y.dtype == dtype and y.shape == tuple(n for i, n in enumerate(shape) if i not in axes)
    exact = naive(x, axes)
    np.testing.assert_allclose(y.astype(float), exact, rtol=tolerance, atol=tolerance)
    kept = room.sum(x, axes, True, 4)
    assert kept.dtype == dtype and kept.shape == tuple(1 if i in axes else n for i, n in enumerate(shape))
    np.testing.assert_allclose(kept.astype(float).reshape(y.shape), exact / 4, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(x, before)


@by_room
def test_a_view_that_begins_anywhere(room, dtype):
    x = np.arange(4101).astype(dtype)
    for start in range(1, 5):
        part = x[start : start + 4096]
        exact = math.fsum(part.astype(float).tolist())
        assert float(room.sum(part, (0,))) == (float(dtype(exact)) if exact < 65504 or dtype != np.float16 else math.inf)


@by_room
def test_over_many_terms(room, dtype):
    """Term after term in float32 would lose 1e-4; the mean of 70,000 ones in float16 is 1."""
    ones = np.ones(70_000, dtype)
    assert room.sum(ones, (0,), False, 70_000) == 1
    x = np.random.default_rng(0).uniform(0, 1, (150_000, 1, 2)).astype(dtype)
    for axes in ((0,), (0, 1), (0, 1, 2)):
        exact = naive(x, axes)
        np.testing.assert_allclose(room.sum(x, axes, False, 1e5).astype(float), exact / 1e5, rtol=TOLERANCE[dtype])


@by_room
def test_nan_inf_and_a_divisor_of_nothing(room, dtype):
    x = np.ones((3, 40), dtype)
    x[0, 33], x[1, 2] = math.nan, math.inf
    np.testing.assert_array_equal(room.sum(x, (1,)).astype(float), [math.nan, math.inf, 40])
    with np.errstate(invalid="ignore"):
        assert np.isnan(room.sum(x[:, :0], (1,), False, 0).astype(float)).all()


def test_ten_million_terms_in_each_layout():
    """Bias gradients: the relative error stays below 1e-6."""
    x = np.random.default_rng(0).uniform(0, 1, 10_000_000).astype(np.float32)
    exact = math.fsum(x.tolist())
    for shape, axes in (((10_000_000, 1), (0,)), ((10, 1, 1000, 1000), (0, 2, 3))):
        assert abs(float(cpu.sum(x.reshape(shape), axes).item()) / exact - 1) < 1e-6
