"""Convolution by tiles of an implicit matrix product, in plain arithmetic: see conv_gemm.cu. Any geometry, any dtype."""

import math

from minidl.kernels import namespace
from minidl.kernels.cuda.gemm import launch_in_parts, plan
from minidl.kernels.cuda.geometry import geometry_of
from minidl.kernels.cuda.launch import THREADS, launch


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    g = geometry_of(x.shape, w.shape, geometry)
    y = namespace(x).empty((x.shape[0], w.shape[0], g["oh"], g["ow"]), x.dtype)
    _launch("conv2d", plan(w.shape[0] // geometry.groups, int(g["windows"]), batches=geometry.groups), x, w, b, y, g, relu)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    g, gx = geometry_of(x_shape, w.shape, geometry), namespace(gy).empty(x_shape, gy.dtype)
    (n, c, *size), (sh, sw) = x_shape, geometry.stride
    pixels = n * -(-size[0] // sh) * -(-size[1] // sw)  # in the largest phase
    _launch("conv2d_input_grad", plan(c // geometry.groups, pixels, batches=geometry.groups * sh * sw), gy, w, gx, g)
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    g, gw = geometry_of(x.shape, w_shape, geometry), namespace(gy).empty(w_shape, gy.dtype)
    rows, *cut = plan(w_shape[0] // geometry.groups, math.prod(w_shape[1:]), int(g["windows"]), geometry.groups)
    launch_in_parts(f"conv_gemm.conv2d_weight_grad_{rows}", *cut, gw, gy, x, after=(g,))
    return gw


def _launch(name, tiles, *args):
    launch(f"conv_gemm.{name}_{tiles.rows}", tiles.blocks, *args, dtype=args[0].dtype, per_item=THREADS)
