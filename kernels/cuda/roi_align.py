"""Sampling of regions of interest on the GPU: see roi_align.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready, source, structs, wide

SIZES = structs(source("roi_align").read_text())["Sizes"]


def roi_align(x, out_shape, rows, columns, images):
    """As the portable kernel."""
    return _run("sample", x, x.shape, out_shape, rows, columns, images, out_shape)


def roi_align_adjoint(gy, out_shape, rows, columns, images):
    """As the portable kernel."""
    return _run("spread", gy, out_shape, gy.shape, rows, columns, images, out_shape)


def _run(name, numbers, image_shape, bin_shape, rows, columns, images, shape):
    result = namespace(numbers).empty(shape, numbers.dtype)
    down, across = (_weights(axis, bins, size, numbers) for axis, bins, size in
                    zip((rows, columns), bin_shape[2:], image_shape[2:], strict=True))
    sizes = np.array((*image_shape[1:], *bin_shape[2:], len(images)), SIZES)[()]
    launch(f"roi_align.{name}", result.size, *ready(numbers, images), *down, *across, sizes, result, dtype=numbers.dtype)
    return result


def _weights(axis, bins, size, like):
    """The weights of each region's bins along an axis, (K, bins, size), and between which places they lie."""
    xp, regions, dtype = namespace(like), len(axis.starts), wide(like.dtype)
    weights = xp.zeros((regions, bins, size), dtype)
    first, stop = (xp.empty((regions, bins), np.int32) for _ in range(2))
    starts, steps = (part.astype(dtype, copy=False) for part in axis[:2])
    launch("roi_align.weigh", regions * bins, *ready(starts, steps, axis.counts), weights, first, stop, bins, size,
           dtype=like.dtype)
    return weights, first, stop
