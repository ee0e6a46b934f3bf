"""Output sizes, padding and pairs: the only place with size arithmetic."""

import functools
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np


def pair(value, name="value") -> tuple[int, int]:
    """An int as (int, int); a pair as it is.

    >>> pair(3), pair((1, 2))
    ((3, 3), (1, 2))
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value, value
    try:
        first, second = value
        return int(first.__index__()), int(second.__index__())
    except (TypeError, ValueError, AttributeError):
        raise TypeError(f"{name} must be an int or a pair of ints, got {value!r}") from None


class ConvGeometry(NamedTuple):
    """How a window walks over an image: all pairs are (height, width); padding is added on both sides."""

    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


def conv_output(size: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> int:
    """Number of windows that fit: floor((size + 2 padding - dilation (kernel - 1) - 1) / stride) + 1.

    >>> conv_output(28, 5, stride=1, padding=2)
    28
    """
    return (size + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1


@functools.lru_cache(4096)
def windows(size, kernel_size, geometry: ConvGeometry) -> tuple[int, int]:
    """How many windows of ``kernel_size`` fit into an image of ``size``, as (rows, columns): (OH, OW).

    >>> windows((28, 27), (5, 3), ConvGeometry(stride=(1, 2), padding=(2, 0)))
    (28, 13)
    """
    along = zip(size, kernel_size, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    oh, ow = (conv_output(*axis) for axis in along)
    return oh, ow


def conv_transpose_output(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, extra: int = 0) -> int:
    """The smallest size for which ``conv_output`` is ``size``, plus ``extra``.

    >>> conv_transpose_output(14, 4, stride=2, padding=1)
    28
    """
    return (size - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1 + extra


def pool_output(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False) -> int:
    """As ``conv_output``; with ``ceil_mode`` a last, partial window counts unless it would start in the padding.

    >>> pool_output(5, 2, 2, 1, ceil_mode=True), pool_output(4, 2, 2, 1, ceil_mode=True), pool_output(5, 1, 3, 0, ceil_mode=True)
    (3, 3, 2)
    """
    if not ceil_mode:
        return conv_output(size, kernel, stride, padding, dilation)
    windows = -(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride) + 1
    return windows - 1 if (windows - 1) * stride >= size + padding else windows


@dataclass(frozen=True, eq=False)  # so it can be a key, by identity
class Windows:
    """The windows of a pooling along one axis: window i covers positions starts[i], starts[i] + step, ... below stops[i].

    Padding is already cut off, so every position lies in the image. If before that all windows were alike, ``even`` tells how:
    where the first begins (negative in the padding), the stride, and how many positions each has.
    """

    starts: np.ndarray
    stops: np.ndarray
    step: int = 1
    even: tuple[int, int, int] | None = None


@functools.lru_cache
def pool_windows(size: int, windows: int, kernel: int, stride: int, padding: int, dilation: int = 1) -> Windows:
    """Where each of ``windows`` windows lies in an axis of ``size``.

    >>> pool_windows(5, 3, kernel=2, stride=2, padding=1)
    Windows(starts=array([0, 1, 3]), stops=array([1, 3, 5]), step=1, even=(-1, 2, 2))
    """
    starts = np.arange(windows) * stride - padding
    stops = np.minimum(starts + dilation * (kernel - 1) + 1, size)
    skipped = -(np.minimum(starts, 0) // dilation)  # window positions that fall into the padding
    return Windows(starts + skipped * dilation, stops, dilation, (-padding, stride, kernel))


@functools.lru_cache
def adaptive_windows(size: int, windows: int) -> Windows:
    """Windows that share an axis out evenly: from floor(i size / windows) to ceil((i + 1) size / windows).

    >>> adaptive_windows(7, 3)
    Windows(starts=array([0, 2, 4]), stops=array([3, 5, 7]), step=1, even=None)
    """
    i = np.arange(windows)
    return Windows(i * size // windows, -(-(i + 1) * size // windows))


def pool_divisors(size: int, windows: int, kernel: int, stride: int, padding: int) -> np.ndarray:
    """How many positions each average pooling window counts when padding counts, but not what overhangs it (ceil mode).

    >>> pool_divisors(4, 3, kernel=2, stride=2, padding=1)
    array([2, 2, 2])
    """
    starts = np.arange(windows) * stride - padding
    return np.minimum(starts + kernel, size + padding) - starts
