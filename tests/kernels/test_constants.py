"""What the CPU's convolutions keep of weights that stay constant: each map, and each number of groups, reads what is its own."""

import functools
import weakref

import numpy as np
import pytest

from minidl.kernels.constants import changed, constant, derived
from minidl.kernels.cpu import conv as cpu
from minidl.kernels.portable import conv as portable
from minidl.kernels.shapes import ConvGeometry


@pytest.mark.parametrize("shape, geometry", [
    ((16, 1, 1, 1), ConvGeometry()), ((12, 6, 1, 1), ConvGeometry()), ((20, 3, 3, 3), ConvGeometry()),
    ((20, 3, 3, 3), ConvGeometry(groups=2)), ((16, 16, 3, 3), ConvGeometry(padding=(1, 1))), ((16, 8, 5, 5), ConvGeometry())])
def test_every_map_reads_its_own(shape, geometry):
    random = np.random.default_rng(0)
    w = random.standard_normal(shape).astype(np.float32)
    constant(w)
    for groups in (geometry.groups, 1, geometry.groups):
        here = geometry._replace(groups=groups)
        x = random.standard_normal((2, shape[1] * groups, 7, 9)).astype(np.float32)
        y = portable.conv2d(x, w, None, here)
        for _ in range(2):
            np.testing.assert_allclose(cpu.conv2d(x, w, None, here), y, atol=1e-4)
            np.testing.assert_allclose(cpu.conv2d_input_grad(y, w, x.shape, here),
                                       portable.conv2d_input_grad(y, w, x.shape, here), atol=1e-3)


@pytest.mark.parametrize("shape", [(16, 16, 3, 3), (16, 3, 3, 3), (16, 5, 1, 1)])
def test_a_change_that_is_told_is_seen(shape):
    random = np.random.default_rng(1)
    w, x = random.standard_normal(shape).astype(np.float32), random.standard_normal((2, shape[1], 7, 9)).astype(np.float32)
    constant(w)
    before = cpu.conv2d(x, w, None, ConvGeometry())
    w *= 2
    changed(w)
    np.testing.assert_allclose(cpu.conv2d(x, w, None, ConvGeometry()), 2 * before, rtol=1e-4, atol=1e-4)


def test_a_view_is_never_taken_for_constant():
    whole = np.ones((2, 16, 5, 1, 1), np.float32)
    w, x = whole[0], np.ones((1, 5, 2, 3), np.float32)
    constant(w)
    before = cpu.conv2d(x, w, None, ConvGeometry())
    whole *= 2
    np.testing.assert_array_equal(cpu.conv2d(x, w, None, ConvGeometry()), 2 * before)


@pytest.mark.parametrize("make", [lambda w: w, lambda w: w.reshape(-1), lambda w: w.T[1:]])
def test_a_constant_does_not_live_on_in_what_shares_its_memory(make):
    w = np.ones((2, 3), np.float32)
    constant(w)
    derived(w, "same", functools.partial(make, w))
    gone = weakref.ref(w)
    del w
    assert gone() is None
