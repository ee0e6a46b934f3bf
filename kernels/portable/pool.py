"""Pooling over rectangular windows, given for each axis as ``kernels.shapes.Windows``. x (N, C, H, W) -> y (N, C, OH, OW)."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.half import widened


def max_windows(x, rows, columns):
    """The maximum of each window, and its place in the image as a flat index h W + w (int64).

    Of equal elements the first wins, row by row; a NaN wins over every number, the first NaN over later ones. A window of
    nothing but -inf has its first position as winner. Any dtype; values keep it.
    """
    xp = namespace(x)
    values = winners = None
    for h, in_rows in _positions(rows):
        for w, in_columns in _positions(columns):
            candidate = x[:, :, h[:, None], w]
            inside = xp.asarray(in_rows[:, None] & in_columns)
            place = xp.asarray(h[:, None] * x.shape[3] + w)
            if values is None:  # the first position of every window lies in the image
                values, winners = candidate, xp.broadcast_to(place, candidate.shape)
                continue
            better = inside & ((candidate > values) | ((candidate != candidate) & (values == values)))
            values = xp.where(better, candidate, values)
            winners = xp.where(better, place, winners)
    return values.astype(x.dtype, copy=False), xp.ascontiguousarray(winners)  # of bfloat16 CuPy's where makes float32


def max_values(x, rows, columns):
    """The maxima of ``max_windows`` alone."""
    return max_windows(x, rows, columns)[0]


def _positions(windows):
    """The first position of all windows, then the second, ...: indices into the axis, and which windows still have one."""
    longest = int((windows.stops - windows.starts).max(initial=1))
    for offset in range(0, longest, windows.step):
        position = windows.starts + offset
        yield np.minimum(position, windows.stops - 1), position < windows.stops


def take_winners(x, out_shape, winners, windows=None):
    """y[n, c, i, j] = the element of image (n, c) at flat index winners[n, c, i, j].

    ``windows``, the (rows, columns) in which the winners were found, help kernels that gather; None for winners from anywhere.
    """
    xp, (n, c) = namespace(x), x.shape[:2]
    planes = x.reshape(n, c, x.shape[2] * x.shape[3])
    return xp.take_along_axis(planes, winners.reshape(n, c, winners.shape[2] * winners.shape[3]), 2).reshape(out_shape)


def add_winners(gy, out_shape, winners, windows=None):
    """The adjoint: each gy is added to the element of its image that won; elements that won several windows get the sum.

    Half precision is summed in float32.
    """
    xp = namespace(gy)
    n, c, oh, ow = gy.shape
    wide = widened(gy)
    planes = xp.zeros((n, c, out_shape[2] * out_shape[3]), wide.dtype)
    at = (xp.arange(n)[:, None, None], xp.arange(c)[:, None], winners.reshape(n, c, oh * ow))
    xp.add.at(planes, at, wide.reshape(n, c, oh * ow))
    return planes.reshape(out_shape).astype(gy.dtype, copy=False)


def mean_windows(x, out_shape, rows, columns, divisors):
    """The sum of each window over divisors (OH, OW); an empty window gives 0. Half precision is summed in float32."""
    xp = namespace(x)
    y = widened(x)
    y = sum(xp.where(xp.asarray(inside)[:, None], y[:, :, at], 0) for at, inside in _positions(rows))
    y = sum(xp.where(xp.asarray(inside), y[:, :, :, at], 0) for at, inside in _positions(columns))
    return (y / xp.asarray(divisors)).astype(x.dtype).reshape(out_shape)


def spread_windows(gy, out_shape, rows, columns, divisors):
    """The adjoint: every element of a window receives gy / divisor."""
    xp = namespace(gy)
    g = widened(gy)
    g = (g / xp.asarray(divisors)).astype(g.dtype)
    wide = xp.zeros((*gy.shape[:3], out_shape[3]), g.dtype)
    for at, inside in _positions(columns):
        xp.add.at(wide, (slice(None), slice(None), slice(None), at[inside]), g[:, :, :, inside])
    x = xp.zeros(out_shape, g.dtype)
    for at, inside in _positions(rows):
        xp.add.at(x, (slice(None), slice(None), at[inside]), wide[:, :, inside])
    return x.astype(gy.dtype)
