"""im2col row by row of the matrix, col2im channel by channel of the image."""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split
from minidl.kernels.shapes import windows


def im2col(x, out_shape, kernel_size, geometry):
    """As the portable kernel."""
    cols = np.zeros(out_shape, x.dtype)
    images, matrix = _views(ready(x), cols, kernel_size, geometry)
    split(_gather, len(matrix), cols.size, images, matrix, *kernel_size, *geometry.stride, *geometry.padding, *geometry.dilation)
    return cols


def col2im(cols, out_shape, kernel_size, geometry):
    """As the portable kernel."""
    x = np.zeros(out_shape, cols.dtype)
    images, matrix = _views(x, ready(cols), kernel_size, geometry)
    split(_scatter, len(images), cols.size, matrix, images, *kernel_size, *geometry.stride, *geometry.padding, *geometry.dilation)
    return x


def _views(x, cols, kernel_size, geometry):
    """x (N, C, H, W) as (N*C, H, W), and cols (N, C*KH*KW, OH*OW) as (N*C*KH*KW, OH, OW)"""
    oh, ow = windows(x.shape[2:], kernel_size, geometry)
    return x.reshape(math.prod(x.shape[:2]), *x.shape[2:]), cols.reshape(math.prod(cols.shape[:2]), oh, ow)


@jit
def _gather(start, stop, x, cols, kh, kw, sh, sw, ph, pw, dh, dw):
    """Rows of cols, which is 0 where a window hangs over the edge."""
    for r in range(start, stop):
        plane, a, k = r // kw // kh, r // kw % kh, r % kw
        top, bottom = inside(a * dh - ph, sh, x.shape[1], cols.shape[1])
        left, right = inside(k * dw - pw, sw, x.shape[2], cols.shape[2])
        h, w = top * sh + a * dh - ph, max(0, left * sw + k * dw - pw)
        for i in range(bottom - top):
            if sw == 1:
                for j in range(right - left):
                    cols[r, top + i, left + j] = x[plane, h + i * sh, w + j]
            else:
                for j in range(right - left):
                    cols[r, top + i, left + j] = x[plane, h + i * sh, w + j * sw]


@jit
def _scatter(start, stop, cols, x, kh, kw, sh, sw, ph, pw, dh, dw):
    """Planes of x, which is 0 at first."""
    for plane in range(start, stop):
        for tap in range(kh * kw):
            r, a, k = plane * kh * kw + tap, tap // kw, tap % kw
            top, bottom = inside(a * dh - ph, sh, x.shape[1], cols.shape[1])
            left, right = inside(k * dw - pw, sw, x.shape[2], cols.shape[2])
            h, w = top * sh + a * dh - ph, max(0, left * sw + k * dw - pw)
            for i in range(bottom - top):
                if sw == 1:
                    for j in range(right - left):
                        x[plane, h + i * sh, w + j] += cols[r, top + i, left + j]
                else:
                    for j in range(right - left):
                        x[plane, h + i * sh, w + j * sw] += cols[r, top + i, left + j]


@jit
def inside(offset, step, size, count):
    """The k in [begin, end) of ``count`` for which 0 <= k * step + offset < size."""
    begin = max(0, min(count, -(offset // step)))  # max last: the compiler sees that begin is not negative
    return begin, min(count, max(begin, (size - 1 - offset) // step + 1))
