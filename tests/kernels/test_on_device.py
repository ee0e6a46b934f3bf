"""Kernels that are called with NumPy arrays and run on the device of the tests: what they see, and what comes back."""

import numpy as np
import pytest

from minidl.cuda.load import load_cupy
from minidl.device import get_default_device
from tests.kernels.cuda import ALIGNMENT, bfloat16, on_device, with_bfloat16

pytestmark = pytest.mark.skipif(get_default_device().type == "cpu", reason="run with --device pretend, or cuda")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8, bool, pytest.param(bfloat16, marks=with_bfloat16)])
@pytest.mark.parametrize("view", [
    lambda a: a, lambda a: a.T, lambda a: a[::2, 1:4], lambda a: a[:, ::-2], lambda a: a[::-1, 2], lambda a: a[1:, None],
    lambda a: np.broadcast_to(a[1], (3, 7)), lambda a: a[2, 3], lambda a: a[:, :0], lambda a: a[5:, 6:]])
def test_arrays_lie_there_as_here(view, dtype):
    base = np.random.default_rng(0).integers(0, 9, (6, 7)).astype(dtype)
    array, seen = np.asarray(view(base)), []

    def look(there):
        seen.extend([there.strides, there.data.ptr % ALIGNMENT])
        return there, [there[..., None]]

    same, (longer,) = on_device(look)(array)
    assert same.dtype == array.dtype and np.array_equal(same, array) and np.array_equal(longer, array[..., None])
    if array.size:
        assert seen == [array.strides, array.ctypes.data % ALIGNMENT]


def test_what_is_written_comes_back_and_nothing_else():
    wide, same = np.zeros((4, 6)), np.ones(3)

    def write(pairs, factor):
        for array, other in pairs:
            array += factor * other

    on_device(write)([(wide[1:3, ::-2], same)], factor=2)
    expected = np.zeros((4, 6))
    expected[1:3, 1::2] = 2
    assert np.array_equal(wide, expected) and np.array_equal(same, np.ones(3))


def test_what_is_written_between_the_elements_comes_back_too():
    wide = np.zeros(6)

    def overrun(array):
        load_cupy().lib.stride_tricks.as_strided(array, (5,), (8,))[...] = 1

    on_device(overrun)(wide[::2])
    assert np.array_equal(wide, [1, 1, 1, 1, 1, 0])
