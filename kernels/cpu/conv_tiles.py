"""The compiled loops of conv_direct: tiles of images against blocks of outputs, multiplied in vector registers.

Outputs are filled up to whole blocks with weights of 0; sums for places between the end of an output row and the start of the
next are computed and dropped.
"""

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.gemm import SUMS, add_product, pack_strip
from minidl.kernels.cpu.im2col import inside
from minidl.kernels.cpu.instructions import BYTES
from minidl.kernels.cpu.moves import aligned, move, pick
from minidl.kernels.cpu.vector import DOTS, ROWS, VECTORS, dots, multiply

TILE = 1024  # places in a tile: their sums for a block of outputs fit the first-level cache
ROW = TILE + 128  # from one output's sums to the next: a multiple of 4096 bytes would collide in the cache
CHUNK = 256  # places that a weight gradient takes at once
FEW = 3 * DOTS[0]  # outputs for which it does not pack
SIDE = 12  # strips of taps that it takes at once


@jit
def pack_weights(start, stop, w, along_group, along_output, along_channel, places, outputs, channels, packed):
    """packed[block][tap][row] for blocks of ``ROWS`` outputs, numbered through all groups; a tap is a channel and one of
    ``places``. The weight is w[group along_group + output along_output + channel along_channel + place].
    """
    blocks = -(-outputs // ROWS)
    for item in range(start, stop):
        group, first = item // blocks * along_group, item % blocks * ROWS
        for r in range(min(ROWS, outputs - first)):
            output = group + (first + r) * along_output
            for c in range(channels):
                channel, tap = output + c * along_channel, c * places.size
                for k in range(places.size):
                    packed[item, tap + k, r] = w[channel + places[k]]


@jit
def correlate_tiles(start, stop, x, w, bias, y, shift, room, layout, size, first, step, floor):
    """Blocks of outputs, numbered through all tiles and groups; y is written from ``first`` on in steps of ``step``.

    x (N, G, C/G, H, W), w (blocks, taps, ROWS), bias (blocks ROWS), y (N, G, O/G, OH, OW)
    """
    groups, outputs, blocks, lanes = x.shape[1], y.shape[2], w.shape[0] // x.shape[1], BYTES // x.itemsize
    taps, weights, flat = w.shape[1], w.reshape(w.size), y.reshape(y.size)
    source = _zeros(room, x)
    sums = _zeros(ROWS * ROW + max(TILE, layout.width), x)
    loaded = -1
    for item in range(start, stop):
        tile, block = item // blocks // groups, item % (blocks * groups)
        g, o = block // blocks, block % blocks * ROWS
        n, row, column, images, rows, columns = locate(tile, layout, size, x.shape[0])
        if loaded != item // blocks:
            loaded = item // blocks
            if images < layout.images or rows < size[0] or columns < size[1]:
                source[:] = 0  # other tiles have their margins elsewhere
            for image in range(images):
                load_image(source, x[n + image, g], image, row, column, x.shape[3], x.shape[4], layout)
        vectors = _places(images, rows, columns, layout, lanes) // lanes
        for v in range(0, vectors, VECTORS):
            multiply(min(VECTORS, vectors - v), weights, block * taps * ROWS, ROWS, source, v * lanes, shift, lanes, taps, bias,
                     block * ROWS, sums, v * lanes, ROW, lanes, False, floor)
        for image in range(images):
            for u in range(min(ROWS, outputs - o)):
                store_image(flat, (((n + image) * groups + g) * outputs + o + u) * y.shape[3], y.shape[4], sums,
                            u * ROW + image * layout.width, row, column, rows, columns, layout, first, step)


@jit
def store_image(y, plane, width, sums, at, row, column, rows, columns, layout, first, step):
    """Rows of sums from place ``at`` on become rows of an output, of which ``plane`` rows lie before it."""
    for i in range(rows):
        source = at + i * layout.images * layout.width
        target = (plane + first[0] + (row + i) * step[0]) * width + first[1] + column * step[1]
        if step[1] == 1:
            move(sums, source, y, target, BYTES // y.itemsize, columns, sums.dtype.type(0), False)
        else:
            for j in range(columns):
                y[target + j * step[1]] = sums[source + j]


@jit
def weight_grad_tiles(start, stop, x, gy, gw, shift, room, layout, flat, tiles, block, steps):
    """Blocks of outputs, numbered through all parts of the tiles and groups; ``flat`` is the layout of gy.

    x (N, G, C/G, H, W), gy (N, G, O/G, OH, OW), gw (parts, G, O/G taps)
    """
    parts, groups, outputs, lanes = gw.shape[0], x.shape[1], gy.shape[2], BYTES // x.itemsize
    blocks, taps = -(-outputs // block), gw.shape[2] // outputs
    source, grads = _zeros(room, x), _zeros(-(-block // DOTS[0]) * DOTS[0] * layout.plane, x)
    a, b = aligned(-(-block // lanes) * lanes * CHUNK, x), aligned(SIDE * lanes * CHUNK, x)
    rows, spare = np.empty(-(-block // lanes) * lanes, np.int64), np.empty(SUMS + ROWS, x.dtype)
    for item in range(start, stop):
        part, g, first = item // blocks // groups, item // blocks % groups, item % blocks * block
        tall = min(block, outputs - first)
        for r in range(rows.size):
            rows[r] = min(r, tall - 1) * layout.plane
        begin = tiles * part // parts
        for tile in range(begin, tiles * (part + 1) // parts):
            n, row, column, images, height, width = locate(tile, layout, gy.shape[3:], x.shape[0])
            if images < layout.images or height < gy.shape[3] or width < gy.shape[4]:
                source[:] = 0  # other tiles have their margins elsewhere
                grads[:] = 0
            for image in range(images):
                load_image(source, x[n + image, g], image, row, column, x.shape[3], x.shape[4], layout)
                load_image(grads, gy[n + image, g, first : first + tall], image, row, column, row + height, column + width, flat)
            places = _places(images, height, width, layout, lanes)
            if outputs <= FEW:
                _add_dots(grads, layout.plane, tall, source, shift, places // lanes, gw[part, g], first, taps, tile > begin,
                          spare)
                continue
            for p in range(0, places, CHUNK):
                deep = min(CHUNK, places - p)
                for strip in range(-(-tall // lanes)):
                    pack_strip(grads, p, rows, strip * lanes, deep, a, strip * deep * lanes)
                for left in range(0, taps, SIDE * lanes):
                    wide = min(SIDE * lanes, taps - left)
                    for strip in range(-(-wide // lanes)):
                        pack_strip(source, p, shift, left + strip * lanes, deep, b, strip * deep * lanes)
                    add_product(a, 0, deep, tall, b, 0, deep, steps, deep, wide, gw[part, g], first * taps + left, taps,
                                tile > begin or p > 0, spare)


@jit
def _add_dots(grads, plane, rows, source, shift, vectors, gw, first, taps, add, spare):
    """Of so few outputs that filling whole strips would waste most of the work: dot products of their gradients with all taps."""
    for r in range(0, rows, DOTS[0]):
        for t in range(0, taps, DOTS[1]):
            dots(grads, r * plane, plane, source, 0, shift, t, vectors, spare, 0)
            for i in range(min(DOTS[0], rows - r)):
                for k in range(min(DOTS[1], taps - t)):
                    at, total = (first + r + i) * taps + t + k, spare[i * DOTS[1] + k]
                    gw[at] = gw[at] + total if add else total


@jit
def locate(tile, layout, size, total):
    """A tile's first image, output row and column, and how many of each it has."""
    down, across = -(-size[0] // layout.rows), -(-size[1] // layout.columns)
    n, row, column = tile // across // down * layout.images, tile // across % down * layout.rows, tile % across * layout.columns
    return n, row, column, min(layout.images, total - n), min(layout.rows, size[0] - row), min(layout.columns, size[1] - column)


@jit
def load_image(target, x, image, row, column, bottom, right, layout):
    """Lay out the wanted phases of an image's channels from (row, column) on, as far as ``bottom`` and ``right``."""
    (sh, sw), (ph, pw), (down, across) = layout.stride, layout.padding, layout.phases
    flat = x.reshape(x.size)
    for c in range(x.shape[0]):
        for phase in range(down * across):
            top, end = inside(row * sh + phase // across - ph, sh, bottom, layout.height)
            left, stop = inside(column * sw + phase % across - pw, sw, right, layout.width)
            i, j = (row + top) * sh + phase // across - ph, max(0, (column + left) * sw + phase % across - pw)
            at = (c * down * across + phase) * layout.plane + (top * layout.images + image) * layout.width + left
            if stop > left:
                pick(flat, (c * x.shape[1] + i) * x.shape[2] + j, sh * x.shape[2], sw, target, at, layout.images * layout.width,
                     end - top, stop - left)


@jit
def _places(images, rows, columns, layout, lanes):
    """How many places a tile takes, in whole vectors."""
    places = ((rows - 1) * layout.images + images - 1) * layout.width + columns
    return (places + lanes - 1) // lanes * lanes


@jit
def _zeros(size, like):
    """``aligned`` zeros."""
    array = aligned(size, like)
    array[:] = 0
    return array
