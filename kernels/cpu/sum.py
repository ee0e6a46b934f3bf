"""Sums accumulated in float64: rows (the last axes) with vector adds, columns (the first axes) block by block."""

import functools
import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split
from minidl.kernels.portable import sum as portable

SMALL = 4096  # below this many elements NumPy costs less than the call


def sum(x, axes, keepdims=False, divisor=1):
    """As the portable kernel."""
    if x.size <= SMALL or not x.flags.c_contiguous:
        return portable.sum(x, axes, keepdims, divisor)
    leading, trailing, others = _edges(x.ndim, axes)
    if trailing:
        lead = x.shape[: x.ndim - trailing]
        total = np.empty(lead)
        rows = ready(x).reshape(total.size, -1)
        split(_sum_rows, total.size, x.size, rows, total.reshape(-1))
        kept = np.add.reduce(total.reshape(lead + (1,) * trailing), axis=others, keepdims=True)
    elif leading and leading == len(axes):
        tail = x.shape[leading:]
        total = np.zeros(math.prod(tail))
        split(_sum_columns, total.size, x.size, ready(x).reshape(-1, total.size), total)
        kept = total.reshape((1,) * leading + tail)
    else:
        return portable.sum(x, axes, keepdims, divisor)
    if divisor != 1:
        kept = kept / divisor
    kept = kept.astype(x.dtype)
    return kept if keepdims else kept.reshape([n for axis, n in enumerate(x.shape) if axis not in axes])


@functools.lru_cache(1024)
def _edges(ndim, axes):
    """How many of the first axes are summed, and how many of the last; those that are not among the last."""
    leading = next(axis for axis in range(ndim + 1) if axis not in axes)
    trailing = next(count for count in range(ndim + 1) if ndim - 1 - count not in axes)
    return leading, trailing, tuple(axis for axis in axes if axis < ndim - trailing)


@jit
def _sum_rows(start, stop, rows, total):
    for row in range(start, stop):
        partial = 0.0
        for i in range(rows.shape[1]):  # by index: iterating over the row's values would not be vectorized
            partial += rows[row, i]
        total[row] = partial


@jit
def _sum_columns(start, stop, rows, total):
    part = total[start:stop]  # indexed from 0, which lets the loop be vectorized
    for row in range(rows.shape[0]):
        line = rows[row, start:stop]
        for column in range(len(part)):
            part[column] += line[column]
