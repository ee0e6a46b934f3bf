"""Convolution on the GPU: chooses the algorithm by shape.

- ``tensor``: float16 and bfloat16, and float32 that may be rounded, where the GPU has tensor cores for them (conv_tensor).
- ``depthwise``: each channel is a group of its own (conv_depthwise).
- ``gemm``: everything else: tiles of an implicit matrix product, in plain arithmetic (conv_gemm).
"""

import math

from minidl.kernels import note
from minidl.kernels.cuda import conv_depthwise, conv_gemm, conv_tensor
from minidl.kernels.cuda.gemm import LARGEST
from minidl.kernels.cuda.launch import ready
from minidl.kernels.portable import conv as portable
from minidl.kernels.shapes import windows


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    return _choose("conv2d", x, x.shape, w.shape, geometry)(*ready(x, w, b), geometry, relu)


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    return _choose("conv2d_input_grad", gy, x_shape, w.shape, geometry)(*ready(gy, w), x_shape, geometry)


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    return _choose("conv2d_weight_grad", x, x.shape, w_shape, geometry)(*ready(gy, x), w_shape, geometry)


def _choose(name, array, x_shape, w_shape, geometry):
    """The kernel ``name`` by the algorithm that suits arrays like this."""
    if max(math.prod(x_shape), x_shape[0] * w_shape[0] * math.prod(windows(x_shape[2:], w_shape[2:], geometry))) > LARGEST:
        module, why = portable, "im2col: too many elements to count in 32 bits"
    elif x_shape[1] == geometry.groups > 1:
        module, why = conv_depthwise, "depthwise: each channel is a group of its own"
    elif tensor := conv_tensor.suits(array, w_shape, geometry):
        module, why = conv_tensor, tensor
    else:
        module, why = conv_gemm, "gemm: tiles of an implicit matrix product"
    note(name, "cuda", why)
    return getattr(module, name)
