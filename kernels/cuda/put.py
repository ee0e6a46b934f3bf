"""Rows added up where they belong, on the GPU: see put.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready


def put_rows(x, rows, count):
    """As the portable kernel."""
    xp, size = namespace(x), x.shape[1]
    y = xp.empty((count, size), x.dtype)
    order = xp.argsort(rows, kind="stable")
    starts = xp.searchsorted(rows[order], xp.arange(count + 1))
    launch("put.put_rows", y.size, *ready(x, order.astype(np.int64), starts.astype(np.int64)), size, y, dtype=x.dtype)
    return y
