"""Resampling images to other sizes, axis by axis, in basic ops: picked elements, or two neighbours mixed."""

import numpy as np

from minidl.errors import DtypeError, ShapeError
from minidl.kernels.half import REAL
from minidl.kernels.recording import uploaded
from minidl.kernels.shapes import pair
from minidl.ops.gather import index_select
from minidl.ops.precision import full_precision
from minidl.tensor import Tensor, astensor, wrap


@full_precision
def interpolate(input, size=None, scale_factor=None, mode="nearest", align_corners=None) -> Tensor:
    """Images (N, C, H, W) at another ``size``, or at floor(size * ``scale_factor``); both an int (number) or a pair.

    "nearest" picks element floor(i in / out); "bilinear" mixes neighbours, pixels being areas, or points whose corners are
    aligned with ``align_corners``. Raises ShapeError, or ValueError for options that contradict each other.

    >>> import minidl
    >>> minidl.interpolate(minidl.tensor([[[[1.0, 3.0]]]]), size=(1, 4), mode="bilinear")
    tensor([[[[1. , 1.5, 2.5, 3. ]]]])
    """
    x = astensor(input)
    if x.ndim != 4:
        raise ShapeError(f"interpolate needs images (N, C, H, W), got shape {x.shape}")
    if mode not in ("nearest", "bilinear"):
        raise ValueError(f"mode must be 'nearest' or 'bilinear', got {mode!r}")
    if mode == "nearest" and align_corners is not None:
        raise ValueError("align_corners goes with mode='bilinear'")
    if mode == "bilinear" and x.dtype.kind not in REAL:
        raise DtypeError(f"bilinear interpolation needs a floating-point tensor, got {x.dtype}")
    sizes, steps = _sizes(x.shape[2:], size, scale_factor)
    if min(sizes) < 1 or min(x.shape[2:]) < 1:
        raise ShapeError(f"interpolate from (H, W) = {x.shape[2:]} to {sizes}: all sizes must be at least 1")
    for axis, new, step in zip((2, 3), sizes, steps, strict=True):
        x = _nearest(x, axis, new, step) if mode == "nearest" else _linear(x, axis, new, step, bool(align_corners))
    return x


def _sizes(old, size, scale_factor):
    """The new sizes, and the step in the old image from one new element to the next."""
    if (size is None) == (scale_factor is None):
        raise ValueError("interpolate needs either size or scale_factor")
    if size is not None:
        new = pair(size, "size")
        return new, [n / max(m, 1) for n, m in zip(old, new, strict=True)]
    factors = (scale_factor, scale_factor) if isinstance(scale_factor, (int, float)) else tuple(scale_factor)
    return [int(n * f) for n, f in zip(old, factors, strict=True)], [1 / f for f in factors]


def _nearest(x: Tensor, axis: int, new: int, step: float) -> Tensor:
    places = np.minimum((np.arange(new) * step).astype(np.int64), x.shape[axis] - 1)
    return index_select(x, axis, wrap(uploaded(places, x.array)))


def _linear(x: Tensor, axis: int, new: int, step: float, align_corners: bool) -> Tensor:
    old = x.shape[axis]
    if align_corners:
        places = np.arange(new) * ((old - 1) / (new - 1) if new > 1 else 0.0)
    else:
        places = np.maximum((np.arange(new) + 0.5) * step - 0.5, 0)
    low = np.minimum(places.astype(np.int64), old - 1)
    high = np.minimum(low + 1, old - 1)
    weight = wrap(uploaded((places - low).reshape([-1] + [1] * (3 - axis)).astype(x.dtype), x.array))
    at_low, at_high = (index_select(x, axis, wrap(uploaded(at, x.array))) for at in (low, high))
    return at_low + (at_high - at_low) * weight
