"""Convolution with windows of one pixel and no padding: products of matrices, with the image itself as the matrix.

For one image, with pixels p as columns: Y = W X, dX = W' dY, dW = dY X' (summed over the images). Pixels of all images are
numbered through, so that images smaller than a block share one.
"""

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.gemm import SUMS, add_product, pack, steps
from minidl.kernels.cpu.threads import split
from minidl.kernels.cpu.vector import BYTES, ROWS, VECTORS, move, multiply_ahead, part, pick

TILES = 10  # in a block, at most
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
    gx = np.empty(x_shape, gy.dtype)
    visited = gx if everywhere else np.empty((*x_shape[:2], *gy.shape[2:]), gy.dtype)
    _multiply(w, w.shape[1], 1, gy, 0, visited, False)
    if not everywhere:
        split(_write_visited, x_shape[0] * x_shape[1], gx.size, visited.reshape(-1), visited.shape[2:], geometry.stride,
              gx.reshape(-1), gx.shape[2:])
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    if not gy.size:
        return np.zeros(w_shape, x.dtype)
    x, gw = _visited(x, geometry), np.empty(w_shape, x.dtype)
    images, outputs, channels, size = len(x), *w_shape[:2], gy.shape[2] * gy.shape[3]
    chunks = -(-images * size // CHUNK)
    parts = min(chunks, max(2, min(PARTS, PARTS_BYTES // gw.nbytes)))
    sums = np.empty((parts, gw.size), x.dtype)
    lanes = BYTES // x.itemsize
    split(_weight_grad_parts, parts, gy.size * channels // lanes, gy.reshape(-1), x.reshape(-1), outputs, channels, size,
          images * size, chunks, steps(x.itemsize, CHUNK), sums)
    np.add.reduce(sums, axis=0, out=gw.reshape(-1))
    return gw


def _multiply(w, step, lane, x, bias, y, relu):
    """y (N, O, H, W) = bias (O,) + the product of the weights, o ``lane`` + c ``step`` in their memory, with x (N, C, H, W)."""
    n, channels, outputs, size = len(x), x.shape[1], y.shape[1], y.shape[2] * y.shape[3]
    lanes = BYTES // x.itemsize
    strips, padded = -(-outputs // lanes), np.zeros(-(-outputs // lanes) * lanes, x.dtype)
    padded[:outputs] = bias
    packed = np.empty(strips * channels * lanes, x.dtype)
    split(pack, strips, packed.size // 4, w.reshape(-1), 0, lane, step, outputs, channels, packed, 0, channels)
    width = VECTORS * lanes
    block = max(1, min(TILES, SOURCE // (x.itemsize * channels * width))) * width
    split(_multiply_pixels, -(-n * size // block), y.size * channels // lanes, packed, x.reshape(-1), padded, channels, outputs,
          size, n * size, block, np.arange(channels) * width, y.reshape(-1), relu)


@jit
def _multiply_pixels(start, stop, w, x, bias, channels, outputs, size, total, block, places, y, relu):
    """Blocks of pixels, numbered through all images of ``size`` pixels, cut into tiles as wide as ``multiply`` takes at once.
    While a block is multiplied, the next one is fetched, line by line.
    """
    source, spare = np.empty(channels * block, x.dtype), np.empty(SUMS, x.dtype)
    lanes = BYTES // x.itemsize
    width = VECTORS * lanes
    for item in range(start, stop):
        first = item * block
        count, soon, end = min(block, total - first), first + block, min(first + 2 * block, total)
        for left in range(0, count, width):
            _load_tile(x, channels, size, first + left, min(width, count - left), source, left * channels)
        for row in range(0, outputs, ROWS):
            a = row // lanes * channels * lanes + row % lanes
            for left in range(0, count, width):
                columns, tile = min(width, count - left), left * channels
                n, p = (first + left) // size, (first + left) % size
                soon_at, soon_step = (_place(soon, channels, size), size) if soon < end else (0, 0)
                soon += lanes
                if columns == width and p + columns <= size and row + ROWS <= outputs:
                    multiply_ahead(VECTORS, w, a, lanes, source, tile, places, lanes, channels, bias, row, y,
                                   (n * outputs + row) * size + p, size, lanes, False, relu, x, soon_at, soon_step)
                    continue
                multiply_ahead(-(-columns // lanes), w, a, lanes, source, tile, places, lanes, channels, bias, row, spare, 0,
                               width, lanes, False, relu, x, soon_at, soon_step)
                for r in range(min(ROWS, outputs - row)):
                    _store_pixels(spare, r * width, y, row + r, outputs, size, first + left, columns)


@jit
def _place(pixel, channels, size):
    """Where a pixel, numbered through all images, has its first channel."""
    return pixel // size * channels * size + pixel % size


@jit
def _load_tile(x, channels, size, first, count, source, at):
    """Pixels ``first`` to ``first + count - 1`` of each channel."""
    lanes, done = BYTES // x.itemsize, 0
    width = VECTORS * lanes
    while done < count:
        run, base = min(count - done, size - (first + done) % size), _place(first + done, channels, size)
        for c in range(channels):
            move(x, base + c * size, source, at + c * width + done, lanes, run, x.dtype.type(0), False)
        done += run


@jit
def _store_pixels(line, at, y, o, outputs, size, first, count):
    """``count`` numbers of a line become the pixels from ``first`` on in channel o."""
    done = 0
    while done < count:
        run, base = min(count - done, size - (first + done) % size), _place(first + done, outputs, size)
        move(line, at + done, y, base + o * size, BYTES // line.itemsize, run, y.dtype.type(0), False)
        done += run


@jit
def _weight_grad_parts(start, stop, gy, x, outputs, channels, size, total, chunks, places, sums):
    """sums[part] of dY X' over one part of the chunks of pixels each."""
    lanes = BYTES // x.itemsize
    a_strips, b_strips = -(-outputs // lanes), -(-channels // lanes)
    a, b = np.empty(a_strips * lanes * CHUNK, x.dtype), np.empty(b_strips * lanes * CHUNK, x.dtype)
    spare, parts = np.empty(SUMS + ROWS, x.dtype), sums.shape[0]
    for item in range(start, stop):
        begin = chunks * item // parts
        for chunk in range(begin, chunks * (item + 1) // parts):
            first = total * chunk // chunks
            count = total * (chunk + 1) // chunks - first
            _pack_pixels(gy, outputs, size, first, count, a, a_strips)
            _pack_pixels(x, channels, size, first, count, b, b_strips)
            add_product(a, 0, count, outputs, b, 0, count, places, count, channels, sums[item], 0, channels, chunk > begin, spare)


@jit
def _pack_pixels(x, channels, size, first, count, packed, strips):
    """Strips of channels, with the pixels from ``first`` on one after another."""
    done = 0
    while done < count:
        run, base = min(count - done, size - (first + done) % size), _place(first + done, channels, size)
        pack(0, strips, x, base, size, 1, channels, run, packed, done, count)
        done += run


def _visited(x, geometry):
    """The pixels that the windows see."""
    sh, sw = geometry.stride
    if sh == sw == 1:
        return x
    n, channels, height, width = x.shape
    y = np.empty((n, channels, -(-height // sh), -(-width // sw)), x.dtype)
    split(_read_visited, n * channels, y.size, x.reshape(-1), (height, width), geometry.stride, y.reshape(-1), y.shape[2:])
    return y


@jit
def _read_visited(start, stop, x, x_size, stride, y, y_size):
    (height, width), (rows, columns) = x_size, y_size
    for plane in range(start, stop):
        for i in range(rows):
            pick(x, (plane * height + i * stride[0]) * width, stride[1], y, (plane * rows + i) * columns, columns)


@jit
def _write_visited(start, stop, y, y_size, stride, x, x_size):
    """The inverse; what is not visited gets 0."""
    (height, width), (rows, columns) = x_size, y_size
    for plane in range(start, stop):
        part(x, plane * height * width, height * width)[:] = 0
        for i in range(rows):
            line, at = part(y, (plane * rows + i) * columns, columns), (plane * height + i * stride[0]) * width
            for j in range(columns):
                x[at + j * stride[1]] = line[j]
