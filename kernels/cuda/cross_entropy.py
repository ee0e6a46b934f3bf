"""Softmax cross-entropy on the GPU, one warp to a row: see cross_entropy.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready, wide

WARP = 32


def cross_entropy(x, target, weight, ignore_index, smoothing):
    """As the portable kernel."""
    xp = namespace(x)
    loss, log_total = xp.empty(len(x), x.dtype), xp.empty(len(x), np.float64)
    launch("cross_entropy.cross_entropy", len(x), *ready(x, target, _wide(weight, x)), np.int64(ignore_index), float(smoothing),
           x.shape[1], loss, log_total, dtype=x.dtype, per_item=WARP)
    return loss, log_total


def cross_entropy_grad(gy, x, log_total, target, weight, ignore_index, smoothing):
    """As the portable kernel."""
    gx = namespace(x).empty(x.shape, x.dtype)
    launch("cross_entropy.cross_entropy_grad", len(x), *ready(gy, x, log_total, target, _wide(weight, x)), np.int64(ignore_index),
           float(smoothing), x.shape[1], gx, dtype=x.dtype, per_item=WARP)
    return gx


def _wide(weight, x):
    return None if weight is None else weight.astype(wide(x.dtype), copy=False)
