"""im2col and col2im, row by row of the matrix or channel by channel of the image."""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split
from minidl.kernels.shapes import windows


def im2col(x, out_shape, kernel_size, geometry):
    """As the portable kernel."""
    cols = np.empty(out_shape, x.dtype)
    if cols.size:
        oh, ow = windows(x.shape[2:], kernel_size, geometry)
        gather(planes(ready(x)), cols.reshape(-1, oh, ow), 0, kernel_size, geometry)
    return cols


def col2im(cols, out_shape, kernel_size, geometry):
    """As the portable kernel."""
    x = np.zeros(out_shape, cols.dtype)
    if cols.size:
        oh, ow = windows(x.shape[2:], kernel_size, geometry)
        scatter(ready(cols).reshape(-1, oh, ow), planes(x), 0, kernel_size, geometry)
    return x


def planes(x):
    """(N, C, H, W) or (C, H, W) -> (N*C, H, W)"""
    return x.reshape(math.prod(x.shape[:-2]), *x.shape[-2:])


def gather(x, cols, first, kernel_size, geometry):
    """Fill cols (P*KH*KW, rows, OW) from planes x (P, H, W): the windows of output row ``first`` and those that follow."""
    split(_gather, len(cols), cols.size, x, cols, first, *kernel_size, *geometry.stride, *geometry.padding,
          *geometry.dilation)


def scatter(cols, x, first, kernel_size, geometry):
    """Add cols (P*KH*KW, rows, OW) to the pixels of x (P, H, W) that ``gather`` would read."""
    split(_scatter, len(x), cols.size, cols, x, first, *kernel_size, *geometry.stride, *geometry.padding,
          *geometry.dilation)


@jit
def _gather(start, stop, x, cols, first, kh, kw, sh, sw, ph, pw, dh, dw):
    height, width = x.shape[1], x.shape[2]
    rows, ow = cols.shape[1], cols.shape[2]
    for r in range(start, stop):
        plane, a, k = r // kw // kh, r // kw % kh, r % kw
        left, right = _inside(k * dw - pw, sw, width, ow)
        for i in range(rows):
            row = (first + i) * sh + a * dh - ph
            if 0 <= row < height and left < right:
                for j in range(left):
                    cols[r, i, j] = 0
                pixels = x[plane, row, left * sw + k * dw - pw :]
                inner = cols[r, i, left:right]
                if sw == 1:
                    for j in range(right - left):
                        inner[j] = pixels[j]
                else:
                    for j in range(right - left):
                        inner[j] = pixels[j * sw]
                for j in range(right, ow):
                    cols[r, i, j] = 0
            else:
                for j in range(ow):
                    cols[r, i, j] = 0


@jit
def _scatter(start, stop, cols, x, first, kh, kw, sh, sw, ph, pw, dh, dw):
    height, width = x.shape[1], x.shape[2]
    rows, ow = cols.shape[1], cols.shape[2]
    for plane in range(start, stop):
        for a in range(kh):
            for k in range(kw):
                r = (plane * kh + a) * kw + k
                left, right = _inside(k * dw - pw, sw, width, ow)
                for i in range(rows):
                    row = (first + i) * sh + a * dh - ph
                    if 0 <= row < height and left < right:
                        pixels = x[plane, row, left * sw + k * dw - pw :]
                        inner = cols[r, i, left:right]
                        if sw == 1:
                            for j in range(right - left):
                                pixels[j] += inner[j]
                        else:
                            for j in range(right - left):
                                pixels[j * sw] += inner[j]


@jit
def _inside(offset, stride, width, count):
    """The places j in [left, right) of ``count`` for which 0 <= j * stride + offset < width."""
    left = min(count, max(0, (-offset + stride - 1) // stride))
    right = min(count, max(left, (width - 1 - offset) // stride + 1))
    return left, right
