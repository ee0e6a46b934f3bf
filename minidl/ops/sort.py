"""Sorting. Values are differentiable, through a gather at the indices; indices are integers. NaN counts as the largest."""

from typing import NamedTuple

from minidl.errors import ShapeError
from minidl.kernels import namespace
from minidl.ops.index import gather
from minidl.ops.reduce import axis_of
from minidl.tensor import Tensor, astensor, method, wrap


class Sorted(NamedTuple):
    """Values in order, and where they stood."""

    values: Tensor
    indices: Tensor


@method()
def argsort(input, dim=-1, descending=False, stable=True) -> Tensor:
    """The indices that sort along ``dim``; equal elements keep their order.

    >>> import minidl
    >>> minidl.argsort(minidl.tensor([3, 1, 2]))
    tensor([1, 2, 0])
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    if not x.ndim:
        return wrap(namespace(x.array).zeros((), int))
    xp = namespace(x.array)
    if not descending:
        return wrap(xp.argsort(x.array, axis=axis, kind="stable"))
    backwards = xp.argsort(xp.flip(x.array, axis), axis=axis, kind="stable")  # equal elements end up in their order
    return wrap(xp.ascontiguousarray(x.shape[axis] - 1 - xp.flip(backwards, axis)))


@method()
def sort(input, dim=-1, descending=False, stable=True) -> Sorted:
    """Elements in order along ``dim``, as (values, indices); equal elements keep their order.

    >>> import minidl
    >>> minidl.sort(minidl.tensor([3, 1, 2]), descending=True).values
    tensor([3, 2, 1])
    """
    x = astensor(input)
    indices = argsort(x, dim, descending, stable)
    return Sorted(gather(x, dim, indices), indices)


@method()
def topk(input, k, dim=-1, largest=True, sorted=True) -> Sorted:
    """The ``k`` largest (or smallest) elements along ``dim``, in order, as (values, indices).

    Raises ShapeError if there are fewer than ``k``.

    >>> import minidl
    >>> minidl.topk(minidl.tensor([3, 1, 2]), 2)
    Sorted(values=tensor([3, 2]), indices=tensor([0, 2]))
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    if not 0 <= k <= (x.shape[axis] if x.ndim else 1):
        raise ShapeError(f"topk: k={k} is out of range for dim {dim} of shape {x.shape}")
    indices = argsort(x, dim, descending=largest)
    if x.ndim:
        indices = wrap(indices.array[(slice(None),) * axis + (slice(k),)])
    return Sorted(gather(x, dim, indices), indices)
