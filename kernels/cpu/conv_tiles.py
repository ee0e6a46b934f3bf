"""The compiled loops of conv_direct: tiles of images, four outputs and five taps at a time.

Each value loaded is used for four outputs, and twenty products are added per pass over a tile: enough to keep the arithmetic
units busy from the first-level cache. Outputs and taps are filled up to whole blocks with weights of 0, and the extra taps read
zeros; sums for places between the end of an output row and the start of the next are computed and dropped.
"""

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.im2col import inside

TILE = 1024  # places in a tile: their sums for four outputs fit the first-level cache
ROW = TILE + 128  # from one output's sums to the next: a multiple of 4096 bytes would collide in the cache
LANES = 16  # tiles are rounded up to whole vectors; ``range(vectors * LANES)`` lets the compiler see it
OUTPUTS, TAPS = 4, 5


@jit
def correlate_tiles(start, stop, x, w, b, y, shift, room, layout, size, first, step):
    """Blocks of four outputs, numbered through all tiles and groups; y is written from ``first`` on in steps of ``step``.

    x (N, G, C/G, H, W), w (G, O/G, taps), b (G, O/G), y (N, G, O/G, OH, OW)
    """
    groups, outputs, blocks = x.shape[1], y.shape[2], w.shape[1] // OUTPUTS
    source = _zeros(room, x)
    sums = _zeros(OUTPUTS * ROW + max(TILE, layout.width), x)
    loaded = -1
    for item in range(start, stop):
        tile, g, o = item // blocks // groups, item // blocks % groups, item % blocks * OUTPUTS
        n, row, column, images, rows, columns = locate(tile, layout, size, x.shape[0])
        if loaded != item // blocks:
            loaded = item // blocks
            if images < layout.images or rows < size[0] or columns < size[1]:
                source[:] = 0  # other tiles have their margins elsewhere
            for image in range(images):
                _load(source, x[n + image, g], image, row, column, x.shape[3], x.shape[4], layout)
        vectors = _vectors(images, rows, columns, layout)
        for u in range(OUTPUTS):
            sums[u * ROW : u * ROW + vectors * LANES] = b[g, o + u]
        _add_taps(sums, source, shift, w[g, o : o + OUTPUTS], vectors)
        for image in range(images):
            for u in range(min(OUTPUTS, outputs - o)):
                lines = _lines(sums, u * ROW + image * layout.width, rows, layout)
                for i in range(rows):
                    line = y[n + image, g, o + u, first[0] + (row + i) * step[0], first[1] + column * step[1] :]
                    if step[1] == 1:
                        for j in range(columns):
                            line[j] = lines[i, j]
                    else:
                        for j in range(columns):
                            line[j * step[1]] = lines[i, j]


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
def weight_grad_tiles(start, stop, x, gy, gw, shift, room, layout, flat, tiles):
    """Blocks of four outputs, numbered through all parts of the tiles and groups; ``flat`` is the layout of gy.

    x (N, G, C/G, H, W), gy (N, G, O/G, OH, OW), gw (parts, G, O/G, taps)
    """
    parts, groups, blocks = gw.shape[0], x.shape[1], gw.shape[2] // OUTPUTS
    source = _zeros(room, x)
    grads = _zeros((gw.shape[2] + 1) * layout.plane, x)
    item = start
    while item < stop:
        part, g, block = item // blocks // groups, item // blocks % groups, item % blocks
        last = min(blocks, block + stop - item)
        for tile in range(tiles * part // parts, tiles * (part + 1) // parts):
            n, row, column, images, rows, columns = locate(tile, layout, gy.shape[3:], x.shape[0])
            if images < layout.images or rows < gy.shape[3] or columns < gy.shape[4]:
                source[:] = 0  # other tiles have their margins elsewhere
                grads[:] = 0
            for image in range(images):
                _load(source, x[n + image, g], image, row, column, x.shape[3], x.shape[4], layout)
                _load(grads, gy[n + image, g, block * OUTPUTS : last * OUTPUTS], image, row, column, row + rows,
                      column + columns, flat)
            vectors = _vectors(images, rows, columns, layout)
            for o in range(block, last):
                _add_dots(gw[part, g, o * OUTPUTS : (o + 1) * OUTPUTS], grads[(o - block) * OUTPUTS * layout.plane :],
                          layout.plane, source, shift, vectors)
        item += last - block


@jit
def _add_dots(gw, grads, plane, source, shift, vectors):
    """Add the dot products of four outputs' gradients with all taps, five at a time."""
    ga, gb, gc, gd = grads, grads[plane:], grads[2 * plane :], grads[3 * plane :]
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
        for u, (a, b, c, d) in enumerate(((a0, b0, c0, d0), (a1, b1, c1, d1), (a2, b2, c2, d2), (a3, b3, c3, d3),
                                          (a4, b4, c4, d4))):
            gw[0, t + u] += a
            gw[1, t + u] += b
            gw[2, t + u] += c
            gw[3, t + u] += d


@jit
def locate(tile, layout, size, total):
    """A tile's first image, output row and column, and how many of each it has."""
    down, across = -(-size[0] // layout.rows), -(-size[1] // layout.columns)
    n, row, column = tile // across // down * layout.images, tile // across % down * layout.rows, tile % across * layout.columns
    return n, row, column, min(layout.images, total - n), min(layout.rows, size[0] - row), min(layout.columns, size[1] - column)


@jit
def _load(target, x, image, row, column, bottom, right, layout):
    """Lay out all phases of an image's channels from (row, column) on, as far as ``bottom`` and ``right``."""
    (sh, sw), (ph, pw) = layout.stride, layout.padding
    for c in range(x.shape[0]):
        for phase in range(sh * sw):
            top, end = inside(row * sh + phase // sw - ph, sh, bottom, layout.height)
            left, stop = inside(column * sw + phase % sw - pw, sw, right, layout.width)
            i, j = (row + top) * sh + phase // sw - ph, max(0, (column + left) * sw + phase % sw - pw)
            at = (c * sh * sw + phase) * layout.plane + (top * layout.images + image) * layout.width + left
            lines = _lines(target, at, end - top, layout)
            for r in range(end - top):
                if sw == 1:
                    for k in range(stop - left):
                        lines[r, k] = x[c, i + r * sh, j + k]
                else:
                    for k in range(stop - left):
                        lines[r, k] = x[c, i + r * sh, j + k * sw]


@jit
def _lines(array, at, rows, layout):
    """Rows from place ``at`` on, as a matrix."""
    length = layout.images * layout.width
    return array[at : at + rows * length].reshape(rows, length)


@jit
def _vectors(images, rows, columns, layout):
    """How many vectors a tile's places fill."""
    places = ((rows - 1) * layout.images + images - 1) * layout.width + columns
    return (places + LANES - 1) // LANES


@jit
def _zeros(size, like):
    """Zeros that start on a cache line (64 bytes)."""
    array = np.zeros(size + LANES, like.dtype)
    return array[-array.ctypes.data % 64 // array.itemsize :][:size]
