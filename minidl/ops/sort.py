"""Sorting. Values are differentiable, through a gather at the indices; indices are int64. NaN counts as the largest.

All orders are stable: equal elements keep theirs, also in descending order, and of equals the first are chosen. Numbers of 16
bits are sorted as float32, since CuPy sorts no bfloat16.
"""

from typing import NamedTuple

from minidl.errors import ShapeError
from minidl.kernels import namespace
from minidl.kernels.half import widened
from minidl.ops.gather import gather
from minidl.ops.reduce import axis_of
from minidl.ops.shape import squeeze
from minidl.tensor import Tensor, astensor, method, wrap


class Sorted(NamedTuple):
    """Values in order, and the indices at which they stood."""

    values: Tensor
    indices: Tensor


def _order(array, axis: int, descending: bool):
    """The indices that sort an array along an axis."""
    xp = namespace(array)
    if not array.ndim:
        return xp.zeros((), "int64")
    if not descending:
        return xp.argsort(widened(array), axis=axis, kind="stable").astype("int64", copy=False)
    backwards = _order(xp.flip(array, axis), axis, False)
    return array.shape[axis] - 1 - xp.flip(backwards, axis)


@method()
def argsort(input, dim=-1, descending=False, stable=False) -> Tensor:
    """The indices that sort along ``dim``. ``stable`` changes nothing: the order always is.

    Raises IndexError for an axis out of range.

    >>> import minidl
    >>> minidl.argsort(minidl.tensor([3, 1, 2]))
    tensor([1, 2, 0])
    """
    x = astensor(input)
    return wrap(_order(x.array, axis_of(x, dim), descending))


@method()
def sort(input, dim=-1, descending=False, stable=False) -> Sorted:
    """Elements in order along ``dim``, as (values, indices). ``stable`` changes nothing: the order always is.

    Raises IndexError for an axis out of range.

    >>> import minidl
    >>> minidl.sort(minidl.tensor([3, 1, 2]), descending=True).values
    tensor([3, 2, 1])
    """
    x = astensor(input)
    indices = argsort(x, dim, descending)
    return Sorted(gather(x, dim, indices), indices)


@method()
def msort(input) -> Tensor:
    """Values in order along the first axis.

    >>> import minidl
    >>> minidl.msort(minidl.tensor([3, 1, 2]))
    tensor([1, 2, 3])
    """
    return sort(input, 0).values


def _extremes(array, k: int, largest: bool):
    """The indices of the k largest (smallest) elements along the last axis, in ascending order of index.

    Elements beyond the k-th value are in, and of those equal to it as many as are missing, the first ones: a partition and a
    few passes instead of a sort.
    """
    xp, array = namespace(array), widened(array)
    n, nan = array.shape[-1], xp.isnan(array)
    bound = xp.partition(array, n - k if largest else k - 1, axis=-1)[..., n - k if largest else k - 1, None]
    bound_nan = xp.isnan(bound)
    beyond = (array > bound) | (nan & ~bound_nan) if largest else (array < bound) | (bound_nan & ~nan)
    equal = (array == bound) | (nan & bound_nan)
    missing = k - beyond.sum(-1, keepdims=True)
    chosen = beyond | (equal & (equal.cumsum(-1) <= missing))
    return chosen.nonzero()[-1].reshape(*array.shape[:-1], k)


@method()
def topk(input, k, dim=-1, largest=True, sorted=True) -> Sorted:
    """The ``k`` largest (or smallest) elements along ``dim``, in order, as (values, indices). ``sorted`` changes nothing.

    Raises IndexError for an axis out of range, ShapeError if there are fewer than ``k``.

    >>> import minidl
    >>> minidl.topk(minidl.tensor([3, 1, 2]), 2)
    Sorted(values=tensor([3, 2]), indices=tensor([0, 2]))
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    if not 0 <= k <= (x.shape or (1,))[axis]:
        raise ShapeError(f"topk: k={k} is out of range for dim {dim} of shape {x.shape}")
    if not x.ndim or not k or k == x.shape[axis]:
        indices = _order(x.array, axis, largest)
        indices = indices[(slice(None),) * axis + (slice(k),)] if x.ndim else indices
    else:
        xp = namespace(x.array)
        last = xp.moveaxis(x.array, axis, -1)
        found = _extremes(last, k, largest)
        order = _order(xp.take_along_axis(last, found, -1), -1, largest)
        indices = xp.moveaxis(xp.take_along_axis(found, order, -1), -1, axis)
    indices = wrap(indices)
    return Sorted(gather(x, dim, indices), indices)


@method()
def kthvalue(input, k, dim=-1, keepdim=False) -> Sorted:
    """The ``k``-th smallest element along ``dim``, counted from 1, as (values, indices).

    Raises IndexError for an axis out of range, ShapeError if there are fewer than ``k``, or ``k`` is not positive.

    >>> import minidl
    >>> minidl.kthvalue(minidl.tensor([3.0, 1.0, 2.0]), 2).values
    tensor(2.)
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    if not 1 <= k <= (x.shape or (1,))[axis]:
        raise ShapeError(f"kthvalue: k={k} is out of range for dim {dim} of shape {x.shape}")
    values, indices = topk(x, k, dim, largest=False)
    if not x.ndim:
        return Sorted(values, indices)
    values, indices = values.narrow(axis, k - 1, 1), indices.narrow(axis, k - 1, 1)
    return Sorted(values, indices) if keepdim else Sorted(squeeze(values, axis), squeeze(indices, axis))
