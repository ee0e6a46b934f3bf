"""Dropout on the GPU: see dropout.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import lanes, launch, ready
from minidl.kernels.portable.dropout import keep_below

OF_THREAD = 8  # numbers, as in dropout.cu


def dropout_mask(key, counter, shape, p):
    """As the portable kernel."""
    mask = namespace(key).empty(shape, bool)
    launch("dropout.dropout_mask", mask.size, *ready(key, counter), np.int64(keep_below(p)), mask, per_thread=OF_THREAD)
    return mask


def dropout(key, counter, x, p, scale):
    """As the portable kernel."""
    xp = namespace(key)
    mask, y = xp.empty(x.shape, bool), xp.empty(x.shape, x.dtype)
    launch("dropout.dropout", x.size, *ready(key, counter), np.int64(keep_below(p)), ready(x), float(scale), mask, y,
           dtype=x.dtype, per_thread=OF_THREAD)
    return mask, y


def apply_mask(x, mask, scale):
    """As the portable kernel."""
    xp, y = namespace(x), namespace(x).empty(x.shape, x.dtype)
    if mask.shape != x.shape:  # a mask of whole planes, as dropout2d makes it, is small
        mask = xp.broadcast_to(mask, x.shape)
    launch("dropout.apply_mask", x.size, *ready(x, mask), y, float(scale), dtype=x.dtype, per_thread=lanes(x.dtype))
    return y
