"""Padding: constant, or with elements of the tensor itself (reflected, replicated, wrapped round)."""

import numpy as np

from minidl.errors import ShapeError
from minidl.kernels import namespace
from minidl.op import Op
from minidl.ops.gather import index_select
from minidl.tensor import Tensor, astensor, tensor


class ConstantPad(Op):
    """``pads[axis] = (before, after)`` elements of a constant on each axis; negative numbers cut off.

    The gradient cuts off what was padded and pads what was cut off: the same op with all signs turned.
    """

    def __init__(self, pads, value=0):
        self.pads, self.value = pads, value

    def forward(self, x):
        kept = tuple(slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in zip(x.shape, self.pads, strict=True))
        added = [(max(before, 0), max(after, 0)) for before, after in self.pads]
        return namespace(x).pad(x[kept], added, constant_values=self.value)

    def backward(self, gy):
        return ConstantPad([(-before, -after) for before, after in self.pads])(gy)


def pad(input, pad, mode="constant", value=None) -> Tensor:
    """``pad`` lists (before, after) for the last axis, then the last but one, and so on, in one flat sequence.

    ``mode``: "constant" (``value``, default 0; negative numbers cut off), "reflect" (without repeating the edge), "replicate"
    (the edge itself) or "circular". Raises ShapeError for pads that don't fit.

    >>> import minidl
    >>> minidl.pad(minidl.tensor([[1, 2, 3]]), (1, 2))
    tensor([[0, 1, 2, 3, 0, 0]])
    >>> minidl.pad(minidl.tensor([[1, 2, 3]]), (2, 1), mode="reflect")
    tensor([[3, 2, 1, 2, 3, 2]])
    """
    x = astensor(input)
    if len(pad) % 2 or len(pad) > 2 * x.ndim:
        raise ShapeError(f"pad takes two numbers an axis, from the last axis on, got {tuple(pad)} for shape {x.shape}")
    pairs = [(int(pad[i]), int(pad[i + 1])) for i in range(0, len(pad), 2)]
    pads = [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1]
    if mode == "constant":
        if any(n + before + after < 0 for n, (before, after) in zip(x.shape, pads, strict=True)):
            raise ShapeError(f"pad {tuple(pad)} cuts off more than shape {x.shape} has")
        return ConstantPad(pads, 0 if value is None else value)(x)
    if mode not in _INDICES:
        raise ValueError(f"mode must be 'constant', 'reflect', 'replicate' or 'circular', got {mode!r}")
    if value is not None:
        raise ValueError(f"a value goes with mode='constant', not {mode!r}")
    for axis, (before, after) in enumerate(pads):
        if before or after:
            x = index_select(x, axis, tensor(_INDICES[mode](x.shape[axis], before, after), device=x.device))
    return x


def _places(size: int, before: int, after: int, most: int, mode: str) -> np.ndarray:
    if max(before, after) > most or size + before + after < 0 or size == 0:
        raise ShapeError(f"pad ({before}, {after}) in mode {mode!r} does not fit an axis of size {size}")
    return np.arange(-before, size + after)


def _reflected(size, before, after):
    places = _places(size, before, after, size - 1, "reflect")
    return (size - 1) - abs((size - 1) - abs(places))


def _replicated(size, before, after):
    return np.clip(_places(size, before, after, np.inf, "replicate"), 0, size - 1)


def _wrapped(size, before, after):
    return _places(size, before, after, size, "circular") % size


_INDICES = {"reflect": _reflected, "replicate": _replicated, "circular": _wrapped}
