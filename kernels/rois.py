"""Where regions of interest lie in a feature map, one axis at a time: the arithmetic that the RoI ops share.

A region (RoI) is a box of the image; times ``scale`` it is one of the feature map. It is divided into ``bins`` equal parts along
the axis. Coordinates come as ``low`` and ``high`` (K,), and are computed in their dtype, so that float32 rounds as everywhere.
"""

from typing import NamedTuple

from minidl.kernels import namespace


class Bins(NamedTuple):
    """Bin b of region k covers the positions starts[k, b] to stops[k, b] - 1 of an axis; int64 (K, bins). It may be empty."""

    starts: object
    stops: object


class Samples(NamedTuple):
    """Bin b of region k is sampled at starts[k] + (b + (s + 0.5) / counts[k]) steps[k] for s below counts[k]. All (K,)."""

    starts: object
    steps: object
    counts: object


def whole_bins(low, high, scale, bins: int, size: int, last: int) -> Bins:
    """Bins of whole pixels, as large as needed to hold their share: they may overlap by one. Edges are rounded, halves away
    from 0; regions reach ``last`` pixels further, measure at least one, and are cut to [0, ``size``].

    >>> import numpy as np
    >>> whole_bins(np.array([2.5]), np.array([6.0]), 1.0, bins=2, size=9, last=1)  # pixels 3 to 6
    Bins(starts=array([[3, 5]]), stops=array([[5, 7]]))
    """
    xp = namespace(low)
    first = _rounded(low * scale)
    length = xp.maximum(_rounded(high * scale) - first + last, 1)
    edges = xp.arange(bins + 1).astype(low.dtype) * (length / bins)[:, None]
    starts, stops = xp.floor(edges[:, :-1]), xp.ceil(edges[:, 1:])
    return Bins(*(xp.clip(edge + first[:, None], 0, size).astype("int64") for edge in (starts, stops)))


def _rounded(x):
    """To the nearest integer, halves away from 0, as C's round; NumPy's takes them to the even one."""
    xp = namespace(x)
    whole = xp.trunc(x)
    return whole + xp.copysign(abs(x - whole) >= 0.5, x)


def sampled_bins(low, high, scale, bins: int, ratio: int, aligned: bool) -> Samples:
    """Bins with ``ratio`` samples each, or, if that is not positive, as many as a bin has pixels, rounded up. ``aligned`` puts
    the centre of pixel 0 at 0.5; otherwise it is at 0, and regions measure at least one.

    >>> import numpy as np
    >>> sampled_bins(np.array([1.0]), np.array([6.0]), 1.0, bins=2, ratio=0, aligned=True)
    Samples(starts=array([0.5]), steps=array([2.5]), counts=array([3]))
    """
    xp = namespace(low)
    offset = 0.5 if aligned else 0.0
    start = low * scale - offset
    length = high * scale - offset - start
    if not aligned:
        length = xp.maximum(length, 1)
    steps = length / bins
    counts = xp.full(len(low), ratio) if ratio > 0 else xp.maximum(xp.ceil(steps), 0)
    return Samples(start, steps, counts.astype("int64"))
