"""Convolution with windows of one pixel and no padding: products of matrices, with the image itself as the matrix.

For one image, with pixels p as columns: Y = W X, dX = W' dY, dW = dY X' (summed over the images). Pixels of all images are
numbered through, so that images smaller than a block share one.
"""

from typing import NamedTuple

import numpy as np

from minidl.kernels.constants import derived
from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.gemm import SUMS, add_product, pack, steps
from minidl.kernels.cpu.instructions import BYTES
from minidl.kernels.cpu.moves import aligned, move, pick
from minidl.kernels.cpu.thinned import spread, thinned
from minidl.kernels.cpu.threads import get_num_threads, split
from minidl.kernels.cpu.vector import ROWS, VECTORS, multiply_ahead
from minidl.kernels.shapes import windows

TILES = 10  # in a block, at most
SOURCE = 500_000  # bytes of a block, which then stays in the second-level cache
CHUNK = 256  # pixels that a weight gradient takes at once
PARTS, PARTS_BYTES = 16, 32 << 20  # a weight gradient is summed in at most so many parts, whatever the number of threads


class Grid(NamedTuple):
    """Where an image's pixels lie: in rows of ``columns``, ``step`` apart; rows begin ``row_step`` apart, channels ``plane``."""

    plane: int
    columns: int
    row_step: int
    step: int


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    y = np.empty((len(x), len(w), *windows(x.shape[2:], (1, 1), geometry)), x.dtype)
    _multiply(w, 1, w.shape[1], x, geometry.stride, 0 if b is None else b, y, relu)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    everywhere = geometry.stride == (1, 1)
    gx = np.empty(x_shape, gy.dtype)
    visited = gx if everywhere else np.empty((*x_shape[:2], *gy.shape[2:]), gy.dtype)
    _multiply(w, w.shape[1], 1, gy, (1, 1), 0, visited, False)
    if not everywhere:
        spread(visited, geometry.stride, gx)
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    if not gy.size:
        return np.zeros(w_shape, x.dtype)
    x, gw = thinned(x, geometry.stride), np.empty(w_shape, x.dtype)
    images, outputs, channels, size = len(x), *w_shape[:2], gy.shape[2] * gy.shape[3]
    chunks = -(-images * size // CHUNK)
    parts = min(chunks, max(2, min(PARTS, PARTS_BYTES // gw.nbytes)))
    sums = np.empty((parts, gw.size), x.dtype)
    lanes = BYTES // x.itemsize
    split(_weight_grad_parts, parts, gy.size * channels // lanes, gy.reshape(-1), x.reshape(-1), outputs, channels, size,
          images * size, chunks, steps(x.itemsize, CHUNK), sums)
    np.add.reduce(sums, axis=0, out=gw.reshape(-1))
    return gw


def _multiply(w, step, lane, x, stride, bias, y, relu):
    """y (N, O, OH, OW) = bias (O,) + the product of the weights, o ``lane`` + c ``step`` in their memory, with x (N, C, H, W), of
    which every ``stride``-th pixel is taken.
    """
    n, channels, outputs, size = len(x), x.shape[1], y.shape[1], y.shape[2] * y.shape[3]
    everywhere = Grid(size, size, 0, 1)
    grid = everywhere if stride == (1, 1) else Grid(x.shape[2] * x.shape[3], y.shape[3], stride[0] * x.shape[3], stride[1])
    lanes = BYTES // x.itemsize
    padded = np.zeros(-(-outputs // lanes) * lanes, x.dtype)
    padded[:outputs] = bias
    packed = derived(w, ("pointwise", step, lane, outputs), lambda: _packed(w, step, lane, outputs, channels))
    width = VECTORS * lanes
    block = _block(-(-n * size // width), x.itemsize * channels * width) * width
    split(_multiply_pixels, -(-n * size // block), y.size * channels // lanes, packed, x.reshape(-1), padded, channels, outputs,
          grid, everywhere, size, n * size, block, np.arange(channels) * width, y.reshape(-1), relu)


def _packed(w, step, lane, outputs, channels):
    """The weights in strips of outputs."""
    lanes = BYTES // w.itemsize
    strips = -(-outputs // lanes)
    packed = aligned(strips * channels * lanes, w)
    split(pack, strips, packed.size // 4, w.reshape(-1), 0, lane, step, outputs, channels, packed, 0, channels)
    return packed


def _block(tiles, tile_bytes):
    """How many tiles a block has: as many as stay in the cache, and few enough that all threads get equally many."""
    threads = get_num_threads()
    blocks = -(-tiles // max(1, min(TILES, SOURCE // tile_bytes)))
    return max(1, -(-tiles // max(1, -(-blocks // threads) * threads)))


@jit
def _multiply_pixels(start, stop, w, x, bias, channels, outputs, grid, everywhere, size, total, block, places, y, relu):
    """Blocks of pixels, numbered through all images of ``size`` pixels, cut into tiles as wide as ``multiply`` takes at once.
    While a block is multiplied, the next one is fetched, line by line.
    """
    source, spare = aligned(channels * block, x), aligned(SUMS, x)
    lanes = BYTES // x.itemsize
    width, per_line = VECTORS * lanes, max(1, lanes // grid.step)
    targets, soon = np.empty(block // width, np.int64), np.empty(-(-block // per_line), np.int64)
    for item in range(start, stop):
        first = item * block
        count, behind = min(block, total - first), max(0, min(block, total - first - block)) if item + 1 < stop else 0
        for tile in range(-(-count // width)):
            left = tile * width
            _load_tile(x, channels, grid, size, first + left, min(width, count - left), source, left * channels)
            whole = left + width <= count and (first + left) % size + width <= size
            targets[tile] = _place(first + left, outputs, everywhere, size) if whole else -1
        lines = -(-behind // per_line)
        for line in range(lines):
            soon[line] = _place(first + block + line * per_line, channels, grid, size)
        calls = 0
        for row in range(0, outputs, ROWS):
            a = row // lanes * channels * lanes + row % lanes
            for left in range(0, count, width):
                columns, target = min(width, count - left), targets[left // width]
                soon_at, soon_step = (soon[calls], grid.plane) if calls < lines else (0, 0)
                calls += 1
                if target >= 0 and row + ROWS <= outputs:
                    multiply_ahead(VECTORS, w, a, lanes, source, left * channels, places, lanes, channels, bias, row, y,
                                   target + row * size, size, lanes, False, relu, x, soon_at, soon_step)
                else:
                    multiply_ahead(-(-columns // lanes), w, a, lanes, source, left * channels, places, lanes, channels, bias, row,
                                   spare, 0, width, lanes, False, relu, x, soon_at, soon_step)
                    _store_pixels(spare, y, row, outputs, everywhere, size, first + left, columns)


@jit
def _place(pixel, channels, grid, size):
    """Where a pixel, numbered through all images, has its first channel."""
    row, column = pixel % size // grid.columns, pixel % size % grid.columns
    return pixel // size * channels * grid.plane + row * grid.row_step + column * grid.step


@jit
def _run(pixel, grid, count):
    """How many of ``count`` pixels, from this one on, lie in one row of the grid."""
    return min(count, grid.columns - pixel % grid.columns)


@jit
def _load_tile(x, channels, grid, size, first, count, source, at):
    """Pixels ``first`` to ``first + count - 1`` of each channel."""
    width, done = VECTORS * (BYTES // x.itemsize), 0
    while done < count:
        run, base = _run(first + done, grid, count - done), _place(first + done, channels, grid, size)
        pick(x, base, grid.plane, grid.step, source, at + done, width, channels, run)
        done += run


@jit
def _store_pixels(tile, y, row, outputs, grid, size, first, count):
    """``count`` columns of a tile become the pixels from ``first`` on of outputs ``row`` to ``row + ROWS - 1``."""
    lanes, done = BYTES // tile.itemsize, 0
    while done < count:
        run, base = _run(first + done, grid, count - done), _place(first + done, outputs, grid, size)
        for r in range(min(ROWS, outputs - row)):
            move(tile, r * VECTORS * lanes + done, y, base + (row + r) * grid.plane, lanes, run, y.dtype.type(0), False)
        done += run


@jit
def _weight_grad_parts(start, stop, gy, x, outputs, channels, size, total, chunks, places, sums):
    """sums[part] of dY X' over one part of the chunks of pixels each."""
    lanes = BYTES // x.itemsize
    a_strips, b_strips = -(-outputs // lanes), -(-channels // lanes)
    a, b = aligned(a_strips * lanes * CHUNK, x), aligned(b_strips * lanes * CHUNK, x)
    spare, parts = aligned(SUMS + ROWS, x), sums.shape[0]
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
        run, base = min(count - done, size - (first + done) % size), _place(first + done, channels, Grid(size, size, 0, 1), size)
        pack(0, strips, x, base, size, 1, channels, run, packed, done, count)
        done += run
