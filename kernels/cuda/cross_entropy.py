"""Softmax cross-entropy on the GPU, one warp to a row: see cross_entropy.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import THREADS, launch, ready, wide

WARP = 32
ROWS = 2048  # of losses that a block adds up


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
    launch("cross_entropy.cross_entropy_grad", len(x), ready(gy), not gy.ndim, *ready(x, log_total, target, _wide(weight, x)),
           np.int64(ignore_index), float(smoothing), x.shape[1], gx, dtype=x.dtype, per_item=WARP)
    return gx


def mean_loss(loss, target, weight, ignore_index, classes):
    """As the portable kernel."""
    xp, parts = namespace(loss), max(1, min(-(-len(loss) // ROWS), THREADS))
    mean, total = xp.empty((), loss.dtype), xp.empty((), np.float64)
    partial = xp.empty((parts, 2), np.float64) if parts > 1 else None
    launch("cross_entropy.mean_loss", parts, *ready(loss, target, _wide(weight, loss)), np.int64(ignore_index), classes,
           np.int64(len(loss)), partial, mean, total, dtype=loss.dtype, per_item=THREADS)
    if parts > 1:
        launch("cross_entropy.mean_of_parts", 1, partial, parts, mean, total, dtype=loss.dtype, per_item=THREADS)
    return mean, total


def _wide(weight, x):
    return None if weight is None else weight.astype(wide(x.dtype), copy=False)
