"""Indexing: picking elements, and the adjoint, adding them up where they came from. Indices are checked before use.

A key is applied in two steps: integers, slices, None and ``...`` make a view (Slice and its adjoint Unslice); bool masks and
integer tensors then pick from axes of that view (Take and its adjoint Put, which gather and embedding use as well).
"""

import math
import operator

import numpy as np

from minidl.errors import DeviceError, DtypeError, GraphError, ShapeError
from minidl.kernels import kernel, namespace
from minidl.kernels.recording import current
from minidl.op import Op
from minidl.ops.inplace import check_writable, written_value
from minidl.ops.reduce import axis_of
from minidl.ops.shape import Permute
from minidl.tensor import Tensor, astensor, method, mode, written


def check_indices(index, size: int, what: str, negative=False):
    """An integer array as int64 indices in [0, size); with ``negative``, those in [-size, 0) count from the end.

    Raises DtypeError unless it is an integer array, IndexError naming the first element that is out of range.
    """
    if index.dtype.kind not in "iu":
        raise DtypeError(f"{what}: indices must be integers, got {index.dtype}")
    if not index.size:
        return index.astype(np.int64)
    if current() is not None and not isinstance(index, np.ndarray):
        return index.astype(np.int64) % size  # a step that is being recorded cannot look at numbers, but they must stay in range
    least, low = index.min(), -size if negative else 0
    if least < low or index.max() >= size:
        wrong = index[(index < low) | (index >= size)][0]
        raise IndexError(f"{what}: index {wrong} is out of range for size {size}")
    index = index.astype(np.int64, copy=False)
    return index % size if least < 0 else index


class Slice(Op):
    """y = x[key] for a key of integers, slices, None and ``...``: a view."""

    def __init__(self, key):
        self.key = key

    def forward(self, x):
        self.shape = x.shape
        return x[self.key]

    def backward(self, gy):
        return Unslice(self.key, self.shape)(gy)


class Unslice(Op):
    """Zeros of ``shape`` with x at [key]: the adjoint of Slice."""

    def __init__(self, key, shape):
        self.key, self.shape = key, shape

    def forward(self, x):
        y = namespace(x).zeros(self.shape, x.dtype)
        y[self.key] = x
        return y

    def backward(self, gy):
        return Slice(self.key)(gy)


class Take(Op):
    """y[b, r] = x[i(b), j(b), ..., r]: index arrays for the first axes, which broadcast to the shape of b."""

    def __init__(self, *indices):
        self.indices = self.constants = indices

    def forward(self, x):
        self.shape = x.shape
        self.save(*self.indices)
        return x[self.indices]

    def backward(self, gy):
        return Put(self.shape, *[index.array for index in self.saved])(gy)


def flat(indices, shape):
    """Index arrays of all axes, which broadcast, as places in row-major order."""
    return sum(index * math.prod(shape[axis + 1 :]) for axis, index in enumerate(indices)).reshape(-1)


class Put(Op):
    """Zeros of ``shape`` with y[i(b), j(b), ..., r] += x[b, r]: the adjoint of Take. Places may repeat."""

    def __init__(self, shape, *indices):
        self.shape, self.indices, self.constants = shape, indices, indices

    def forward(self, x):
        self.save(*self.indices)
        picked, rest = self.shape[: len(self.indices)], self.shape[len(self.indices):]
        rows = flat(self.indices, picked)
        y = kernel("put_rows", x)(x.reshape(rows.size, math.prod(rest)), rows, math.prod(picked))
        return y.reshape(self.shape)

    def backward(self, gy):
        return Take(*[index.array for index in self.saved])(gy)


def _part(part, xp):
    """A part of a key as it is if it is a slice, None or ``...``; else as an array, or as an int if it has no axes."""
    if part.__class__ is int or part.__class__ is slice or part is None or part is Ellipsis:
        return part
    if not isinstance(part, (Tensor, xp.ndarray, np.ndarray, list, tuple, range, bool, np.bool_)):
        try:
            return operator.index(part)
        except TypeError:
            raise IndexError("a key is made of integers, slices, None, `...`, bools, and tensors, arrays or lists of integers or "
                             f"bools, got {part!r}") from None
    array = _on_device(part, xp) if isinstance(part, Tensor) else xp.asarray(part)
    if not array.size and isinstance(part, (list, tuple)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub" or array.dtype == np.uint8:
        raise IndexError(f"indices are bools or integers (but not uint8, which PyTorch reads as a mask), got {array.dtype}")
    return array if array.ndim or is_mask(array) else int(array)


def _on_device(part: Tensor, xp):
    """Indices of the CPU are copied to the GPU; those of a GPU do not fit a tensor of the CPU."""
    if xp is np and not isinstance(part.array, np.ndarray):
        raise DeviceError(f"an index tensor on {part.device} for a tensor on the CPU: move it with .cpu()")
    return xp.asarray(part.array)


def is_mask(part) -> bool:
    """Whether this part of a key is a bool array or tensor."""
    return getattr(part, "dtype", None) == np.bool_


def _parts(key, x) -> list:
    """The parts of a key for the array ``x``, one for each of its axes that is not a mask's or new."""
    parts = [_part(part, namespace(x)) for part in (key if isinstance(key, tuple) else (key,))]
    named = sum([part.ndim if is_mask(part) else part is not None and part is not Ellipsis for part in parts])
    if named > x.ndim:
        raise IndexError(f"too many indices: {named} for shape {x.shape}")
    dots = [i for i, part in enumerate(parts) if part is Ellipsis] or [len(parts)]
    if len(dots) > 1:
        raise IndexError("an index can have only one ellipsis")
    parts[dots[0] : dots[0] + 1] = [slice(None)] * (x.ndim - named)
    return parts


def _parse(key, x) -> tuple[tuple, dict[int, np.ndarray]]:
    """The key of a view of the array ``x``, ending in ``...``, and index arrays for axes of that view, checked, not negative."""
    xp, view, indices = namespace(x), [], {}
    axis = place = 0  # the next axis of x, and of the view
    for part in _parts(key, x):
        if is_mask(part):
            if part.shape != x.shape[axis : axis + part.ndim]:
                raise IndexError(f"a mask of shape {part.shape} does not fit shape {x.shape} at dim {axis}")
            indices.update(enumerate(xp.atleast_1d(part).nonzero(), place))
            new = [slice(None)] * part.ndim or [None]
            axis += part.ndim
        else:
            new = [part]
            if isinstance(part, xp.ndarray):
                indices[place] = check_indices(part, x.shape[axis], f"dim {axis} of shape {x.shape}", negative=True)
                new = [slice(None)]
            elif part.__class__ is int and not -x.shape[axis] <= part < x.shape[axis]:
                raise IndexError(f"dim {axis} of shape {x.shape}: index {part} is out of range for size {x.shape[axis]}")
            axis += part is not None
        view += new
        place += len(new) - (part.__class__ is int)
    if len({index.shape for index in indices.values()}) > 1:
        _check_broadcast(*indices.values())
    return (*view, ...), indices  # the dots make NumPy return a view where integers name a single element


def _check_broadcast(*indices) -> None:
    shapes = [index.shape for index in indices]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise IndexError(f"index tensors of shapes {', '.join(map(str, shapes))} do not broadcast") from None


@method("__getitem__")
def getitem(input, key) -> Tensor:
    """Elements by integers, slices, None and ``...`` (a view), and by bool masks and integer tensors (a copy).

    As in PyTorch, integers are applied first; index tensors broadcast against each other, and their axes come where the
    first stood if they are neighbours, else in front. Negative indices count from the end. Raises IndexError for an index out
    of range, too many indices, or a mask that doesn't fit.

    >>> import minidl
    >>> x = minidl.arange(6).reshape(2, 3)
    >>> x[1, ::2], x[x > 3], x[minidl.tensor([1, 0]), 2]
    (tensor([3, 5]), tensor([4, 5]), tensor([5, 2]))
    """
    shape = input.array.shape
    if shape and (key.__class__ is slice or key.__class__ is int and -shape[0] <= key < shape[0]):  # most keys, in little time
        return Slice((key, ...))(input)
    view, indices = _parse(key, input.array)
    if not indices:
        return Slice(view)(input)
    x = input if all([part == slice(None) for part in view[:-1]]) else Slice(view)(input)
    picked = list(indices)
    rest = [axis for axis in range(x.ndim) if axis not in indices]
    y = Take(*indices.values())(x if picked == list(range(len(picked))) else Permute(picked + rest)(x))
    first, new = picked[0], y.ndim - len(rest)
    if first and picked == list(range(first, first + len(picked))):
        y = Permute([*range(new, new + first), *range(new), *range(new + first, y.ndim)])(y)
    return y


@method("__setitem__")
def setitem(self, key, value) -> None:
    """Write elements in place: of plain data, or under no_grad. Keys as for reading; the value broadcasts and is cast. Where an
    index tensor names a place more than once, the last value stays, as in NumPy, also on a GPU.

    Raises GraphError within a recorded graph, IndexError for an index out of range, ShapeError for a value that doesn't fit.
    """
    check_writable(self, "item assignment")
    if mode.recording and getattr(value, "tracked", False):
        raise GraphError("item assignment would cut the gradient of the value: use where, scatter, cat or stack instead, or "
                         "assign value.detach()")
    view, indices = _parse(key, self.array)
    try:
        value = written_value(value, self)
        if indices:
            part = self.array[view]
            if getattr(value, "ndim", 0) and not isinstance(value, np.ndarray):
                value = _last_for_each_place(value, indices, part.shape)
            part[tuple([indices.get(axis, slice(None)) for axis in range(part.ndim)])] = value
        else:
            self.array[view] = value
    except ValueError as error:
        raise ShapeError(f"item assignment to a tensor of shape {self.shape}: {error}") from None
    written(self.array)


def _last_for_each_place(value, indices, shape):
    """``value`` for writing at these index arrays, by axis, of an array of ``shape``: those for one place are all its last one.

    Threads of a GPU write in any order.
    """
    xp, axes = namespace(value), list(indices)
    named, rest = [shape[axis] for axis in axes], [size for axis, size in enumerate(shape) if axis not in indices]
    before = axes[0] if axes == list(range(axes[0], axes[0] + len(axes))) else 0  # of the rest, in front of the indices
    found = np.broadcast_shapes(*[index.shape for index in indices.values()])
    places = flat(xp.broadcast_arrays(*indices.values()), named)
    last = xp.full(math.prod(named), -1)
    xp.maximum.at(last, places, xp.arange(places.size))
    full = (*rest[:before], *found, *rest[before:])
    while value.ndim > len(full) and value.shape[0] == 1:
        value = value[0]
    by_place = xp.broadcast_to(value, full).reshape(math.prod(rest[:before]), places.size, math.prod(rest[before:]))
    return by_place[:, last[places]].reshape(full)


@method()
def narrow(input, dim, start, length) -> Tensor:
    """``length`` slices of an axis from ``start``, a view.

    Raises IndexError if the axis does not have them.

    >>> import minidl
    >>> minidl.arange(5).narrow(0, 1, 3)
    tensor([1, 2, 3])
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    size = (x.shape or (0,))[axis]
    first = start + size if start < 0 else start
    if not 0 <= first <= first + length <= size:
        raise IndexError(f"narrow: {length} slices from {start} do not fit into dim {dim} of shape {x.shape}")
    return Slice((slice(None),) * axis + (slice(first, first + length),))(x)
