"""Softmax and its logarithm along one axis. Half precision is computed in float32.

A NaN fills its row with NaN; so does a row without a finite maximum (all -inf, or any +inf).
"""

from minidl.kernels import namespace
from minidl.kernels.half import widened


def softmax(x, axis):
    """y_i = exp(x_i - max x) / sum_k exp(x_k - max x): shifting by the maximum changes nothing and cannot overflow."""
    e = namespace(x).exp(_shifted(x, axis))
    return (e / e.sum(axis=axis, keepdims=True)).astype(x.dtype, copy=False)


def softmax_grad(gy, y, axis):
    """gx_i = y_i (gy_i - sum_k gy_k y_k)."""
    gy, wide = widened(gy), widened(y)
    return (wide * (gy - (gy * wide).sum(axis=axis, keepdims=True))).astype(y.dtype, copy=False)


def log_softmax(x, axis):
    """y_i = x_i - max x - log sum_k exp(x_k - max x)."""
    xp = namespace(x)
    z = _shifted(x, axis)
    return (z - xp.log(xp.exp(z).sum(axis=axis, keepdims=True))).astype(x.dtype, copy=False)


def log_softmax_grad(gy, y, axis):
    """gx_i = gy_i - exp(y_i) sum_k gy_k."""
    gy, wide = widened(gy), widened(y)
    return (gy - namespace(y).exp(wide) * gy.sum(axis=axis, keepdims=True)).astype(y.dtype, copy=False)


def _shifted(x, axis):
    """x - max x; an axis of size 0 stays as it is."""
    x = widened(x)
    return x - x.max(axis=axis, keepdims=True) if x.shape[axis] else x
