"""Dropout on the GPU: the mask is made where random numbers are (philox.cu), and applied in one pass (dropout.cu)."""

import math

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import lanes, launch, ready
from minidl.kernels.cuda.philox import in_blocks
from minidl.kernels.portable.dropout import keep_below


def dropout_mask(key, counter, shape, p):
    """As the portable kernel."""
    mask = namespace(key).empty(shape, bool)
    return in_blocks("dropout_mask", key, counter, math.prod(shape), mask, np.int64(keep_below(p)))


def apply_mask(x, mask, scale):
    """As the portable kernel."""
    xp, y = namespace(x), namespace(x).empty(x.shape, x.dtype)
    if mask.shape != x.shape:  # a mask of whole planes, as dropout2d makes it, is small
        mask = xp.broadcast_to(mask, x.shape)
    launch("dropout.apply_mask", x.size, *ready(x, mask), y, float(scale), dtype=x.dtype, per_thread=lanes(x.dtype))
    return y
