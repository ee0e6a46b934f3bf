"""Piecewise linear activations on the GPU: see activation.cu."""

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import lanes, launch, ready


def copy(x):
    """As the portable kernel. CuPy's own moves 4 bytes a thread, at less than half the speed of memory."""
    return each("activation.copy", x) if x.flags.c_contiguous else x.copy()


def relu(x):
    """As the portable kernel."""
    return each("activation.relu", x)


def add(x, y):
    """As the portable kernel."""
    return each("activation.add", x, y)


def add_relu(x, y):
    """As the portable kernel."""
    return each("activation.add_relu", x, y)


def relu_grad(gy, y):
    """As the portable kernel."""
    return each("activation.relu_grad", gy, y)


def leaky_relu(x, slope):
    """As the portable kernel."""
    return each("activation.leaky_relu", x, slope=slope)


def leaky_relu_grad(gy, x, slope):
    """As the portable kernel."""
    return each("activation.leaky_relu_grad", gy, x, slope=slope)


def each(name, *arrays, **parameters):
    """Launch an elementwise kernel (each.cuh): arrays of one shape and dtype in, one out."""
    out = namespace(arrays[0]).empty(arrays[0].shape, arrays[0].dtype)
    launch(name, out.size, *map(ready, arrays), out, *map(float, parameters.values()), dtype=out.dtype,
           per_thread=lanes(out.dtype))
    return out
