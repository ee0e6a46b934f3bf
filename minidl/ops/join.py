"""Joining and splitting along an axis: two linear maps, each the adjoint of the other."""

import itertools
from collections.abc import Sequence

from minidl.dtypes import promote_types
from minidl.errors import ShapeError
from minidl.kernels import namespace
from minidl.op import Op
from minidl.ops.cast import cast
from minidl.ops.reduce import axis_of
from minidl.ops.shape import squeeze, unsqueeze
from minidl.tensor import Tensor, astensor, method


class Concat(Op):
    """Tensors one after another along an axis; each takes its part of the gradient."""

    def __init__(self, axis):
        self.axis = axis

    def forward(self, *xs):
        self.sizes = [x.shape[self.axis] for x in xs]
        return namespace(xs[0]).concatenate(xs, axis=self.axis)

    def backward(self, gy):
        return Split(self.axis, self.sizes)(gy)


class Split(Op):
    """Consecutive parts of an axis, as views: the adjoint of Concat."""

    def __init__(self, axis, sizes):
        self.axis, self.sizes = axis, sizes

    def forward(self, x):
        lead, ends = (slice(None),) * self.axis, itertools.accumulate(self.sizes)
        return tuple([x[(*lead, slice(end - size, end))] for size, end in zip(self.sizes, ends, strict=True)])

    def backward(self, *gys):
        return Concat(self.axis)(*gys)


def cat(tensors: Sequence[Tensor], dim=0) -> Tensor:
    """Tensors of equal shape, but for the axis ``dim``, one after another along it; dtypes are promoted.

    Tensors of shape (0,) are left out, so that a list can start with an empty one. Raises ShapeError for no tensors or other
    shapes, IndexError for an axis out of range.

    >>> import minidl
    >>> minidl.cat([minidl.tensor([1, 2]), minidl.tensor([3])])
    tensor([1, 2, 3])
    """
    tensors = [astensor(x) for x in tensors]
    if not tensors:
        raise ShapeError("cat needs at least one tensor")
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = promote_types(dtype, x.dtype)
    tensors = [cast(x, dtype) for x in tensors if x.shape != (0,)] or [cast(tensors[0], dtype)]
    axis = axis_of(tensors[0], dim)
    if not tensors[0].ndim or len({(x.ndim, x.shape[:axis], x.shape[axis + 1 :]) for x in tensors}) != 1:
        raise ShapeError(f"cat along dim {dim} needs shapes with axes that agree on all but this one, got "
                         + ", ".join(str(x.shape) for x in tensors))
    return Concat(axis)(*tensors)


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim=0) -> Tensor:
    """Tensors of equal shape along a new axis at ``dim``; dtypes are promoted.

    Raises ShapeError for no tensors or different shapes, IndexError for a place out of range.

    >>> import minidl
    >>> minidl.stack([minidl.tensor([1, 2]), minidl.tensor([3, 4])], dim=1)
    tensor([[1, 3],
            [2, 4]])
    """
    tensors = [astensor(x) for x in tensors]
    if len({x.shape for x in tensors}) != 1:
        raise ShapeError("stack needs tensors of one shape, got " + (", ".join(str(x.shape) for x in tensors) or "none"))
    return cat([unsqueeze(x, dim) for x in tensors], dim)


@method()
def split(tensor, split_size_or_sections, dim=0) -> tuple[Tensor, ...]:
    """Parts of an axis, as views: of this many slices each (the last may be smaller), or of the sizes listed.

    Raises IndexError for an axis out of range, ShapeError for a size below 1 or sections that do not add up to the axis.

    >>> import minidl
    >>> [p.tolist() for p in minidl.arange(5).split(2)], [p.tolist() for p in minidl.arange(5).split([1, 4])]
    ([[0, 1], [2, 3], [4]], [[0], [1, 2, 3, 4]])
    """
    x = astensor(tensor)
    if not x.ndim:
        raise ShapeError("a 0-d tensor has no axis to split")
    axis = axis_of(x, dim)
    size = x.shape[axis]
    if not isinstance(split_size_or_sections, (tuple, list)):
        step = int(split_size_or_sections)
        if step < 1:
            raise ShapeError(f"split needs parts of at least 1 slice, got {step}")
        sections = [min(step, size - start) for start in range(0, max(size, 1), step)]
    else:
        sections = list(split_size_or_sections)
        if sum(sections) != size or min(sections, default=0) < 0:
            raise ShapeError(f"split: sections {sections} do not add up to {size}, the size of dim {dim} of shape {x.shape}")
    return Split(axis, sections)(x)


@method()
def chunk(input, chunks, dim=0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of an axis, equal in size but for the last, as views.

    Raises IndexError for an axis out of range, ShapeError for fewer than one chunk.

    >>> import minidl
    >>> [p.tolist() for p in minidl.arange(5).chunk(3)]
    [[0, 1], [2, 3], [4]]
    """
    x = astensor(input)
    if chunks < 1:
        raise ShapeError(f"chunk needs at least 1 chunk, got {chunks}")
    size = (x.shape or (1,))[axis_of(x, dim)]
    return split(x, -(-size // chunks) if size else [0] * chunks, dim)


@method()
def unbind(input, dim=0) -> tuple[Tensor, ...]:
    """The slices along an axis, without it, as views.

    Raises IndexError for an axis out of range.

    >>> import minidl
    >>> [row.tolist() for row in minidl.arange(6).reshape(2, 3).unbind()]
    [[0, 1, 2], [3, 4, 5]]
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    return tuple([squeeze(part, axis) for part in split(x, [1] * (x.shape or (1,))[axis], axis)])
