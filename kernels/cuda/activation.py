"""Piecewise linear activations on the GPU: see activation.cu."""

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready


def relu(x):
    """As the portable kernel."""
    return _each("relu", x)


def add(x, y):
    """As the portable kernel."""
    return _each("add", x, y)


def add_relu(x, y):
    """As the portable kernel."""
    return _each("add_relu", x, y)


def relu_grad(gy, y):
    """As the portable kernel."""
    return _each("relu_grad", gy, y)


def leaky_relu(x, slope):
    """As the portable kernel."""
    return _each("leaky_relu", x, slope=slope)


def leaky_relu_grad(gy, x, slope):
    """As the portable kernel."""
    return _each("leaky_relu_grad", gy, x, slope=slope)


def _each(name, *arrays, **parameters):
    out = namespace(arrays[0]).empty(arrays[0].shape, arrays[0].dtype)
    launch(f"activation.{name}", out.size, *map(ready, arrays), out, *map(float, parameters.values()), dtype=out.dtype)
    return out
