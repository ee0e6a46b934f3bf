"""Products of matrices."""

import numpy as np


def matmul(x, y):
    """x @ y, batches of matrices in the leading axes; float16 is multiplied in float32, as NumPy has no fast one."""
    if x.dtype == np.float16:
        return (x.astype(np.float32) @ y.astype(np.float32)).astype(x.dtype)
    return x @ y
