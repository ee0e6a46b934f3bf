"""Convolution on the GPU: chooses the algorithm by shape.

- ``tensor``: float16 and bfloat16, and float32 that may be rounded, where the GPU has tensor cores for them (conv_tensor).
- ``depthwise``: each channel is a group of its own (conv_depthwise).
- ``gemm``: everything else: tiles of an implicit matrix product, in plain arithmetic (conv_gemm).
"""

import functools
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
    module, why = _algorithm(x_shape, w_shape, geometry, conv_tensor.takes(array))
    note(name, "cuda", why)
    return getattr(module, name)


@functools.lru_cache(4096)
def _algorithm(x_shape, w_shape, geometry, tensor):
    """The module, and why; ``tensor``: what conv_tensor says of the arrays."""
    if max(math.prod(x_shape), x_shape[0] * w_shape[0] * math.prod(windows(x_shape[2:], w_shape[2:], geometry))) > LARGEST:
        return portable, "im2col: too many elements to count in 32 bits"
    if x_shape[1] == geometry.groups > 1:
        return conv_depthwise, "depthwise: each channel is a group of its own"
    if tensor and conv_tensor.suits(w_shape, geometry):
        return conv_tensor, tensor
    return conv_gemm, "gemm: tiles of an implicit matrix product"
