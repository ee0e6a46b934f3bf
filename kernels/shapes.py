"""Output sizes, padding and pairs: the only place with size arithmetic."""

from typing import NamedTuple


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


def windows(size, kernel_size, geometry: ConvGeometry) -> tuple[int, int]:
    """How many windows of ``kernel_size`` fit into an image of ``size``, as (rows, columns): (OH, OW).

    >>> windows((28, 27), (5, 3), ConvGeometry(stride=(1, 2), padding=(2, 0)))
    (28, 13)
    """
    along = zip(size, kernel_size, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    oh, ow = (conv_output(*axis) for axis in along)
    return oh, ow


def pool_output(size: int, kernel: int, stride: int, padding: int, dilation: int = 1, ceil_mode: bool = False) -> int:
    """As ``conv_output``; with ``ceil_mode`` a last, partial window counts unless it would start in the padding.

    >>> pool_output(5, 2, 2, 1, ceil_mode=True), pool_output(4, 2, 2, 1, ceil_mode=True), pool_output(5, 1, 3, 0, ceil_mode=True)
    (3, 3, 2)
    """
    if not ceil_mode:
        return conv_output(size, kernel, stride, padding, dilation)
    windows = -(-(size + 2 * padding - dilation * (kernel - 1) - 1) // stride) + 1
    return windows - 1 if (windows - 1) * stride >= size + padding else windows
