"""Pooling, image by image: the loops of the portable kernels' docstrings, on all threads."""

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split


def max_windows(x, rows, columns):
    """As the portable kernel."""
    x = ready(x)
    planes = x.shape[0] * x.shape[1]
    values = np.empty((planes, len(rows.starts), len(columns.starts)), x.dtype)
    winners = np.empty(values.shape, np.int64)
    split(_max, planes, 2 * x.size, x.reshape(planes, *x.shape[2:]), values, winners, rows.starts, rows.stops, rows.step,
          columns.starts, columns.stops, columns.step)
    shape = (*x.shape[:2], *values.shape[1:])
    return values.reshape(shape), winners.reshape(shape)


@jit
def _max(start, stop, x, values, winners, h_starts, h_stops, h_step, w_starts, w_stops, w_step):
    width = x.shape[2]
    for plane in range(start, stop):
        for i in range(values.shape[1]):
            first = h_starts[i]
            rows = (h_stops[i] - first + h_step - 1) // h_step
            for j in range(values.shape[2]):
                left = w_starts[j]
                columns = (w_stops[j] - left + w_step - 1) // w_step
                best = x[plane, first, left]
                place = first * width + left
                for a in range(rows):
                    h = first + a * h_step
                    for b in range(columns):
                        w = left + b * w_step
                        value = x[plane, h, w]
                        # not (value <= best) is true for a NaN value; a NaN already found stays. Selected without a
                        # branch, which would be mispredicted every other time.
                        better = (not (value <= best)) & (best == best)
                        best = value if better else best
                        place = h * width + w if better else place
                values[plane, i, j] = best
                winners[plane, i, j] = place


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
