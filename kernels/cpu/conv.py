"""Convolution on the CPU: chooses between shifted images (conv_direct) and matrix products (conv_gemm)."""

from minidl.kernels import note
from minidl.kernels.cpu import conv_direct, conv_gemm
from minidl.kernels.cpu.compile import ready


def conv2d(x, w, b, geometry):
    """As the portable kernel."""
    x, w, b = ready(x, w, b)
    return _algorithm("conv2d", x.shape, w.shape, geometry).conv2d(x, w, b, geometry)


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    gy, w = ready(gy, w)
    return _algorithm("conv2d_input_grad", x_shape, w.shape, geometry).conv2d_input_grad(gy, w, x_shape, geometry)


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    gy, x = ready(gy, x)
    return _algorithm("conv2d_weight_grad", x.shape, w_shape, geometry).conv2d_weight_grad(gy, x, w_shape, geometry)


def _algorithm(name, x_shape, w_shape, geometry):
    """The module to use. Both were measured on the layers of LeNet-5, AlexNet, VGG-16 and ResNet-50."""
    if geometry.stride != (1, 1):
        module, reason = conv_gemm, "gemm: stride above 1"
    elif not conv_direct.fits(x_shape, w_shape, geometry):
        module, reason = conv_gemm, "gemm: rows too long for a tile"
    else:
        module, reason = conv_direct, "direct"
    note(name, "cpu", reason)
    return module
