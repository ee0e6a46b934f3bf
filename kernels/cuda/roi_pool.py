"""Pooling of regions of interest on the GPU: see roi_pool.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready, source, structs

SIZES = structs(source("roi_pool").read_text())["Sizes"]


def roi_pool(x, rows, columns, images):
    """As the portable kernel."""
    xp, shape = namespace(x), (len(images), x.shape[1], rows.starts.shape[1], columns.starts.shape[1])
    values, winners = xp.empty(shape, x.dtype), xp.empty(shape, np.int64)
    launch("roi_pool.roi_pool", values.size, *ready(x, images, *rows, *columns), _sizes(x.shape, shape), values, winners,
           dtype=x.dtype)
    return values, winners


def take_roi_winners(x, out_shape, winners, rows, columns, images):
    """As the portable kernel."""
    y = namespace(x).empty(out_shape, x.dtype)
    launch("roi_pool.take_roi_winners", y.size, *ready(x, images, winners), _sizes(x.shape, out_shape), y, dtype=x.dtype)
    return y


def add_roi_winners(gy, out_shape, winners, rows, columns, images):
    """As the portable kernel."""
    gx = namespace(gy).empty(out_shape, gy.dtype)
    launch("roi_pool.add_roi_winners", gx.size, *ready(gy, images, winners, *rows, *columns), _sizes(out_shape, gy.shape), gx,
           dtype=gy.dtype)
    return gx


def ps_roi_pool(x, out_shape, rows, columns, images):
    """As the portable kernel."""
    y = namespace(x).empty(out_shape, x.dtype)
    launch("roi_pool.ps_roi_pool", y.size, *ready(x, images, *rows, *columns), _sizes(x.shape, out_shape), y, dtype=x.dtype)
    return y


def ps_roi_pool_adjoint(gy, out_shape, rows, columns, images):
    """As the portable kernel."""
    gx = namespace(gy).empty(out_shape, gy.dtype)
    launch("roi_pool.ps_roi_pool_adjoint", gx.size, *ready(gy, images, *rows, *columns), _sizes(out_shape, gy.shape), gx,
           dtype=gy.dtype)
    return gx


def _sizes(image_shape, bin_shape) -> np.void:
    return np.array((*image_shape[1:], *bin_shape[2:], bin_shape[0]), SIZES)[()]
