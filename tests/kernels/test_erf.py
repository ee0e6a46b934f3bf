"""The error function against Python's own."""

import math

import numpy as np
import pytest

from minidl.kernels.cpu import erf as cpu
from minidl.kernels.cuda import erf
from minidl.kernels.portable import erf as portable
from tests.kernels.cuda import bfloat16, on_device, with_cuda

cuda = on_device(erf)
ROOMS = [(cpu, np.float32), (cpu, np.float64), (portable, np.float16), (portable, np.float32), (portable, np.float64)]
TOLERANCE = {np.float16: 1e-3, bfloat16: 8e-3, np.float32: 3e-7, np.float64: 2e-15}  # up to 2 units in the last place

by_room = pytest.mark.parametrize("room, dtype", with_cuda(ROOMS, cuda))


@pytest.mark.parametrize("shape", [(), (0, 3), (7, 61), (5, 2, 3)])
@by_room
def test_erf(room, dtype, shape):
    x = (2 * np.random.default_rng(0).standard_normal([2 * n for n in shape])).astype(dtype)
    x = x[tuple(slice(None, None, 2) for _ in shape)]
    before, y = x.copy(), room.erf(x)
    expected = np.array([math.erf(v) for v in x.astype(float).ravel()]).reshape(shape)
    np.testing.assert_allclose(y.astype(float), expected, rtol=TOLERANCE[dtype])
    assert y.dtype == dtype and y.shape == shape
    np.testing.assert_array_equal(x, before)


@by_room
def test_edges(room, dtype):
    x = np.array([-math.inf, -0.0, 0.0, 1e-4, math.inf, math.nan, 60, -60], dtype)
    y = room.erf(x).astype(float)
    np.testing.assert_array_equal(y[[0, 1, 2, 4, 5, 6, 7]], [-1, -0.0, 0.0, 1, math.nan, 1, -1])
    assert np.signbit(y[1]) and not np.signbit(y[2])
    np.testing.assert_allclose(y[3], 2 / math.sqrt(math.pi) * float(x[3]), rtol=TOLERANCE[dtype] + 1e-8)
