"""Masks against the words they are made of, and the map at a fixed mask against its formula."""

import numpy as np
import pytest

from minidl.kernels.cpu import dropout as cpu
from minidl.kernels.cuda import dropout
from minidl.kernels.portable import dropout as portable
from minidl.kernels.portable.philox import philox
from tests.kernels.cuda import bfloat16, cuda_runs, on_device, with_cuda

cuda = on_device(dropout)
KEY = np.array([1, 2], np.uint32)
COUNTER = np.array([0xFFFFFFFF, 0, 3, 4], np.uint32)


@pytest.fixture(params=[cpu, portable, pytest.param(cuda, marks=cuda_runs)], ids=["cpu", "portable", "cuda"])
def room(request):
    return request.param


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (3, 7, 211)])
@pytest.mark.parametrize("p", [0.0, 0.3, 0.5, 1 - 2**-32, 1.0])
def test_mask_keeps_words_below_the_threshold(room, p, shape):
    size = int(np.prod(shape))
    expected = [word < (1 - p) * 2**32 for word in philox(KEY, COUNTER, size).tolist()]
    found = room.dropout_mask(KEY, COUNTER, shape, p)
    assert found.dtype == bool and found.shape == shape
    assert found.reshape(-1).tolist() == expected


def test_mask_of_many_elements_is_the_same_in_both_rooms():
    shape = (301, 1009)  # on all threads
    a, b = (room.dropout_mask(KEY, COUNTER, shape, 0.2) for room in (cpu, portable))
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("mask_shape", [(3, 5, 7), (3, 5, 1), (5, 7)])
def test_apply_mask(room, dtype, mask_shape):
    random = np.random.default_rng(0)
    x = random.standard_normal((6, 5, 14)).astype(dtype)[::2, :, ::2]
    before, mask = x.copy(), random.random(mask_shape) < 0.6
    y = room.apply_mask(x, mask, 1 / 0.6)
    full, factor = np.broadcast_to(mask, x.shape), dtype(1 / 0.6)
    for index in np.ndindex(x.shape):
        assert y[index] == (x[index] * factor if full[index] else 0)
    assert y.dtype == dtype and y.shape == x.shape
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("room, dtype", with_cuda([(portable, np.float16)], cuda, (np.float16, bfloat16)))
def test_apply_mask_half_precision(room, dtype):
    x, mask = np.ones(4, dtype), np.array([True, False, True, True])
    y = room.apply_mask(x, mask, 1 / 0.9)
    assert y.dtype == dtype and y.tolist() == [dtype(1 / 0.9), 0, dtype(1 / 0.9), dtype(1 / 0.9)]


@pytest.mark.parametrize("shape", [(), (0, 3), (5,), (8,), (3, 7, 11), (4, 2, 16)])
@pytest.mark.parametrize("room, dtype", with_cuda([(portable, np.float16), (portable, np.float32)], cuda))
def test_mask_and_map_in_one_pass(room, dtype, shape):
    x = np.random.default_rng(0).standard_normal((*shape, 2)).astype(dtype)[..., 0]
    before = x.copy()
    mask, y = room.dropout(KEY, COUNTER, x, 0.3, 1 / 0.7)
    expected = portable.dropout_mask(KEY, COUNTER, shape, 0.3)
    np.testing.assert_array_equal(mask, expected)
    np.testing.assert_array_equal(y.astype(float), portable.apply_mask(x, expected, 1 / 0.7).astype(float))
    assert (mask.dtype, y.dtype, mask.shape, y.shape) == (bool, dtype, shape, shape)
    np.testing.assert_array_equal(x, before)


def test_nan_stays_nan_where_dropped(room):
    x = np.array([np.nan, np.inf, 1.0, np.nan])
    with np.errstate(invalid="ignore"):
        y = room.apply_mask(x, np.array([False, False, False, True]), 2.0)
    np.testing.assert_array_equal(y, [np.nan, np.nan, 0, np.nan])
