"""Hypothesis strategies for what breaks layers: odd shapes, broadcasting, layouts, and the arguments of windows.

Draws are small tuples that print as code: paste a failing example into a test and call ``array()``. ``settings`` is a profile for
such tests: no deadline, since kernels compile, and the same examples each time where ``CI`` is set.

>>> from hypothesis import given
>>> @settings
... @given(arrays(shapes()))
... def test_negation(spec):
...     x = spec.array()
...     assert (-(-x) == x).all()
>>> test_negation()
"""

import os
from typing import NamedTuple

import numpy as np

from minidl.dtypes import as_dtype, is_floating
from minidl.errors import require
from minidl.kernels.shapes import ConvGeometry, conv_output, pool_output, pool_windows

hypothesis = require("hypothesis", extra="test")
st = require("hypothesis.strategies", extra="test")

LAYOUTS = ("C", "F", "strided", "reversed", "offset")
settings = hypothesis.settings(deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=False)


class Array(NamedTuple):
    """A random array, by what makes it: ``Array((2, 3), "float64", "strided", 7).array()``.

    ``layout``: "C" and "F" order, every axis "strided" by 2, every axis "reversed", or at an odd "offset" in its buffer.
    ``values``: "normal", or "ties" for few different values, zeros among them.

    >>> Array((2, 3), "float32", "reversed", 0).array().strides
    (-12, -4)
    """

    shape: tuple[int, ...]
    dtype: str = "float64"
    layout: str = "C"
    seed: int = 0
    values: str = "normal"

    def array(self) -> np.ndarray:
        """The array; the same for the same fields."""
        random = np.random.default_rng(self.seed)
        dtype = as_dtype(self.dtype)
        if is_floating(dtype) and self.values == "normal":
            drawn = random.standard_normal(self.shape)
        else:
            drawn = random.integers(0 if dtype.kind in "ub" else -2, 2 if dtype.kind == "b" else 3, self.shape)
        return _laid_out(np.asarray(drawn).astype(dtype), self.layout)


def _laid_out(x, layout):
    if layout == "F":
        return np.asarray(x, order="F")
    if layout == "strided":
        wide = np.zeros([2 * n for n in x.shape], x.dtype)
        view = wide[(*[slice(None, None, 2)] * x.ndim, ...)]
    elif layout == "reversed":
        view = np.zeros(x.shape, x.dtype)[(*[slice(None, None, -1)] * x.ndim, ...)]
    elif layout == "offset":
        view = np.zeros(x.size + 1, x.dtype)[1:].reshape(x.shape)
    else:
        return x
    view[...] = x
    return view


def shapes(min_dims: int = 0, max_dims: int = 4, min_side: int = 0, max_side: int = 5):
    """Tuples of sizes; 0 and 1 among them unless ``min_side`` forbids."""
    return st.lists(st.integers(min_side, max_side), min_size=min_dims, max_size=max_dims).map(tuple)


def broadcastable_pairs(max_dims: int = 4, max_side: int = 4):
    """Two shapes that broadcast together: axes of size 1, or missing in front, in either.

    >>> from hypothesis import given
    >>> @settings
    ... @given(broadcastable_pairs())
    ... def test(pair):
    ...     np.broadcast_shapes(*pair)
    >>> test()
    """

    @st.composite
    def pairs(draw):
        shape = draw(shapes(0, max_dims, 1, max_side))
        found = []
        for _ in range(2):
            start = draw(st.integers(0, len(shape)))
            found.append(tuple(1 if draw(st.booleans()) else n for n in shape[start:]))
        return tuple(found)

    return pairs()


def dtypes(floating: bool = False):
    """Names of dtypes that tensors have, but bfloat16, which needs a package; only floating-point ones if asked."""
    return st.sampled_from(["float16", "float32", "float64"] + ([] if floating else ["bool", "uint8", "int32", "int64"]))


def layouts():
    """Names of memory layouts, see ``Array``."""
    return st.sampled_from(LAYOUTS)


def arrays(shape, dtype="float64", values=None):
    """``Array`` descriptions: of one shape or of a strategy of shapes, and so for ``dtype``; in every layout."""
    return st.builds(Array, _strategy(shape), _strategy(dtype), layouts(), st.integers(0, 2**16),
                     st.sampled_from(["normal", "ties"]) if values is None else st.just(values))


def _strategy(value):
    return value if isinstance(value, st.SearchStrategy) else st.just(value)


class ConvArguments(NamedTuple):
    """A convolution that fits: shapes of image (N, C, H, W) and weight (O, C/G, KH, KW), and its geometry."""

    x_shape: tuple[int, int, int, int]
    w_shape: tuple[int, int, int, int]
    geometry: ConvGeometry


@st.composite
def conv_arguments(draw, max_side: int = 7, max_kernel: int = 3):
    """``ConvArguments``: every stride, padding, dilation (height and width apart) and group up to 3; at least one window fits.

    >>> from hypothesis import given
    >>> from minidl.kernels import kernel
    >>> @settings
    ... @given(conv_arguments())
    ... def test(arguments):
    ...     x, w = np.ones(arguments.x_shape), np.ones(arguments.w_shape)
    ...     assert kernel("conv2d", x)(x, w, None, arguments.geometry).shape[:2] == (len(x), len(w))
    >>> test()
    """
    pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
    stride, dilation = draw(pairs), draw(pairs)
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    kernel = draw(st.tuples(st.integers(1, max_kernel), st.integers(1, max_kernel)))
    groups = draw(st.integers(1, 3))
    size = tuple(draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), max(max_side, d * (k - 1) + 1)))
                 for k, d, p in zip(kernel, dilation, padding, strict=True))
    assert all(conv_output(*axis) > 0 for axis in zip(size, kernel, stride, padding, dilation, strict=True))
    n, c, o = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 3))
    return ConvArguments((n, c * groups, *size), (o * groups, c, *kernel), ConvGeometry(stride, padding, dilation, groups))


class PoolArguments(NamedTuple):
    """A pooling that fits: shape of the image (N, C, H, W), and pairs (height, width)."""

    x_shape: tuple[int, int, int, int]
    kernel_size: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    ceil_mode: bool


@st.composite
def pool_arguments(draw, max_side: int = 7, max_kernel: int = 3):
    """``PoolArguments`` with at least one window, none of them empty; padding is at most half the kernel.

    >>> from hypothesis import given
    >>> from minidl.nn import functional as F
    >>> @settings
    ... @given(pool_arguments())
    ... def test(arguments):
    ...     x_shape, *options = arguments
    ...     assert F.max_pool2d(np.ones(x_shape), *options).shape[:2] == x_shape[:2]
    >>> test()
    """
    kernel = draw(st.tuples(st.integers(1, max_kernel), st.integers(1, max_kernel)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    size = tuple(draw(st.integers(max(1, d * (k - 1) + 1 - 2 * p), max(max_side, d * (k - 1) + 1)))
                 for k, d, p in zip(kernel, dilation, padding, strict=True))
    ceil_mode = draw(st.booleans())
    for n, k, s, p, d in zip(size, kernel, stride, padding, dilation, strict=True):
        windows = pool_windows(n, pool_output(n, k, s, p, d, ceil_mode), k, s, p, d)
        hypothesis.assume((windows.starts < windows.stops).all())  # a dilated window may step over a small image
    return PoolArguments((draw(st.integers(1, 3)), draw(st.integers(1, 3)), *size), kernel, stride, padding, dilation, ceil_mode)
