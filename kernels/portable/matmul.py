"""Products of matrices."""

from minidl.kernels.half import widened


def matmul(x, y):
    """x @ y, batches of matrices in the leading axes; half precision is multiplied in float32."""
    return (widened(x) @ widened(y)).astype(x.dtype, copy=False)
