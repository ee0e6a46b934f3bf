"""Products of matrices: packed for the caches, multiplied in vector registers.

Z = X Y is computed in blocks, after K. Goto and R. van de Geijn, Anatomy of High-Performance Matrix Multiplication, 2008. Each
operand is first packed into strips as wide as a vector, of rows of X or columns of Y, in which the numbers lie in the order of
their use:

    packed[strip][k][lane] = X[strip lanes + lane, k],   or Y[k, strip lanes + lane]

A few strips of Y, ``DEPTH`` steps of k long, stay in the second-level cache while all of X passes by.
"""

import functools

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.instructions import BYTES
from minidl.kernels.cpu.moves import aligned, into_lanes, move
from minidl.kernels.cpu.vector import ROWS, VECTORS, multiply

DEPTH = 512
SUMS = ROWS * VECTORS * BYTES // 4  # how many ``multiply`` computes at once, at most


@functools.cache
def steps(itemsize, depth=DEPTH):
    """From place to place of a strip."""
    return np.arange(depth) * (BYTES // itemsize)


@jit
def pack(start, stop, source, base, lane, step, count, depth, packed, at, apart):
    """Strips ``start`` to ``stop`` of the matrix M[i, k] = source[base + i lane + k step], i < count, k < depth, where ``lane``
    or ``step`` is 1. Strip 0 begins at vector ``at``, the others ``apart`` vectors apart; lanes behind the last i hold anything.
    """
    lanes = BYTES // source.itemsize
    if step == 1:
        places = np.empty(lanes, np.int64)
        for strip in range(start, stop):
            for i in range(lanes):
                places[i] = min(strip * lanes + i, count - 1) * lane
            pack_strip(source, base, places, 0, depth, packed, (at + strip * apart) * lanes)
        return
    first, last = start * lanes, min(stop * lanes, count)
    for k in range(depth):
        move(source, base + first + k * step, packed, (at + start * apart + k) * lanes, apart * lanes, last - first,
             source.dtype.type(0), False)


@jit
def pack_strip(source, base, places, first, depth, packed, at):
    """A strip whose lane l is ``depth`` numbers from ``base + places[first + l]`` on."""
    lanes = BYTES // source.itemsize
    for k in range(0, depth, lanes):
        into_lanes(source, base + k, places, first, min(lanes, depth - k), packed, at + k * lanes)


@jit
def add_product(x, x_at, x_depth, rows, y, y_at, y_depth, places, depth, columns, z, z_at, z_row, add, spare):
    """z[r, c] (+)= sum over k < depth of x[r, k] y[k, c], for all rows r and columns c.

    x and y are packed in strips of ``x_depth`` and ``y_depth``, z is at ``z_at + r z_row + c``. Tiles that hang over its edges
    are computed in ``spare``, which has room for ``SUMS`` numbers and ``ROWS`` more.
    """
    lanes = BYTES // x.itemsize
    spare[SUMS:] = 0  # no bias
    for row in range(0, rows, ROWS):
        a = x_at + row // lanes * x_depth * lanes + row % lanes
        for left in range(0, columns, VECTORS * lanes):
            vectors = min(VECTORS, -(-(columns - left) // lanes))
            b, c = y_at + left * y_depth, z_at + row * z_row + left
            if rows - row >= ROWS and columns - left >= vectors * lanes:
                multiply(vectors, x, a, lanes, y, b, places, y_depth * lanes, depth, spare, SUMS, z, c, z_row, lanes, add, False)
                continue
            multiply(vectors, x, a, lanes, y, b, places, y_depth * lanes, depth, spare, SUMS, spare, 0, VECTORS * lanes, lanes,
                     False, False)
            for r in range(min(ROWS, rows - row)):
                for j in range(min(vectors * lanes, columns - left)):
                    total = spare[r * VECTORS * lanes + j]
                    z[c + r * z_row + j] = z[c + r * z_row + j] + total if add else total


@jit
def multiply_blocks(start, stop, x, rows, y, lane, step, columns, depth, height, width, places, z):
    """Blocks of ``height`` x ``width`` of z (rows, columns), from x packed and y[k, c] = y[k step + c lane] as it is."""
    packed, spare = aligned((DEPTH + 1) * width, x), aligned(SUMS + ROWS, x)
    across, lanes = -(-columns // width), BYTES // x.itemsize
    for item in range(start, stop):
        top, left = item // across * height, item % across * width
        tall, wide = min(height, rows - top), min(width, columns - left)
        for k in range(0, depth, DEPTH):
            deep = min(DEPTH, depth - k)
            # a vector more between strips, or all of them would compete for one set of the cache
            pack(0, -(-wide // lanes), y, left * lane + k * step, lane, step, wide, deep, packed, 0, deep + 1)
            add_product(x, top * depth + k * lanes, depth, tall, packed, 0, deep + 1, places, deep, wide, z, top * columns + left,
                        columns, k > 0, spare)
