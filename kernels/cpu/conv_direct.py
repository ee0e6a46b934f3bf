"""Convolution of stride 1 without a column matrix: a sum of shifted images.

Laid out in memory with its padding, an image is one long row of pixels, and what position (a, k) of the window reads is that
same row, shifted by ``a * dh * width + k * dw``:

    y[o, p] = sum over taps t of w[o, t] * source[shift[t] + p]         t = (c, a, k), p = i * width + j

Every p is independent of the others, so the loops over p run in vector registers, four outputs and five taps at a time: each
value loaded is used four times. The right margin of a row is the left margin of the next. Outputs and taps are filled up to
whole blocks with weights of 0, and the extra taps read zeros; places p between the end of an output row and the start of the
next are computed and dropped.
"""

import functools
import math

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.threads import split
from minidl.kernels.shapes import windows

TILE = 1024  # pixels worked on at a time: their sums for four outputs fit the first-level cache
ROW = TILE + 128  # from one output's sums to the next: not a multiple of 4096 bytes, which would collide in the cache
LANES = 16  # tiles are rounded up to whole vectors; the compiler needs to see it, as in range(vectors * LANES)
OUTPUTS, TAPS = 4, 5
PARTS = 16  # images are summed in this many parts, whatever the number of threads: the same bits on every machine


def fits(x_shape, w_shape, geometry):
    """Whether these kernels can do the convolution: stride 1, and rows that fit a tile."""
    return geometry.stride == (1, 1) and x_shape[3] + 2 * geometry.padding[1] + geometry.dilation[1] * w_shape[3] <= TILE


def conv2d(x, w, b, geometry):
    """As the portable kernel, for stride 1."""
    groups = geometry.groups
    y = np.empty((len(x), len(w), *windows(x.shape[2:], w.shape[2:], geometry)), x.dtype)
    b = np.zeros(len(w), x.dtype) if b is None else b
    _correlate(_grouped(x, groups), w.reshape(groups, len(w) // groups, *w.shape[1:]), b, _grouped(y, groups), geometry)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel, for stride 1: gy, padded, is convolved with the kernels turned by 180 degrees."""
    groups = geometry.groups
    gx = np.empty(x_shape, gy.dtype)
    turned = w.reshape(groups, len(w) // groups, *w.shape[1:]).swapaxes(1, 2)[..., ::-1, ::-1]
    padding = tuple(d * (k - 1) - p for d, k, p in zip(geometry.dilation, w.shape[2:], geometry.padding, strict=True))
    b = np.zeros(x_shape[1], gy.dtype)
    _correlate(_grouped(gy, groups), turned, b, _grouped(gx, groups), geometry._replace(padding=padding))
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel, for stride 1: the gradient of w[o, t] is the dot product of gy[o] and the image shifted by t."""
    gy, x = _grouped(gy, geometry.groups), _grouped(x, geometry.groups)
    n, groups, o, oh, ow = gy.shape
    top, left = geometry.padding
    width = max(x.shape[4] + left, ow)
    overhang = geometry.dilation[0] * (w_shape[2] - 1)
    rows = min(oh, TILE // width)
    pitch = (rows + overhang) * width  # from one image to the next
    images = max(1, min(n, TILE // pitch)) if rows == oh else 1
    shift = _shifts(w_shape[1:], geometry.dilation, images * pitch, width)
    parts = min(n, PARTS)
    sums = np.zeros((parts, groups, _whole(o, OUTPUTS), len(shift)), x.dtype)
    split(_weight_grad_parts, parts * groups, n * groups * o * len(shift) * oh * ow,
          x, gy, sums, shift, images, rows, pitch, width, top, left)
    gw = np.empty(w_shape, x.dtype)
    taps = math.prod(w_shape[1:])
    np.sum(sums[:, :, :o, :taps], axis=0, out=gw.reshape(groups, o, taps))
    return gw


def _grouped(x, groups):
    """(N, C, H, W) -> (N, G, C/G, H, W)"""
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w)


def _whole(count, block):
    """Rounded up to whole blocks."""
    return -(-count // block) * block


@functools.lru_cache
def _shifts(window, dilation, pitch, width):
    """For each tap (c, a, k) how far from its output's place it reads; the extra taps read behind the last channel."""
    c, a, k = np.ogrid[tuple(slice(size) for size in window)]
    taps = c * pitch + a * (dilation[0] * width) + k * dilation[1]
    shifts = np.full(_whole(taps.size, TAPS), window[0] * pitch + width)
    shifts[: taps.size] = taps.ravel()
    return shifts


def _correlate(x, w, b, y, geometry):
    """y (N, G, O/G, OH, OW) = x (N, G, C/G, H, W) correlated with w (G, O/G, C/G, KH, KW), plus b (O,)."""
    n, groups, o, oh, ow = y.shape
    top, left = geometry.padding
    width = max(x.shape[4] + left, ow)
    tiles = -(-oh // (TILE // width))
    rows = -(-oh // tiles)
    pitch = (rows + geometry.dilation[0] * (w.shape[3] - 1)) * width  # from one channel to the next
    shift = _shifts(w.shape[2:], geometry.dilation, pitch, width)
    weights = np.zeros((groups, _whole(o, OUTPUTS), len(shift)), x.dtype)
    weights[:, :o, : math.prod(w.shape[2:])] = w.reshape(groups, o, math.prod(w.shape[2:]))
    bias = np.zeros((groups, _whole(o, OUTPUTS)), x.dtype)
    bias[:, :o] = b.reshape(groups, o)
    split(_correlate_tiles, n * groups * tiles, n * groups * o * len(shift) * oh * ow,
          x, weights, bias, y, shift, rows, pitch, width, top, left)


@jit
def _correlate_tiles(start, stop, x, w, b, y, shift, rows, pitch, width, top, left):
    """Tiles of ``rows`` output rows, numbered through all images and groups."""
    groups, channels = x.shape[1], x.shape[2]
    outputs, oh, ow = y.shape[2], y.shape[3], y.shape[4]
    tiles = -(-oh // rows)
    source = _zeros(channels * pitch + width + TILE + LANES, x)
    sums = _zeros(OUTPUTS * ROW, x)
    for item in range(start, stop):
        n, g, first = item // tiles // groups, item // tiles % groups, item % tiles * rows
        count = min(rows, oh - first)
        _load(source, x[n, g], first - top, left, pitch, width, pitch // width)
        vectors = ((count - 1) * width + ow + LANES - 1) // LANES
        for o in range(0, outputs, OUTPUTS):
            for u in range(OUTPUTS):
                for p in range(vectors * LANES):
                    sums[u * ROW + p] = b[g, o + u]
            _add_taps(sums, source, shift, w[g, o : o + OUTPUTS], vectors)
            for u in range(min(OUTPUTS, outputs - o)):
                lines = sums[u * ROW : u * ROW + count * width].reshape(count, width)
                for i in range(count):
                    for j in range(ow):
                        y[n, g, o + u, first + i, j] = lines[i, j]


@jit
def _add_taps(sums, source, shift, w, vectors):
    """Add all taps, five at a time, to the sums of four outputs."""
    for t in range(0, shift.size, TAPS):
        s0, s1, s2, s3, s4 = (source[shift[t] :], source[shift[t + 1] :], source[shift[t + 2] :], source[shift[t + 3] :],
                              source[shift[t + 4] :])
        a0, a1, a2, a3, a4 = w[0, t], w[0, t + 1], w[0, t + 2], w[0, t + 3], w[0, t + 4]
        b0, b1, b2, b3, b4 = w[1, t], w[1, t + 1], w[1, t + 2], w[1, t + 3], w[1, t + 4]
        c0, c1, c2, c3, c4 = w[2, t], w[2, t + 1], w[2, t + 2], w[2, t + 3], w[2, t + 4]
        d0, d1, d2, d3, d4 = w[3, t], w[3, t + 1], w[3, t + 2], w[3, t + 3], w[3, t + 4]
        for p in range(vectors * LANES):
            x0, x1, x2, x3, x4 = s0[p], s1[p], s2[p], s3[p], s4[p]
            sums[p] += a0 * x0 + a1 * x1 + a2 * x2 + a3 * x3 + a4 * x4
            sums[p + ROW] += b0 * x0 + b1 * x1 + b2 * x2 + b3 * x3 + b4 * x4
            sums[p + 2 * ROW] += c0 * x0 + c1 * x1 + c2 * x2 + c3 * x3 + c4 * x4
            sums[p + 3 * ROW] += d0 * x0 + d1 * x1 + d2 * x2 + d3 * x3 + d4 * x4


@jit
def _weight_grad_parts(start, stop, x, gy, gw, shift, images, rows, pitch, width, top, left):
    """Parts of the batch, each for all groups: several images or, of large ones, ``rows`` rows at a time."""
    total, groups, channels = x.shape[0], x.shape[1], x.shape[2]
    outputs, oh, ow = gy.shape[2], gy.shape[3], gy.shape[4]
    parts, block = gw.shape[0], images * pitch
    source = _zeros((channels + 1) * block + width + LANES, x)
    grads = _zeros(gw.shape[2] * block + LANES, x)  # places beside and between the images stay 0
    for item in range(start, stop):
        part, g = item // groups, item % groups
        last = total * (part + 1) // parts
        for n in range(total * part // parts, last, images):
            batch = min(images, last - n)
            if batch < images:
                grads[:] = 0
            for first in range(0, oh, rows):
                for image in range(batch):
                    _load(source[image * pitch :], x[n + image, g], first - top, left, block, width, pitch // width)
                    _load(grads[image * pitch :], gy[n + image, g], first, 0, block, width, rows)
                vectors = ((batch - 1) * pitch + (rows - 1) * width + ow + LANES - 1) // LANES
                for o in range(0, outputs, OUTPUTS):
                    _add_dots(gw[part, g, o : o + OUTPUTS], grads[o * block :], block, source, shift, vectors)


@jit
def _add_dots(gw, grads, pitch, source, shift, vectors):
    """Dot products of four outputs' gradients with all shifted images, five at a time."""
    ga, gb, gc, gd = grads, grads[pitch:], grads[2 * pitch :], grads[3 * pitch :]
    for t in range(0, shift.size, TAPS):
        s0, s1, s2, s3, s4 = (source[shift[t] :], source[shift[t + 1] :], source[shift[t + 2] :], source[shift[t + 3] :],
                              source[shift[t + 4] :])
        a0 = a1 = a2 = a3 = a4 = b0 = b1 = b2 = b3 = b4 = gw.dtype.type(0)
        c0 = c1 = c2 = c3 = c4 = d0 = d1 = d2 = d3 = d4 = gw.dtype.type(0)
        for p in range(vectors * LANES):
            x0, x1, x2, x3, x4 = s0[p], s1[p], s2[p], s3[p], s4[p]
            a, b, c, d = ga[p], gb[p], gc[p], gd[p]
            a0, a1, a2, a3, a4 = a0 + a * x0, a1 + a * x1, a2 + a * x2, a3 + a * x3, a4 + a * x4
            b0, b1, b2, b3, b4 = b0 + b * x0, b1 + b * x1, b2 + b * x2, b3 + b * x3, b4 + b * x4
            c0, c1, c2, c3, c4 = c0 + c * x0, c1 + c * x1, c2 + c * x2, c3 + c * x3, c4 + c * x4
            d0, d1, d2, d3, d4 = d0 + d * x0, d1 + d * x1, d2 + d * x2, d3 + d * x3, d4 + d * x4
        for column, (a, b, c, d) in enumerate(((a0, b0, c0, d0), (a1, b1, c1, d1), (a2, b2, c2, d2), (a3, b3, c3, d3),
                                               (a4, b4, c4, d4))):
            gw[0, t + column] += a
            gw[1, t + column] += b
            gw[2, t + column] += c
            gw[3, t + column] += d


@jit
def _zeros(size, like):
    """An array of zeros that starts on a cache line (64 bytes)."""
    array = np.zeros(size + LANES, like.dtype)
    return array[-array.ctypes.data % 64 // array.itemsize :][:size]


@jit
def _load(target, image, first, left, pitch, width, rows):
    """Rows of each channel, ``first`` and following, into rows of ``width`` with a margin of ``left``; outside they are 0."""
    channels, h, w = image.shape
    margin, crop = max(0, left), max(0, -left)
    for c in range(channels):
        lines = target[c * pitch + margin : c * pitch + margin + rows * width].reshape(rows, width)
        for row in range(rows):
            if 0 <= first + row < h:
                for j in range(w - 2 * crop):
                    lines[row, j] = image[c, first + row, j + crop]
            else:
                for j in range(width):
                    lines[row, j] = 0
