"""Pooling on the GPU: see pool.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready


def max_windows(x, rows, columns):
    """As the portable kernel."""
    xp, shape = namespace(x), (*x.shape[:2], len(rows.starts), len(columns.starts))
    values, winners = xp.empty(shape, x.dtype), xp.empty(shape, np.int64)
    _over_windows("max_windows", x, (values, winners), rows, columns)
    return values, winners


def max_values(x, rows, columns):
    """As the portable kernel."""
    values = namespace(x).empty((*x.shape[:2], len(rows.starts), len(columns.starts)), x.dtype)
    _over_windows("max_windows", x, (values, None), rows, columns)
    return values


def take_winners(x, out_shape, winners):
    """As the portable kernel."""
    y, (_, _, height, width) = namespace(x).empty(out_shape, x.dtype), x.shape
    launch("pool.take_winners", y.size, *ready(x, winners), y, np.int64(height * width), np.int64(y.shape[2] * y.shape[3]),
           dtype=x.dtype)
    return y


def mean_windows(x, out_shape, rows, columns, divisors):
    """As the portable kernel."""
    y = namespace(x).empty(out_shape, x.dtype)
    _over_windows("mean_windows", x, (ready(namespace(x).asarray(divisors, x.dtype)), y), rows, columns)
    return y


def _over_windows(name, x, arrays, rows, columns):
    xp, out = namespace(x), next(array for array in reversed(arrays) if array is not None)
    bounds = [xp.asarray(bound) for axis in (rows, columns) for bound in (axis.starts, axis.stops)]
    launch(f"pool.{name}", out.size, ready(x), *arrays, *x.shape[2:], *out.shape[2:], *ready(*bounds), rows.step, columns.step,
           dtype=x.dtype)
