"""Piecewise linear activations of single elements, and their gradients. NaN stays NaN."""

from minidl.kernels import namespace
from minidl.kernels.half import widened


def copy(x):
    """x in memory of its own, contiguous."""
    return x.copy()


def relu(x):
    """y = max(x, 0)."""
    return namespace(x).maximum(x, 0)


def add(x, y):
    """z = x + y, of one shape and dtype."""
    return x + y


def add_relu(x, y):
    """z = max(x + y, 0), of one shape."""
    return namespace(x).maximum(x + y, 0)


def relu_grad(gy, y):
    """gx = 0 where y <= 0, else gy."""
    return namespace(gy).where(y <= 0, 0, gy).astype(gy.dtype, copy=False)  # of bfloat16 CuPy's where makes float32


def leaky_relu(x, slope):
    """y = x where x > 0, else slope x."""
    return namespace(x).where(x > 0, widened(x), widened(x) * slope).astype(x.dtype, copy=False)


def leaky_relu_grad(gy, x, slope):
    """gx = gy where x > 0, else slope gy."""
    return namespace(gy).where(x > 0, widened(gy), widened(gy) * slope).astype(gy.dtype, copy=False)
