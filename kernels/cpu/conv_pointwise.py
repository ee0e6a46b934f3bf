"""Convolution with windows of one pixel and no padding: products of matrices, with the image itself as the matrix.

For one image, with pixels p as columns: Y = W X, dX = W' dY, dW = dY X' (summed over the images). Pixels of all images are
numbered through, so that images smaller than a block share one.
"""

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.gemm import SUMS, add_product, pack, steps
from minidl.kernels.cpu.threads import split
from minidl.kernels.cpu.vector import BYTES, ROWS, VECTORS, move, multiply

PIXELS = 1008  # in a block, at most: a multiple of the columns that ``multiply`` takes at once
SOURCE = 400_000  # bytes of a block, which then stays in the second-level cache
CHUNK = 256  # pixels that a weight gradient takes at once
PARTS, PARTS_BYTES = 16, 32 << 20  # a weight gradient is summed in at most so many parts, whatever the number of threads


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    x = _visited(x, geometry)
    y = np.empty((len(x), len(w), *x.shape[2:]), x.dtype)
    _multiply(w, 1, w.shape[1], x, 0 if b is None else b, y, relu)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    everywhere = geometry.stride == (1, 1)
    gx = np.empty(x_shape, gy.dtype) if everywhere else np.zeros(x_shape, gy.dtype)
    visited = gx if everywhere else np.empty((*x_shape[:2], *gy.shape[2:]), gy.dtype)
    _multiply(w, w.shape[1], 1, gy, 0, visited, False)
    if not everywhere:
        sh, sw = geometry.stride
        gx[:, :, ::sh, ::sw] = visited
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    if not gy.size:
        return np.zeros(w_shape, x.dtype)
    x, gw = _visited(x, geometry), np.empty(w_shape, x.dtype)
    images, outputs, channels, size = len(x), *w_shape[:2], gy.shape[2] * gy.shape[3]
    chunks = images * -(-size // CHUNK)
    parts = min(chunks, max(2, min(PARTS, PARTS_BYTES // gw.nbytes)))
    sums = np.empty((parts, gw.size), x.dtype)
    lanes = BYTES // x.itemsize
    split(_weight_grad_parts, parts, gy.size * channels // lanes, gy.reshape(-1), x.reshape(-1), outputs, channels, size, chunks,
          steps(x.itemsize, CHUNK), sums)
    np.add.reduce(sums, axis=0, out=gw.reshape(-1))
    return gw


def _multiply(w, step, lane, x, bias, y, relu):
    """y (N, O, H, W) = bias (O,) + the product of the weights, o ``lane`` + c ``step`` in their memory, with x (N, C, H, W)."""
    n, channels, outputs, size = len(x), x.shape[1], y.shape[1], y.shape[2] * y.shape[3]
    lanes = BYTES // x.itemsize
    strips, padded = -(-outputs // lanes), np.zeros(-(-outputs // lanes) * lanes, x.dtype)
    padded[:outputs] = bias
    packed = np.empty(strips * channels * lanes, x.dtype)
    split(pack, strips, packed.size // 4, w.reshape(-1), 0, lane, step, outputs, channels, packed, channels)
    unit = VECTORS * lanes
    block = max(unit, min(PIXELS, SOURCE // (x.itemsize * channels) // unit * unit))
    split(_multiply_pixels, -(-n * size // block), y.size * channels // lanes, packed, x.reshape(-1), padded, channels, outputs,
          size, n * size, block, np.arange(channels) * block, y.reshape(-1), relu)


@jit
def _multiply_pixels(start, stop, w, x, bias, channels, outputs, size, total, block, places, y, relu):
    """Blocks of pixels, numbered through all images of ``size`` pixels."""
    source, spare = np.empty(channels * block, x.dtype), np.empty(SUMS, x.dtype)
    lanes = BYTES // x.itemsize
    for item in range(start, stop):
        first = item * block
        count = min(block, total - first)
        for c in range(channels):
            _move_pixels(True, x, c, channels, size, first, count, source, c * block)
        for row in range(0, outputs, ROWS):
            a = row // lanes * channels * lanes + row % lanes
            for left in range(0, count, VECTORS * lanes):
                columns = min(VECTORS * lanes, count - left)
                n, p = (first + left) // size, (first + left) % size
                if columns == VECTORS * lanes and p + columns <= size and row + ROWS <= outputs:
                    multiply(VECTORS, w, a, lanes, source, left, places, lanes, channels, bias, row, y,
                             (n * outputs + row) * size + p, size, lanes, False, relu)
                    continue
                multiply(-(-columns // lanes), w, a, lanes, source, left, places, lanes, channels, bias, row, spare, 0,
                         VECTORS * lanes, lanes, False, relu)
                for r in range(min(ROWS, outputs - row)):
                    _move_pixels(False, y, row + r, outputs, size, first + left, columns, spare, r * VECTORS * lanes)


@jit
def _move_pixels(read, images, c, channels, size, first, count, line, at):
    """Pixels ``first`` to ``first + count - 1`` of channel c, from the images into a line or back."""
    while count > 0:
        n, p = first // size, first % size
        run = min(count, size - p)
        if read:
            move(images, (n * channels + c) * size + p, line, at, BYTES // line.itemsize, run, images.dtype.type(0), False)
        else:
            move(line, at, images, (n * channels + c) * size + p, BYTES // line.itemsize, run, images.dtype.type(0), False)
        first, at, count = first + run, at + run, count - run


@jit
def _weight_grad_parts(start, stop, gy, x, outputs, channels, size, chunks, places, sums):
    """sums[part] of dY X' over one part of the chunks of pixels each."""
    lanes = BYTES // x.itemsize
    a_strips, b_strips = -(-outputs // lanes), -(-channels // lanes)
    a, b = np.empty(a_strips * lanes * CHUNK, x.dtype), np.empty(b_strips * lanes * CHUNK, x.dtype)
    spare, parts, per_image = np.empty(SUMS + ROWS, x.dtype), sums.shape[0], -(-size // CHUNK)
    for part in range(start, stop):
        first = chunks * part // parts
        for chunk in range(first, chunks * (part + 1) // parts):
            n, p = chunk // per_image, chunk % per_image * CHUNK
            count = min(CHUNK, size - p)
            pack(0, a_strips, gy, n * outputs * size + p, size, 1, outputs, count, a, count)
            pack(0, b_strips, x, n * channels * size + p, size, 1, channels, count, b, count)
            add_product(a, 0, count, outputs, b, 0, count, places, count, channels, sums[part], 0, channels, chunk > first, spare)


def _visited(x, geometry):
    """The pixels that the windows see."""
    sh, sw = geometry.stride
    return x if sh == sw == 1 else np.ascontiguousarray(x[:, :, ::sh, ::sw])
