"""Sums on the GPU: see sum.cu."""

import math

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready
from minidl.kernels.cuda.team import WARP_SIZE, Layout, plan
from minidl.kernels.portable import sum as portable

SHORT, ROWS = 256, 4  # rows up to this length are summed by fours, as in sum.cu


def sum(x, axes, keepdims=False, divisor=1):
    """As the portable kernel, which adds up arrays that are too large to be counted in 32 bits."""
    if not axes or x.size >= 1 << 31:
        return portable.sum(x, axes, keepdims, divisor)
    sizes, total = _alternating(x.shape, axes), ready(x)
    while len(sizes) > 4:  # the last axes first
        *sizes, outer, kept, inner = sizes
        total = _sums(total, Layout(math.prod(sizes), outer, kept, inner), np.dtype(np.float64))
        sizes = [*sizes[:-1], sizes[-1] * kept, 1]
    total = _sums(total, Layout(*sizes, *[1] * (4 - len(sizes))), x.dtype, float(divisor))
    return total.reshape([1 if i in axes else n for i, n in enumerate(x.shape) if keepdims or i not in axes])


def _sums(x, layout, dtype, divisor=1.0):
    """The sums of x, of every channel."""
    if layout.kept == 1:
        layout = Layout(layout.batch, 1, 1, layout.outer * layout.inner)
    xp, shared = namespace(x), plan(layout, x.dtype)
    y = xp.empty(layout.channels, dtype)
    if layout.outer == layout.kept == 1 and layout.inner <= SHORT and dtype == x.dtype:
        launch("sum.sum_rows", -(-layout.channels // ROWS), x, np.int64(layout.channels), layout.inner, divisor, y, dtype=dtype,
               per_item=WARP_SIZE)
        return y
    direct = shared.parts == 1 and dtype == x.dtype
    partial = None if direct else xp.empty((layout.channels, shared.parts), np.float64)
    launch("sum.sum", shared.items, x, *shared.arguments, divisor, partial, y if direct else None, dtype=x.dtype,
           per_item=shared.per_item)
    if not direct:
        launch("sum.sum_parts", layout.channels, partial, shared.parts, divisor, y, dtype=dtype, per_item=WARP_SIZE)
    return y


def _alternating(shape, axes) -> list[int]:
    """The shape with neighbouring axes made one where all are kept, or all summed over: kept, summed, ..., kept, summed."""
    sizes, summed = [1], False
    for axis, size in enumerate(shape):
        if (axis in axes) != summed:
            sizes.append(1)
            summed = not summed
        sizes[-1] *= size
    return sizes if summed else [*sizes, 1]
