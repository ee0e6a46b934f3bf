"""Piecewise linear activations against branches over single elements."""

import math

import numpy as np
import pytest

from minidl.kernels.cpu import activation as cpu
from minidl.kernels.cuda import activation
from minidl.kernels.portable import activation as portable
from tests.kernels.cuda import on_device, with_cuda

cuda = on_device(activation)
ROOMS = [(cpu, np.float32), (cpu, np.float64), (portable, np.float16), (portable, np.float32), (portable, np.float64)]
NAN, INF = math.nan, math.inf

by_room = pytest.mark.parametrize("room, dtype", with_cuda(ROOMS, cuda))


def numbers(shape, dtype, seed=0, strided=False):
    random = np.random.default_rng(seed)
    if strided:
        wide = random.standard_normal([2 * n for n in shape])
        return wide.astype(dtype)[tuple(slice(None, None, 2) for _ in shape)]
    return random.standard_normal(shape).astype(dtype)


def each(function, dtype, *arrays):
    """Apply a function of numbers of this dtype to all elements."""
    out = np.empty(arrays[0].shape, dtype)
    for index in np.ndindex(out.shape):
        out[index] = function(*(a[index] for a in arrays))
    return out


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("room, dtype", with_cuda(ROOMS[2:], cuda))
def test_copy(room, dtype, strided):
    x = numbers((3, 41), dtype, strided=strided)
    x.flat[:3] = NAN, INF, -0.0
    any_bits = np.random.default_rng(0).integers(0, 256, 1 << 12, np.uint8).view(dtype)  # NaNs of all kinds among them
    for source in (x, any_bits[:: 1 + strided]):
        y = room.copy(source)
        assert y.tobytes() == source.tobytes() and y.dtype == dtype and y.flags.c_contiguous and not np.shares_memory(source, y)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", [(), (1,), (0, 3), (3, 4, 5), (1031,)])
@by_room
def test_values(room, dtype, shape, strided):
    x, gy = numbers(shape, dtype, strided=strided), numbers(shape, dtype, 1, strided)
    slope = np.promote_types(dtype, np.float32).type(0.3)  # half precision is multiplied in float32
    before = x.copy(), gy.copy()
    for found, function, arrays in (
            (room.add(x, gy), lambda v, g: v + g, (x, gy)),
            (room.add_relu(x, gy), lambda v, g: v + g if v + g > 0 else 0, (x, gy)),
            (room.relu(x), lambda v: v if v > 0 else 0, (x,)),
            (room.relu_grad(gy, x), lambda g, v: g if v > 0 else 0, (gy, x)),
            (room.leaky_relu(x, float(slope)), lambda v: v if v > 0 else slope * v, (x,)),
            (room.leaky_relu_grad(gy, x, float(slope)), lambda g, v: g if v > 0 else slope * g, (gy, x))):
        np.testing.assert_array_equal(found, each(function, dtype, *arrays))
        assert found.dtype == dtype and found.shape == shape
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(gy, before[1])


@by_room
def test_edges(room, dtype):
    x = np.array([-INF, -0.0, 0.0, INF, NAN], dtype)
    gy = np.array([INF, 1, 2, INF, 3], dtype)
    np.testing.assert_array_equal(room.add_relu(x, np.ones_like(x)).astype(float), [0, 1, 1, INF, NAN])
    np.testing.assert_array_equal(room.relu(x).astype(float), [0, 0, 0, INF, NAN])
    np.testing.assert_array_equal(room.relu_grad(gy, x).astype(float), [0, 0, 0, INF, 3])
    np.testing.assert_array_equal(room.leaky_relu(x, 0.5).astype(float), [-INF, 0, 0, INF, NAN])
    np.testing.assert_array_equal(room.leaky_relu_grad(gy, x, 0.5).astype(float), [INF, 0.5, 1, INF, 1.5])


@pytest.mark.parametrize("start", range(1, 9))
@pytest.mark.parametrize("room, dtype", with_cuda([], cuda))
def test_views_that_begin_and_end_anywhere(room, dtype, start):
    """Kernels that read 16 bytes at a time take numbers one by one where that is not possible."""
    x, y = numbers((70,), dtype), numbers((70,), dtype, 1)
    for stop in range(60, 69):
        np.testing.assert_array_equal(room.add(x[start:stop], y[start:stop]), (x + y)[start:stop])
        np.testing.assert_array_equal(room.add(x[:stop], y[1 : stop + 1]), x[:stop] + y[1 : stop + 1])


def test_on_all_threads():
    x, gy = numbers((1_000_003,), np.float32), numbers((1_000_003,), np.float32, 1)
    np.testing.assert_array_equal(cpu.add(x, gy), portable.add(x, gy))
    np.testing.assert_array_equal(cpu.add_relu(x, gy), portable.add_relu(x, gy))
    np.testing.assert_array_equal(cpu.relu(x), portable.relu(x))
    np.testing.assert_array_equal(cpu.relu_grad(gy, x), portable.relu_grad(gy, x))
    np.testing.assert_array_equal(cpu.leaky_relu(x, 0.1), portable.leaky_relu(x, 0.1))
    np.testing.assert_array_equal(cpu.leaky_relu_grad(gy, x, 0.1), portable.leaky_relu_grad(gy, x, 0.1))
