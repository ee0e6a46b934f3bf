"""Images thinned out to every s-th pixel, as windows of one pixel with a stride see them, and spread out again."""

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.moves import part, pick
from minidl.kernels.cpu.threads import split


def thinned(x, stride):
    """x (N, C, H, W) -> the pixels that are seen; x itself if these are all."""
    if stride == (1, 1):
        return x
    n, channels, height, width = x.shape
    y = np.empty((n, channels, -(-height // stride[0]), -(-width // stride[1])), x.dtype)
    split(_read, n * channels, y.size, x.reshape(-1), (height, width), stride, y.reshape(-1), y.shape[2:])
    return y


def spread(y, stride, x):
    """The inverse: y becomes the pixels of x that are seen, and the others become 0."""
    split(_write, x.shape[0] * x.shape[1], x.size, y.reshape(-1), y.shape[2:], stride, x.reshape(-1), x.shape[2:])


@jit
def _read(start, stop, x, x_size, stride, y, y_size):
    (height, width), (rows, columns) = x_size, y_size
    for plane in range(start, stop):
        pick(x, plane * height * width, stride[0] * width, stride[1], y, plane * rows * columns, columns, rows, columns)


@jit
def _write(start, stop, y, y_size, stride, x, x_size):
    (height, width), (rows, columns) = x_size, y_size
    for plane in range(start, stop):
        part(x, plane * height * width, height * width)[:] = 0
        for i in range(rows):
            line, at = part(y, (plane * rows + i) * columns, columns), (plane * height + i * stride[0]) * width
            for j in range(columns):
                x[at + j * stride[1]] = line[j]
