"""Convolution on the GPU: chooses the algorithm by shape.

- ``tensor``: float16 and bfloat16, and float32 that may be rounded, where the GPU has tensor cores for them (conv_tensor).
- ``depthwise``: each channel is a group of its own (conv_depthwise).
- ``gemm``: everything else: tiles of an implicit matrix product, in plain arithmetic (conv_gemm).

They count numbers in 32 bits: larger batches are computed in parts.
"""

import functools
import math

from minidl.kernels import namespace, note
from minidl.kernels.cuda import conv_depthwise, conv_gemm, conv_tensor
from minidl.kernels.cuda.gemm import LARGEST
from minidl.kernels.cuda.launch import ready
from minidl.kernels.half import widened
from minidl.kernels.portable import conv as portable
from minidl.kernels.shapes import windows


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    if parts := _parts(x.shape, w.shape, geometry):
        shape = (len(x), len(w), *windows(x.shape[2:], w.shape[2:], geometry))
        return _filled(shape, x, parts, lambda part: conv2d(x[part], w, b, geometry, relu))
    return _choose("conv2d", x, x.shape, w.shape, geometry)(*ready(x, w, b), geometry, relu)


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    if parts := _parts(x_shape, w.shape, geometry):
        return _filled(x_shape, gy, parts, lambda part: conv2d_input_grad(gy[part], w, (len(gy[part]), *x_shape[1:]), geometry))
    return _choose("conv2d_input_grad", gy, x_shape, w.shape, geometry)(*ready(gy, w), x_shape, geometry)


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    if parts := _parts(x.shape, w_shape, geometry):
        return sum(widened(conv2d_weight_grad(gy[part], x[part], w_shape, geometry)) for part in parts).astype(x.dtype)
    return _choose("conv2d_weight_grad", x, x.shape, w_shape, geometry)(*ready(gy, x), w_shape, geometry)


@functools.lru_cache(4096)
def _parts(x_shape, w_shape, geometry) -> tuple[slice, ...]:
    """The images to compute at a time, where all of them have too many numbers to count; else nothing."""
    images, at_once = x_shape[0], max(1, LARGEST // max(1, _numbers(x_shape, w_shape, geometry)))
    if images <= at_once:
        return ()
    return tuple(slice(first, min(first + at_once, images)) for first in range(0, images, at_once))


def _numbers(x_shape, w_shape, geometry) -> int:
    """In an image of x, or of y if those are more."""
    return max(math.prod(x_shape[1:]), w_shape[0] * math.prod(windows(x_shape[2:], w_shape[2:], geometry)))


def _filled(shape, like, parts, compute):
    """An array of this shape, with what ``compute`` gives for each of the parts."""
    whole = namespace(like).empty(shape, like.dtype)
    for part in parts:
        whole[part] = compute(part)
    return whole


def _choose(name, array, x_shape, w_shape, geometry):
    """The kernel ``name`` by the algorithm that suits arrays like this."""
    module, why = _algorithm(x_shape, w_shape, geometry, conv_tensor.takes(array))
    note(name, "cuda", why)
    return getattr(module, name)


@functools.lru_cache(4096)
def _algorithm(x_shape, w_shape, geometry, tensor):
    """The module, and why; ``tensor``: what conv_tensor says of the arrays."""
    if _numbers(x_shape, w_shape, geometry) > LARGEST:
        return portable, "im2col: an image has too many numbers to count in 32 bits"
    if x_shape[1] == geometry.groups > 1:
        return conv_depthwise, "depthwise: each channel is a group of its own"
    if tensor and conv_tensor.suits(w_shape, geometry):
        return conv_tensor, tensor
    return conv_gemm, "gemm: tiles of an implicit matrix product"
