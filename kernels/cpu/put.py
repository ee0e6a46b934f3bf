"""Rows added up where they belong, without an index for each element."""

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.portable import put as portable

SMALL = 4096  # below this many elements NumPy costs less than the call


def put_rows(x, rows, count):
    """As the portable kernel."""
    if x.size <= SMALL:
        return portable.put_rows(x, rows, count)
    total = np.zeros((count, x.shape[1]))
    _add_rows(ready(x), ready(rows), total)
    return total.astype(x.dtype, copy=False)


@jit
def _add_rows(x, rows, total):
    for b in range(x.shape[0]):
        row = rows[b]
        for r in range(x.shape[1]):
            total[row, r] += x[b, r]
