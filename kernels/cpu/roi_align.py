"""Sampling of regions of interest: y = A x Bᵀ with the few weights of each bin's row and column, which all channels share. Rows
of pixels are added up by vectors before columns are looked at. Back, threads share the channels, as in ``roi_pool``.
"""

from typing import NamedTuple

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.moves import part
from minidl.kernels.cpu.threads import split


class Weights(NamedTuple):
    """For bin b of a region the places that get weight, places[b, :counts[b]], and how much, weights[b, :counts[b]]."""

    places: np.ndarray
    weights: np.ndarray
    counts: np.ndarray
    axis: np.ndarray  # room for one number for each place, zeros in between


def roi_align(x, out_shape, rows, columns, images):
    """As the portable kernel."""
    x, y = ready(x), np.empty(out_shape, x.dtype)
    split(_sample, len(images), y.size * 16, x.reshape(-1), x.shape, *ready(*rows, *columns, images), y)
    return y


def roi_align_adjoint(gy, out_shape, rows, columns, images):
    """As the portable kernel."""
    gy, gx = ready(gy), np.zeros(out_shape, gy.dtype)
    split(_spread, out_shape[1], gy.size * 16, gx.reshape(-1), gx.shape, *ready(*rows, *columns, images), gy)
    return gx


@jit
def _sample(start, stop, x, shape, y_starts, y_steps, y_counts, x_starts, x_steps, x_counts, images, y):
    _, channels, height, width = shape
    down, across = _room(y.shape[2], height, x), _room(y.shape[3], width, x)
    line = np.empty(width, x.dtype)
    for k in range(start, stop):
        _weigh(y_starts[k], y_steps[k], y_counts[k], down)
        left, right = _weigh(x_starts[k], x_steps[k], x_counts[k], across)
        for c in range(channels):
            plane = part(x, (images[k] * channels + c) * height * width, height * width)
            for i in range(y.shape[2]):
                line[left:right] = 0
                for e in range(down.counts[i]):
                    _add(down.weights[i, e], plane[down.places[i, e] * width + left :], line[left:], right - left)
                for j in range(y.shape[3]):
                    total = x.dtype.type(0)
                    for e in range(across.counts[j]):
                        total += across.weights[j, e] * line[across.places[j, e]]
                    y[k, c, i, j] = total


@jit
def _spread(start, stop, gx, shape, y_starts, y_steps, y_counts, x_starts, x_steps, x_counts, images, gy):
    _, channels, height, width = shape
    down, across = _room(gy.shape[2], height, gx), _room(gy.shape[3], width, gx)
    line = np.empty(width, gx.dtype)
    for k in range(images.size):
        _weigh(y_starts[k], y_steps[k], y_counts[k], down)
        left, right = _weigh(x_starts[k], x_steps[k], x_counts[k], across)
        for c in range(start, stop):
            plane = part(gx, (images[k] * channels + c) * height * width, height * width)
            for i in range(gy.shape[2]):
                line[left:right] = 0
                for j in range(gy.shape[3]):
                    for e in range(across.counts[j]):
                        line[across.places[j, e]] += across.weights[j, e] * gy[k, c, i, j]
                for e in range(down.counts[i]):
                    _add(down.weights[i, e], line[left:], plane[down.places[i, e] * width + left :], right - left)


@jit
def _room(bins, size, like):
    """Weights for so many bins along an axis of this size, to be filled."""
    return Weights(np.empty((bins, size), np.int64), np.empty((bins, size), like.dtype), np.empty(bins, np.int64),
                   np.zeros(size, like.dtype))


@jit
def _weigh(start, step, count, found):
    """Find the weights of one region along one axis. Returns the first place with weight and the one behind the last."""
    axis, size = found.axis, found.axis.size
    first, last = size, 0
    for b in range(found.counts.size):
        low, high, used = size, 0, 0
        for s in range(count):
            at = start + b * step + (s + 0.5) * step / count
            if -1 <= at <= size:
                at = min(max(at, 0), size - 1)
                place = int(at)
                share = at - place
                axis[place] += (1 - share) / count
                if share > 0:
                    axis[place + 1] += share / count
                low, high = min(low, place), max(high, place + 1 + (share > 0))
        for place in range(low, high):
            if axis[place] != 0:
                found.places[b, used], found.weights[b, used] = place, axis[place]
                axis[place] = 0
                used += 1
        found.counts[b] = used
        first, last = min(first, low), max(last, high)
    return min(first, last), last


@jit
def _add(factor, source, target, count):
    """target += factor source, ``count`` numbers."""
    for i in range(count):
        target[i] += factor * source[i]
