"""Convolution on the CPU: chooses the algorithm by shape.

- ``pointwise``: windows of one pixel are a product of matrices (conv_pointwise).
- ``winograd``: 3x3 and 5x5 windows at stride 1 by few multiplications (winograd), float32.
- ``depthwise``: planes of pixels against small windows, where each channel is a group of its own (conv_depthwise).
- ``direct``: everything else: a sum of shifted images (conv_direct).
"""

import numpy as np

from minidl.kernels import forced_algorithm, note
from minidl.kernels.cpu import conv_depthwise, conv_direct, conv_pointwise, winograd
from minidl.kernels.cpu.compile import ready

CHANNELS = 8  # with fewer, transforming tiles costs more than it saves
OTHERS = {"pointwise": (conv_pointwise, "a window of one pixel makes the image itself the matrix"),
          "depthwise": (conv_depthwise, "each channel is a group of its own"),
          "direct": (conv_direct, "a sum of shifted images")}


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    return _run("conv2d", x, w.shape, geometry, *ready(x, w, b), geometry, relu)


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    return _run("conv2d_input_grad", gy, w.shape, geometry, *ready(gy, w), x_shape, geometry)


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    return _run("conv2d_weight_grad", gy, w_shape, geometry, *ready(gy, x), w_shape, geometry)


def _run(name, x, w_shape, geometry, *args):
    """Compute the kernel ``name`` by the algorithm that suits."""
    choice = _choose(x, w_shape, geometry)
    if choice == "winograd":
        result = getattr(winograd, name)(*args)
        if result is not None:
            note(name, "cpu", f"winograd: {w_shape[2]}x{w_shape[3]} windows at stride 1 by fewer multiplications")
            return result
        note(name, "cpu", "direct: NaN, infinity or an outlier, near which winograd would lose digits")
        return getattr(conv_direct, name)(*args)
    module, why = OTHERS[choice]
    note(name, "cpu", f"{choice}: {why}")
    return getattr(module, name)(*args)


def _choose(x, w_shape, geometry):
    forced = forced_algorithm()
    if w_shape[2:] == (1, 1) and geometry.padding == (0, 0) and geometry.groups == 1 and forced in (None, "pointwise"):
        return "pointwise"
    if conv_depthwise.suits(w_shape, geometry) and forced in (None, "depthwise"):
        return "depthwise"
    if x.dtype == np.float32 and len(x) and winograd.suits(w_shape, geometry):
        if forced == "winograd" or forced is None and min(w_shape[:2]) >= CHANNELS:
            return "winograd"
    return "direct"
