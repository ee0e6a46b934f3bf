"""Convolution on the CPU: chooses between matrix products (conv_pointwise) and sums of shifted images (conv_direct)."""

from minidl.kernels import note
from minidl.kernels.cpu import conv_direct, conv_pointwise
from minidl.kernels.cpu.compile import ready


def conv2d(x, w, b, geometry):
    """As the portable kernel."""
    x, w, b = ready(x, w, b)
    return _algorithm("conv2d", w.shape, geometry).conv2d(x, w, b, geometry)


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    gy, w = ready(gy, w)
    return _algorithm("conv2d_input_grad", w.shape, geometry).conv2d_input_grad(gy, w, x_shape, geometry)


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    gy, x = ready(gy, x)
    return _algorithm("conv2d_weight_grad", w_shape, geometry).conv2d_weight_grad(gy, x, w_shape, geometry)


def _algorithm(name, w_shape, geometry):
    """The module that computes it."""
    if w_shape[2:] == (1, 1) and geometry.padding == (0, 0):
        note(name, "cpu", "pointwise: a window of one pixel makes the image itself the matrix")
        return conv_pointwise
    note(name, "cpu", "direct: a sum of shifted images")
    return conv_direct
