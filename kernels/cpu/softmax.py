"""Softmax and its logarithm along the last axis, compiled: one row at a time, which stays in the cache between passes.
Along other axes the portable kernels are as fast.
"""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.exp import exp
from minidl.kernels.cpu.threads import split
from minidl.kernels.portable import softmax as portable


def softmax(x, axis):
    """As the portable kernel."""
    return _by_rows(_softmax, x) if _last(x, axis) else portable.softmax(x, axis)


def softmax_grad(gy, y, axis):
    """As the portable kernel."""
    return _by_rows(_softmax_grad, gy, y) if _last(y, axis) else portable.softmax_grad(gy, y, axis)


def log_softmax(x, axis):
    """As the portable kernel."""
    return _by_rows(_log_softmax, x) if _last(x, axis) else portable.log_softmax(x, axis)


def log_softmax_grad(gy, y, axis):
    """As the portable kernel."""
    return _by_rows(_log_softmax_grad, gy, y) if _last(y, axis) else portable.log_softmax_grad(gy, y, axis)


def _last(x, axis):
    return x.size > 0 and axis in (-1, x.ndim - 1)


def _by_rows(function, *arrays):
    """Run ``function(start, stop, *arrays, out)`` over the rows of all arrays."""
    shape = arrays[0].shape
    out = np.empty(shape, arrays[0].dtype)
    rows = [ready(a).reshape(-1, shape[-1]) for a in (*arrays, out)]
    split(function, rows[0].shape[0], 10 * out.size, *rows)
    return out


@jit
def _softmax(start, stop, x, y):
    rows = block(x.shape[1])
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        exponentials(x[first:last], y[first:last])
        for row in range(first, last):
            scale = 1 / total(y[row])
            for k in range(x.shape[1]):
                y[row, k] *= scale


@jit
def _log_softmax(start, stop, x, y):
    rows = block(x.shape[1])
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        top = exponentials(x[first:last], y[first:last])
        for row in range(first, last):
            log_total = math.log(total(y[row]))
            for k in range(x.shape[1]):
                y[row, k] = (x[row, k] - top[row - first]) - log_total


@jit
def block(size):
    """How many rows of this size to take at once: few enough for the first cache, many enough for vectors."""
    return max(1, 2048 // size)


@jit
def exponentials(x, e):
    """Write e = exp(x - max of its row); return the maxima. A NaN may hide from the maximum, not from e."""
    top = np.empty(x.shape[0], x.dtype)
    for row in range(x.shape[0]):
        top[row] = highest(x[row])
        for k in range(x.shape[1]):
            e[row, k] = x[row, k] - top[row]
    flat = e.reshape(-1)
    for i in range(flat.size):
        flat[i] = exp(flat[i])
    return top


@jit
def highest(x):
    """max x, in four interleaved chains: in one, each comparison would wait for the one before."""
    a = b = c = d = x[0]
    whole = x.size - x.size % 4
    for k in range(0, whole, 4):
        a, b, c, d = max(a, x[k]), max(b, x[k + 1]), max(c, x[k + 2]), max(d, x[k + 3])
    for k in range(whole, x.size):
        a = max(a, x[k])
    return max(max(a, b), max(c, d))


@jit
def total(x):
    """The sum of x, in float64."""
    result = 0.0
    for k in range(x.size):
        result += x[k]
    return result


@jit
def _softmax_grad(start, stop, gy, y, gx):
    for row in range(start, stop):
        mean = 0.0
        for k in range(y.shape[1]):
            mean += gy[row, k] * y[row, k]
        for k in range(y.shape[1]):
            gx[row, k] = y[row, k] * (gy[row, k] - mean)


@jit
def _log_softmax_grad(start, stop, gy, y, gx):
    for row in range(start, stop):
        sum_gy = total(gy[row])
        for k in range(y.shape[1]):
            gx[row, k] = gy[row, k] - exp(y[row, k]) * sum_gy
