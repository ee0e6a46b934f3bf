"""Convolution where each input channel is a group of its own: see conv_depthwise.cu."""

from minidl.kernels import namespace
from minidl.kernels.cuda.gemm import cut, launch_in_parts
from minidl.kernels.cuda.geometry import geometry_of
from minidl.kernels.cuda.launch import launch


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    g = geometry_of(x.shape, w.shape, geometry)
    y = namespace(x).empty((x.shape[0], w.shape[0], g["oh"], g["ow"]), x.dtype)
    launch("conv_depthwise.conv2d", y.size, x, w, b, y, g, relu, dtype=x.dtype)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    gx = namespace(gy).empty(x_shape, gy.dtype)
    launch("conv_depthwise.conv2d_input_grad", gx.size, gy, w, gx, geometry_of(x_shape, w.shape, geometry), dtype=gy.dtype)
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    g, gw = geometry_of(x.shape, w_shape, geometry), namespace(gy).empty(w_shape, gy.dtype)
    parts, length = cut(int(g["windows"]), len(gw))
    launch_in_parts("conv_depthwise.conv2d_weight_grad", len(gw) * parts, parts, length, gw, gy, x, after=(g,))
    return gw
