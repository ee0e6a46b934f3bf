"""Hypothesis strategies draw what they promise, and failing examples print as code."""

import numpy as np
import pytest
from hypothesis import find, given
from hypothesis import strategies as st

from minidl.kernels import kernel, use_backend
from minidl.kernels.shapes import conv_output, windows
from minidl.testing import strategies
from minidl.testing.strategies import Array, ConvArguments, PoolArguments


@strategies.settings
@given(strategies.arrays(strategies.shapes(max_dims=3), strategies.dtypes()))
def test_arrays(spec):
    x, again = spec.array(), eval(repr(spec)).array()
    assert x.shape == spec.shape and x.dtype == spec.dtype
    assert np.array_equal(x, again) and x.strides == again.strides
    assert np.array_equal(x, spec._replace(layout="C").array())


@pytest.mark.parametrize("layout", strategies.LAYOUTS)
def test_layouts(layout):
    x = Array((3, 4), "float32", layout).array()
    assert x.strides == {"C": (16, 4), "F": (4, 12), "strided": (64, 8), "reversed": (-16, -4), "offset": (16, 4)}[layout]
    assert (layout == "offset") == (x.ctypes.data % 8 != 0 and x.base is not None and layout == "offset")


def test_ties_and_zeros_are_drawn():
    values = Array((40,), values="ties").array()
    assert len(np.unique(values)) <= 5 and (values == 0).any()


@strategies.settings
@given(strategies.broadcastable_pairs())
def test_pairs_broadcast(pair):
    np.broadcast_shapes(*pair)


@pytest.mark.parametrize("wanted", [
    lambda p: len(p[0]) != len(p[1]), lambda p: p[0] != p[1] and len(p[0]) == len(p[1]), lambda p: () in p])
def test_every_way_of_broadcasting_is_drawn(wanted):
    assert find(strategies.broadcastable_pairs(), wanted)


@strategies.settings
@given(strategies.conv_arguments())
def test_convolutions_fit(arguments):
    x_shape, w_shape, geometry = arguments
    assert x_shape[1] == w_shape[1] * geometry.groups and w_shape[0] % geometry.groups == 0
    assert min(windows(x_shape[2:], w_shape[2:], geometry)) >= 1
    assert eval(repr(arguments), {"ConvArguments": ConvArguments, "ConvGeometry": type(geometry)}) == arguments


@pytest.mark.parametrize("wanted", [
    lambda a: a.geometry.groups == 3, lambda a: a.geometry.stride[0] != a.geometry.stride[1] and max(a.geometry.padding) == 3,
    lambda a: conv_output(a.x_shape[2], a.w_shape[2], a.geometry.stride[0], a.geometry.padding[0], a.geometry.dilation[0]) == 1])
def test_every_kind_of_convolution_is_drawn(wanted):
    assert find(strategies.conv_arguments(), wanted)


@strategies.settings
@given(strategies.pool_arguments(), st.sampled_from(["portable", None]))
def test_pools_fit(arguments, backend):
    from minidl.nn import functional as F

    x_shape, *options = arguments
    x = np.ones(x_shape)
    with use_backend(backend):
        assert kernel("max_windows", x) and F.max_pool2d(x, *options).array.min() == 1
    assert eval(repr(arguments), {"PoolArguments": PoolArguments}) == arguments
