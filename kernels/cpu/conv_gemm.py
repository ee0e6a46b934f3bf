"""Convolution by im2col and matrix products, a block of output rows at a time, so that the columns stay in the cache.

BLAS does the arithmetic with its own threads; between its calls the thread pool fills the columns. Windows of one pixel with
stride 1 and no padding need no columns: the image itself is the matrix.
"""

import math

import numpy as np

from minidl.kernels.cpu.im2col import gather, scatter
from minidl.kernels.shapes import windows

CACHE = 1 << 20  # elements in a block of columns


def conv2d(x, w, b, geometry):
    """As the portable kernel."""
    y = np.empty((len(x), len(w), *windows(x.shape[2:], w.shape[2:], geometry)), x.dtype)
    weights = _grouped(w, geometry)
    for image, out, first, cols in _blocks(x, y, w.shape, geometry):
        if cols is not image:
            gather(image, cols, first, w.shape[2:], geometry)
        out = _grouped(out, geometry)
        np.matmul(weights, _grouped(cols, geometry), out=out)
        if b is not None:
            out += b.reshape(geometry.groups, -1, 1)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    gx = np.zeros(x_shape, gy.dtype)
    weights = _grouped(w, geometry).swapaxes(1, 2)
    for image, grads, first, cols in _blocks(gx, gy, w.shape, geometry):
        np.matmul(weights, _grouped(grads, geometry), out=_grouped(cols, geometry))
        if cols is not image:
            scatter(cols, image, first, w.shape[2:], geometry)
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    gw = np.zeros(w_shape, x.dtype)
    sums = _grouped(gw, geometry)
    for image, grads, first, cols in _blocks(x, gy, w_shape, geometry):
        if cols is not image:
            gather(image, cols, first, w_shape[2:], geometry)
        sums += np.matmul(_grouped(grads, geometry), _grouped(cols, geometry).swapaxes(1, 2))
    return gw


def _blocks(x, y, w_shape, geometry):
    """For each block of output rows: the image (C, H, W), the rows (O, rows, OW) of y, the number of the first, and room for
    the columns (C*KH*KW, rows, OW), or the image itself where it is its own matrix.
    """
    oh, ow = y.shape[2:]
    taps = x.shape[1] * math.prod(w_shape[2:])
    pointwise = x.shape[2:] == y.shape[2:] and w_shape[2:] == (1, 1)
    rows = oh if pointwise else min(oh, max(1, CACHE // (taps * ow)))
    room = np.empty(0 if pointwise else taps * rows * ow, x.dtype)
    for image, out in zip(x, y, strict=True):
        for first in range(0, oh, rows):
            block = out[:, first : first + rows]
            yield image, block, first, image if pointwise else room[: taps * block[0].size].reshape(taps, -1, ow)


def _grouped(matrix, geometry):
    """(rows, A, B) -> (G, rows/G, A*B), a view; also for (O, C, KH, KW)."""
    return matrix.reshape(geometry.groups, len(matrix) // geometry.groups, math.prod(matrix.shape[1:]))
