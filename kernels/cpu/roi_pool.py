"""Pooling of regions of interest into bins of whole pixels, region by region, and back channel by channel: no two threads write
to one place, and sums are in the order of the regions whatever the number of threads.
"""

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.moves import part
from minidl.kernels.cpu.threads import split


def roi_pool(x, rows, columns, images):
    """As the portable kernel."""
    x, values = ready(x), np.empty((len(images), x.shape[1], rows.starts.shape[1], columns.starts.shape[1]), x.dtype)
    winners = np.empty(values.shape, np.int64)
    split(_largest, len(images), values.size * 8, x.reshape(-1), x.shape, *_ready(rows, columns, images), values, winners)
    return values, winners


def _ready(rows, columns, images):
    return ready(*rows, *columns, images)


@jit
def _largest(start, stop, x, shape, tops, bottoms, lefts, rights, images, values, winners):
    _, channels, height, width = shape
    for k in range(start, stop):
        for c in range(channels):
            plane = part(x, (images[k] * channels + c) * height * width, height * width)
            for i in range(values.shape[2]):
                for j in range(values.shape[3]):
                    values[k, c, i, j], winners[k, c, i, j] = _search(
                        plane, width, tops[k, i], bottoms[k, i], lefts[k, j], rights[k, j])


@jit
def _search(plane, width, top, bottom, left, right):
    """The first maximum of a window and its place; 0 and -1 if the window is empty. A NaN, of which there is hardly ever one, is
    larger than any number. Numbers are chosen without branches, which nobody could foresee.
    """
    if top >= bottom or left >= right:
        return plane.dtype.type(0), -1
    place, nans = top * width + left, 0
    best = plane[place]
    for first in range(place, bottom * width + left, width):
        for at in range(first, first + right - left):
            value = plane[at]
            larger = value > best
            best = value if larger else best
            place = at if larger else place
            nans += value != value
    if nans:
        for first in range(top * width + left, bottom * width + left, width):
            for at in range(first, first + right - left):
                if plane[at] != plane[at]:
                    return plane[at], at
    return best, place


def take_roi_winners(x, out_shape, winners, rows, columns, images):
    """As the portable kernel."""
    x, winners, images = ready(x, winners, images)
    y = np.empty(out_shape, x.dtype)
    split(_take, len(images), y.size, _flat(x), _flat(winners), images, _flat(y))
    return y


def _flat(x):
    """(N, C, H, W) as (N, C, H W)."""
    return x.reshape(*x.shape[:2], x.shape[2] * x.shape[3])


@jit
def _take(start, stop, x, winners, images, y):
    for k in range(start, stop):
        for c in range(x.shape[1]):
            for p in range(y.shape[2]):
                place = winners[k, c, p]
                y[k, c, p] = x[images[k], c, place] if place >= 0 else 0


def add_roi_winners(gy, out_shape, winners, rows, columns, images):
    """As the portable kernel."""
    gy, winners, images = ready(gy, winners, images)
    gx = np.empty(out_shape, gy.dtype)
    split(_add, out_shape[1], gy.size + gx.size, _flat(gy), _flat(winners), images, _flat(gx))
    return gx


@jit
def _add(start, stop, gy, winners, images, gx):
    gx[:, start:stop] = 0
    for k in range(images.size):
        for c in range(start, stop):
            for p in range(gy.shape[2]):
                place = winners[k, c, p]
                if place >= 0:
                    gx[images[k], c, place] += gy[k, c, p]


def ps_roi_pool(x, out_shape, rows, columns, images):
    """As the portable kernel."""
    x, y = ready(x), np.empty(out_shape, x.dtype)
    split(_mean, len(images), y.size * 8, x, *_ready(rows, columns, images), y)
    return y


@jit
def _mean(start, stop, x, tops, bottoms, lefts, rights, images, y):
    for k in range(start, stop):
        for c in range(y.shape[1]):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    plane = x[images[k], (c * y.shape[2] + i) * y.shape[3] + j]
                    total = x.dtype.type(0)
                    for h in range(tops[k, i], bottoms[k, i]):
                        for w in range(lefts[k, j], rights[k, j]):
                            total += plane[h, w]
                    area = max(bottoms[k, i] - tops[k, i], 0) * max(rights[k, j] - lefts[k, j], 0)
                    y[k, c, i, j] = total / max(area, 1)


def ps_roi_pool_adjoint(gy, out_shape, rows, columns, images):
    """As the portable kernel."""
    gy, gx = ready(gy), np.empty(out_shape, gy.dtype)
    split(_spread, gy.shape[1], gy.size * 8 + gx.size, gy, *_ready(rows, columns, images), gx)
    return gx


@jit
def _spread(start, stop, gy, tops, bottoms, lefts, rights, images, gx):
    bins = gy.shape[2] * gy.shape[3]
    gx[:, start * bins : stop * bins] = 0
    for k in range(images.size):
        for c in range(start, stop):
            for i in range(gy.shape[2]):
                for j in range(gy.shape[3]):
                    plane = gx[images[k], (c * gy.shape[2] + i) * gy.shape[3] + j]
                    share = gy[k, c, i, j] / max((bottoms[k, i] - tops[k, i]) * (rights[k, j] - lefts[k, j]), 1)
                    for h in range(tops[k, i], bottoms[k, i]):
                        for w in range(lefts[k, j], rights[k, j]):
                            plane[h, w] += share
