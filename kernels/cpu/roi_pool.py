"""Pooling of regions of interest into bins of whole pixels, region by region, and back channel by channel: no two threads write
to one place, and sums are in the order of the regions whatever the number of threads.

Bins are small: a vector along a row would hardly be filled. For maxima it is filled by channels instead, so the pixels of a
region are transposed, a few channels at a time.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.instructions import BYTES, WORD, fill, lanes_of, load_vector, pointer_to, store_vector
from minidl.kernels.cpu.moves import aligned, into_lanes
from minidl.kernels.cpu.threads import split


def roi_pool(x, rows, columns, images):
    """As the portable kernel."""
    x, values = ready(x), np.empty((len(images), x.shape[1], rows.starts.shape[1], columns.starts.shape[1]), x.dtype)
    winners, bins = np.empty(values.shape, np.int64), (rows, columns, images)
    split(_largest, len(images), values.size * 8, x.reshape(-1), x.shape, *_ready(*bins), _flat(values), _flat(winners))
    return values, winners


def _ready(rows, columns, images):
    return ready(*rows, *columns, images)


@jit
def _largest(start, stop, x, shape, tops, bottoms, lefts, rights, images, values, winners):
    _, channels, height, width = shape
    lanes, across = BYTES // x.itemsize, lefts.shape[1]
    region, best = aligned(height * width * lanes, x), aligned(values.shape[2] * lanes, x)
    places, planes = np.empty(best.size, np.int32), np.empty(lanes, np.int64)
    for k in range(start, stop):
        top, bottom, left, right = tops[k].min(), bottoms[k].max(), lefts[k].min(), rights[k].max()
        line = (right - left) * lanes
        for c in range(0, channels, lanes):
            for lane in range(lanes):
                planes[lane] = (images[k] * channels + min(c + lane, channels - 1)) * height * width
            _transpose(x, planes, top, bottom, left, right, width, region)
            for p in range(values.shape[2]):
                i, j = p // across, p % across
                rows, columns = bottoms[k, i] - tops[k, i], rights[k, j] - lefts[k, j]
                if rows > 0 and columns > 0:
                    first = (tops[k, i] - top) * line + (lefts[k, j] - left) * lanes
                    place = tops[k, i] * width + lefts[k, j]
                    _largest_of_window(region, first, line, rows, columns, place, width, best, p * lanes, places, p * lanes)
                else:
                    best[p * lanes : (p + 1) * lanes], places[p * lanes : (p + 1) * lanes] = 0, -1
            for lane in range(min(lanes, channels - c)):
                for p in range(values.shape[2]):
                    values[k, c + lane, p], winners[k, c + lane, p] = best[p * lanes + lane], places[p * lanes + lane]


@jit
def _transpose(x, planes, top, bottom, left, right, width, region):
    """Copy a region of some planes, pixel by pixel: each is a vector with a lane for each plane."""
    lanes = planes.size
    for h in range(top, bottom):
        for w in range(left, right, lanes):
            at = ((h - top) * (right - left) + w - left) * lanes
            into_lanes(x, h * width + w, planes, 0, min(lanes, right - w), region, at)


@intrinsic
def _largest_of_window(typing, source, at, line, rows, columns, place, width, best, b_at, places, p_at):
    """The maxima of a window of vectors, lane by lane, and the places of the first of them, int32; NaN is larger than any number.

    The window begins at ``at``, its rows are ``line`` apart. Its first vector has the place ``place``, and that below it the
    place ``place + width``.
    """
    signature = types.void(source, *[types.intp] * 6, best, types.intp, places, types.intp)

    def code(context, builder, signature, args):
        source, best, places = (pointer_to(context, builder, signature, args, index) for index in (0, 7, 9))
        _, _, line, rows, columns, place, width = args[:7]
        vector, number = (ir.VectorType(kind, lanes_of(source)) for kind in (source.type.pointee, ir.IntType(32)))
        largest = cgutils.alloca_once_value(builder, load_vector(builder, source, vector.count))
        winner = cgutils.alloca_once_value(builder, fill(builder, number, builder.trunc(place, ir.IntType(32))))
        with cgutils.for_range(builder, rows) as row, cgutils.for_range(builder, columns) as column:
            here = builder.add(builder.mul(row.index, line), builder.mul(column.index, WORD(vector.count)))
            there = builder.add(place, builder.add(builder.mul(row.index, width), column.index))
            value, before = load_vector(builder, builder.gep(source, [here]), vector.count), builder.load(largest)
            better = builder.and_(builder.fcmp_unordered(">", value, before), builder.fcmp_ordered("ord", before, before))
            there = fill(builder, number, builder.trunc(there, ir.IntType(32)))
            builder.store(builder.select(better, value, before), largest)
            builder.store(builder.select(better, there, builder.load(winner)), winner)
        store_vector(builder, builder.load(largest), best)
        store_vector(builder, builder.load(winner), places)
        return context.get_dummy_value()

    return signature, code


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
