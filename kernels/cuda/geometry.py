"""The geometry of a convolution as kernels take it: a struct of ints, passed by value. See geometry.cuh."""

import functools
import math
from pathlib import Path

import numpy as np

from minidl.kernels.cuda.launch import structs
from minidl.kernels.shapes import ConvGeometry, windows

GEOMETRY = structs(Path(__file__).with_name("geometry.cuh").read_text(encoding="utf-8"))["Geometry"]


@functools.lru_cache(1024)
def geometry_of(x_shape: tuple, w_shape: tuple, geometry: ConvGeometry) -> np.void:
    """For x (N, C, H, W) and w (O, C/G, KH, KW): the sizes, and how the taps that see one pixel lie.

    >>> g = geometry_of((2, 3, 9, 8), (5, 3, 3, 2), ConvGeometry(stride=(2, 1), dilation=(2, 3)))
    >>> int(g["oh"]), int(g["ow"]), int(g["step_h"]), int(g["back_w"])
    (3, 5, 1, 3)
    """
    stride, padding, dilation, groups = geometry
    common = [math.gcd(*axis) for axis in zip(stride, dilation, strict=True)]
    steps, backs = ((size // by for size, by in zip(sizes, common, strict=True)) for sizes in (stride, dilation))
    output = windows(x_shape[2:], w_shape[2:], geometry)
    sizes = (*x_shape, w_shape[0], *w_shape[2:], *output, x_shape[0] * math.prod(output))
    return np.array((*sizes, *stride, *padding, *dilation, groups, *steps, *backs), GEOMETRY)[()]
