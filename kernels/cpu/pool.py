"""Pooling, image by image: the loops of the portable kernels' docstrings, on all threads."""

from typing import NamedTuple

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split

TILE = 2048  # places of an image whose maxima are found together: a few arrays of them fit the first-level cache


class Even(NamedTuple):
    """Along one axis, the windows ``first`` to ``last - 1``: all of ``length`` positions in steps of ``step``, each begins
    ``stride`` behind the one before it.
    """

    first: int
    last: int
    stride: int
    length: int
    step: int


def max_windows(x, rows, columns):
    """As the portable kernel."""
    x = ready(x)
    planes = x.shape[0] * x.shape[1]
    values = np.empty((planes, len(rows.starts), len(columns.starts)), x.dtype)
    winners = np.empty(values.shape, np.int64)
    split(_max, planes, 2 * x.size, x.reshape(planes, *x.shape[2:]), values, winners, rows.starts, rows.stops, _even(rows),
          columns.starts, columns.stops, _even(columns))
    shape = (*x.shape[:2], *values.shape[1:])
    return values.reshape(shape), winners.reshape(shape)


def _even(windows):
    """The first run of windows that neither padding nor overhang cut."""
    starts, lengths = windows.starts.tolist(), (windows.stops - windows.starts).tolist()
    longest = max(lengths, default=1)
    first = lengths.index(longest) if lengths else 0
    last, stride = min(first + 1, len(starts)), 1
    if last < len(starts):
        stride = max(1, starts[last] - starts[first])
    while last < len(starts) and lengths[last] == longest and starts[last] - starts[last - 1] == stride:
        last += 1
    return Even(first, last, stride, -(-longest // windows.step), windows.step)


@jit
def _max(start, stop, x, values, winners, h_starts, h_stops, rows, w_starts, w_stops, columns):
    width, count = x.shape[2], columns.last - columns.first
    block = max(1, TILE // (rows.stride * width))
    room = ((block - 1) * rows.stride + (rows.length - 1) * rows.step + 1) * width
    index = np.arange(room).astype(np.int32)
    tall, tall_at = np.empty(room, x.dtype), np.empty(room, np.int32)
    best, best_at = np.empty(room, x.dtype), np.empty(room, np.int32)
    for plane in range(start, stop):
        for i in range(values.shape[1]):
            for j in range(values.shape[2]):
                if not (rows.first <= i < rows.last and columns.first <= j < columns.last):
                    values[plane, i, j], winners[plane, i, j] = _search(x[plane], h_starts[i], h_stops[i], rows.step, w_starts[j],
                                                                        w_stops[j], columns.step)
        pixels = x[plane].reshape(x.shape[1] * width)
        for i in range(rows.first, rows.last, block):
            lines = min(block, rows.last - i)
            origin = h_starts[i] * width + w_starts[columns.first]
            places = (lines - 1) * rows.stride * width + (count - 1) * columns.stride + 1
            wide = places + (columns.length - 1) * columns.step
            _slide(tall, tall_at, pixels[origin:], index, wide, rows.length, rows.step * width)
            _slide(best, best_at, tall, tall_at, places, columns.length, columns.step)
            for line in range(lines):
                first = line * rows.stride * width
                y, at = values[plane, i + line, columns.first :], winners[plane, i + line, columns.first :]
                source, source_at = best[first:], best_at[first:]
                for j in range(count):
                    y[j] = source[j * columns.stride]
                    at[j] = source_at[j * columns.stride] + origin


@jit
def _slide(best, best_at, x, at, places, length, step):
    """best[p] = maximum of x[p], x[p + step], ... (``length`` of them), and best_at[p] its ``at``: all places side by side, in
    vector registers.
    """
    for p in range(places):
        best[p], best_at[p] = x[p], at[p]
    for a in range(1, length):
        shifted, shifted_at = x[a * step :], at[a * step :]
        for p in range(places):
            value, place, old, old_place = shifted[p], shifted_at[p], best[p], best_at[p]
            # not (value <= old) is true for a NaN value; a NaN already found stays
            larger = (not (value <= old)) & (old == old)
            same = (value == old) | ((value != value) & (old != old))
            better = larger | (same & (place < old_place))
            best[p] = value if better else old
            best_at[p] = place if better else old_place


@jit
def _search(x, top, bottom, h_step, left, right, w_step):
    """The maximum of one window and its place, position by position."""
    best, place = x[top, left], top * x.shape[1] + left
    for h in range(top, bottom, h_step):
        for w in range(left, right, w_step):
            if not (x[h, w] <= best) and best == best:
                best, place = x[h, w], h * x.shape[1] + w
    return best, place


def take_winners(x, out_shape, winners):
    """As the portable kernel."""
    x, winners = ready(x, winners)
    y = np.empty(out_shape, x.dtype)
    planes = x.shape[0] * x.shape[1]
    split(_take, planes, y.size, _flat(x), _flat(winners), _flat(y))
    return y


@jit
def _take(start, stop, x, winners, y):
    for plane in range(start, stop):
        for i in range(winners.shape[1]):
            y[plane, i] = x[plane, winners[plane, i]]


def add_winners(gy, out_shape, winners):
    """As the portable kernel."""
    gy, winners = ready(gy, winners)
    gx = np.empty(out_shape, gy.dtype)
    planes = gy.shape[0] * gy.shape[1]
    split(_add, planes, gx.size, _flat(gy), _flat(winners), _flat(gx))
    return gx


@jit
def _add(start, stop, gy, winners, gx):
    for plane in range(start, stop):
        gx[plane] = 0
        for i in range(winners.shape[1]):
            gx[plane, winners[plane, i]] += gy[plane, i]


def _flat(x):
    """(N, C, H, W) as (N C, H W)."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2] * x.shape[3])


def mean_windows(x, out_shape, rows, columns, divisors):
    """As the portable kernel."""
    x = ready(x)
    y = np.empty(out_shape, x.dtype)
    planes = x.shape[0] * x.shape[1]
    split(_mean, planes, x.size, x.reshape(planes, *x.shape[2:]), y.reshape(planes, *y.shape[2:]), rows.starts, rows.stops,
          columns.starts, columns.stops, 1 / divisors)
    return y


@jit
def _mean(start, stop, x, y, h_starts, h_stops, w_starts, w_stops, scales):
    for plane in range(start, stop):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                total = x.dtype.type(0)
                for h in range(h_starts[i], h_stops[i]):
                    for w in range(w_starts[j], w_stops[j]):
                        total += x[plane, h, w]
                y[plane, i, j] = total * scales[i, j]


def spread_windows(gy, out_shape, rows, columns, divisors):
    """As the portable kernel."""
    gy = ready(gy)
    gx = np.empty(out_shape, gy.dtype)
    planes = gy.shape[0] * gy.shape[1]
    split(_spread, planes, gx.size, gy.reshape(planes, *gy.shape[2:]), gx.reshape(planes, *gx.shape[2:]), rows.starts,
          rows.stops, columns.starts, columns.stops, 1 / divisors)
    return gx


@jit
def _spread(start, stop, gy, gx, h_starts, h_stops, w_starts, w_stops, scales):
    for plane in range(start, stop):
        gx[plane] = 0
        for i in range(gy.shape[1]):
            for j in range(gy.shape[2]):
                share = gy[plane, i, j] * scales[i, j]
                for h in range(h_starts[i], h_stops[i]):
                    for w in range(w_starts[j], w_stops[j]):
                        gx[plane, h, w] += share
