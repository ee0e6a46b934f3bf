"""Dropout, compiled."""

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.philox import PIECE, fill, in_pieces
from minidl.kernels.cpu.threads import split
from minidl.kernels.portable import dropout as portable


def dropout_mask(key, counter, shape, p):
    """As the portable kernel."""
    mask = np.empty(shape, np.bool_)
    in_pieces(_mask, mask.size, key, counter, mask.reshape(-1), np.uint64(portable.keep_below(p)))
    return mask


def apply_mask(x, mask, scale):
    """As the portable kernel. One factor for each channel is left to NumPy."""
    if mask.shape != x.shape:
        return portable.apply_mask(x, mask, scale)
    x, mask = ready(x, mask)
    y = np.empty_like(x)
    split(_apply, x.size, x.size, x.reshape(-1), mask.reshape(-1), x.dtype.type(scale), y.reshape(-1))
    return y


@jit
def _mask(start, stop, key, counter, mask, below):
    words = np.empty(PIECE, np.uint32)
    for piece in range(start, stop):
        fill(words, key, counter, piece * (PIECE // 4))
        part = mask[piece * PIECE : (piece + 1) * PIECE]
        for i in range(part.size):
            part[i] = words[i] < below


@jit
def _apply(start, stop, x, mask, scale, y):
    x, mask, y = x[start:stop], mask[start:stop], y[start:stop]
    for i in range(x.size):
        y[i] = x[i] * (scale if mask[i] else scale - scale)
