"""Shapes: the same elements in another arrangement. Each op is linear, and its gradient is the inverse arrangement.

Results are views of the input where NumPy can make them so; minidl never writes into a recorded tensor, so a view is safe.
"""

from collections.abc import Sequence

import numpy as np

from minidl.dtypes import promote_types
from minidl.errors import ShapeError
from minidl.kernels import namespace
from minidl.op import Expand, Op
from minidl.ops.cast import cast
from minidl.ops.reduce import axes_of, axis_of
from minidl.tensor import Tensor, astensor, method


def sizes_of(sizes: tuple) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` both as (2, 3)."""
    return tuple(sizes[0]) if len(sizes) == 1 and not isinstance(sizes[0], (int, np.integer)) else tuple(sizes)


class Reshape(Op):
    """The same elements in row-major order under another shape."""

    def __init__(self, shape):
        self.shape = shape

    def forward(self, x):
        self.from_shape = x.shape
        return x.reshape(self.shape)

    def backward(self, gy):
        return Reshape(self.from_shape)(gy)


@method()
def reshape(input, *shape) -> Tensor:
    """The elements in row-major order under a new shape, one size of which may be -1 and is then worked out.

    >>> import minidl
    >>> minidl.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    shape = sizes_of(shape)
    try:
        return Reshape(shape)(astensor(input))
    except ValueError:
        raise ShapeError(f"cannot reshape {input.shape}, {input.numel()} elements, to {shape}") from None


@method()
def view(self, *shape) -> Tensor:
    """As ``reshape``: unlike PyTorch's, it copies where the layout does not allow a view. ``view(dtype)`` is not offered."""
    return reshape(self, *shape)


@method("reshape_as", "view_as")
def reshape_as(self, other) -> Tensor:
    """Reshaped to the shape of another tensor."""
    return reshape(self, other.shape)


@method()
def flatten(input, start_dim=0, end_dim=-1) -> Tensor:
    """Axes from ``start_dim`` to ``end_dim`` as one.

    >>> import minidl
    >>> minidl.ones(2, 3, 4).flatten(1).shape
    (2, 12)
    """
    x = astensor(input)
    if x.ndim == 0:
        return reshape(x, 1)
    start, end = axis_of(x, start_dim), axis_of(x, end_dim)
    if start > end:
        raise ShapeError(f"flatten: start_dim={start_dim} comes after end_dim={end_dim}")
    merged = int(np.prod(x.shape[start : end + 1], dtype=np.int64))
    return reshape(x, (*x.shape[:start], merged, *x.shape[end + 1 :]))


@method()
def unflatten(input, dim, sizes) -> Tensor:
    """One axis as several.

    >>> import minidl
    >>> minidl.ones(2, 12).unflatten(1, (3, 4)).shape
    (2, 3, 4)
    """
    axis = axis_of(input, dim)
    return reshape(input, (*input.shape[:axis], *sizes, *input.shape[axis + 1 :]))


@method()
def squeeze(input, dim=None) -> Tensor:
    """Without axes of size 1: all of them, or those in ``dim`` (others stay).

    >>> import minidl
    >>> minidl.ones(1, 2, 1).squeeze().shape, minidl.ones(1, 2, 1).squeeze(0).shape
    ((2,), (2, 1))
    """
    x = astensor(input)
    dims = range(x.ndim) if dim is None else [axis_of(x, d) for d in ((dim,) if isinstance(dim, int) else dim)]
    return reshape(x, [n for axis, n in enumerate(x.shape) if not (axis in dims and n == 1)])


@method()
def unsqueeze(input, dim) -> Tensor:
    """With a new axis of size 1 at ``dim``.

    >>> import minidl
    >>> minidl.ones(2, 3).unsqueeze(-1).shape
    (2, 3, 1)
    """
    x = astensor(input)
    if not -x.ndim - 1 <= dim <= x.ndim:
        raise IndexError(f"dim={dim} is out of range for a new axis of a tensor with {x.ndim} axes")
    axis = dim % (x.ndim + 1)
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


class Permute(Op):
    """Axes in another order; the gradient's axes in the inverse order."""

    def __init__(self, axes):
        self.axes = axes

    def forward(self, x):
        return x.transpose(self.axes)

    def backward(self, gy):
        inverse = [0] * len(self.axes)
        for new, old in enumerate(self.axes):
            inverse[old] = new
        return Permute(inverse)(gy)


@method()
def permute(input, *dims) -> Tensor:
    """Axes in the order given.

    >>> import minidl
    >>> minidl.ones(2, 3, 4).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    x = astensor(input)
    axes = [axis_of(x, d) for d in sizes_of(dims)]
    if sorted(axes) != list(range(x.ndim)):
        raise ShapeError(f"permute needs each of the {x.ndim} axes once, got {sizes_of(dims)}")
    return Permute(axes)(x)


@method("transpose", "swapaxes", "swapdims")
def transpose(input, dim0, dim1) -> Tensor:
    """Two axes exchanged."""
    x = astensor(input)
    axes = list(range(x.ndim))
    if axes:
        a, b = axis_of(x, dim0), axis_of(x, dim1)
        axes[a], axes[b] = b, a
    return Permute(axes)(x)


@method()
def t(input) -> Tensor:
    """The transpose of a matrix; vectors stay as they are.

    Raises ShapeError for more than two axes.
    """
    if input.ndim > 2:
        raise ShapeError(f"t() needs at most 2 axes, got shape {input.shape}: use .mT or transpose(dim0, dim1)")
    return transpose(input, 0, 1) if input.ndim == 2 else input


@method()
def movedim(input, source, destination) -> Tensor:
    """Axes ``source`` moved to the places ``destination``."""
    x = astensor(input)
    source, destination = ([axis_of(x, d) for d in ((dims,) if isinstance(dims, int) else dims)]
                           for dims in (source, destination))
    order = [axis for axis in range(x.ndim) if axis not in source]
    for place, axis in sorted(zip(destination, source, strict=True)):
        order.insert(place, axis)
    return Permute(order)(x)


Tensor.T = property(lambda self: Permute(list(range(self.ndim))[::-1])(self), doc="All axes in reverse order.")
Tensor.mT = property(lambda self: transpose(self, -2, -1), doc="The last two axes exchanged.")


@method()
def expand(input, *sizes) -> Tensor:
    """Axes of size 1 repeated to larger sizes, without copying; -1 keeps a size. New axes come first.

    >>> import minidl
    >>> minidl.tensor([[1], [2]]).expand(2, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    x = astensor(input)
    sizes = sizes_of(sizes)
    lead = len(sizes) - x.ndim
    shape = tuple(x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(sizes))
    try:
        return Expand(shape)(x)
    except ValueError:
        raise ShapeError(f"cannot expand {x.shape} to {sizes}: only axes of size 1 can grow") from None


@method()
def expand_as(input, other) -> Tensor:
    """Expanded to the shape of another tensor."""
    return expand(input, other.shape)


@method()
def broadcast_to(input, shape) -> Tensor:
    """Expanded to ``shape``."""
    return expand(input, *shape)


def broadcast_tensors(*tensors) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape."""
    shape = np.broadcast_shapes(*(x.shape for x in tensors))
    return tuple(expand(x, *shape) for x in tensors)


class Concat(Op):
    """Tensors one after another along an axis; each takes its part of the gradient."""

    def __init__(self, axis):
        self.axis = axis

    def forward(self, *xs):
        self.sizes = [x.shape[self.axis] for x in xs]
        return namespace(xs[0]).concatenate(xs, axis=self.axis)

    def backward(self, gy):
        return tuple(Narrow(self.axis, end - size, end)(gy) if need else None
                     for size, end, need in zip(self.sizes, np.cumsum(self.sizes).tolist(), self.needs, strict=False))


class Narrow(Op):
    """The part [start, stop) of an axis; its adjoint puts the part among zeros."""

    def __init__(self, axis, start, stop):
        self.axis, self.start, self.stop = axis, start, stop

    def forward(self, x):
        self.size = x.shape[self.axis]
        return x[(slice(None),) * self.axis + (slice(self.start, self.stop),)]

    def backward(self, gy):
        return Embed(self.axis, self.start, self.size)(gy)


class Embed(Op):
    """Zeros of ``size`` along the axis, with x from ``start``: the adjoint of Narrow."""

    def __init__(self, axis, start, size):
        self.axis, self.start, self.size = axis, start, size

    def forward(self, x):
        self.stop = self.start + x.shape[self.axis]
        y = namespace(x).zeros((*x.shape[: self.axis], self.size, *x.shape[self.axis + 1 :]), x.dtype)
        y[(slice(None),) * self.axis + (slice(self.start, self.stop),)] = x
        return y

    def backward(self, gy):
        return Narrow(self.axis, self.start, self.stop)(gy)


def cat(tensors: Sequence[Tensor], dim=0) -> Tensor:
    """Tensors of equal shape, but for the axis ``dim``, one after another along it; dtypes are promoted.

    >>> import minidl
    >>> minidl.cat([minidl.tensor([1, 2]), minidl.tensor([3])])
    tensor([1, 2, 3])
    """
    tensors = [astensor(x) for x in tensors]
    if not tensors:
        raise ShapeError("cat needs at least one tensor")
    axis = axis_of(tensors[0], dim)
    dtype = tensors[0].dtype
    for x in tensors[1:]:
        dtype = promote_types(dtype, x.dtype)
    try:
        return Concat(axis)(*[cast(x, dtype) for x in tensors])
    except ValueError:
        raise ShapeError(f"cat along dim {dim} needs shapes that agree on all other axes, got "
                         + ", ".join(str(x.shape) for x in tensors)) from None


concat = concatenate = cat


def stack(tensors: Sequence[Tensor], dim=0) -> Tensor:
    """Tensors of equal shape along a new axis.

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
def narrow(input, dim, start, length) -> Tensor:
    """``length`` slices of an axis from ``start``.

    >>> import minidl
    >>> minidl.arange(5).narrow(0, 1, 3)
    tensor([1, 2, 3])
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    start = start + x.shape[axis] if start < 0 else start
    if not 0 <= start <= start + length <= x.shape[axis]:
        raise IndexError(f"narrow: {length} slices from {start} do not fit into axis {dim} of size {x.shape[axis]}")
    return Narrow(axis, start, start + length)(x)


@method()
def split(tensor, split_size_or_sections, dim=0) -> tuple[Tensor, ...]:
    """Parts of ``split_size`` slices each (the last may be smaller), or of the sizes listed.

    >>> import minidl
    >>> [p.tolist() for p in minidl.arange(5).split(2)]
    [[0, 1], [2, 3], [4]]
    """
    x = astensor(tensor)
    size = x.shape[axis_of(x, dim)]
    if isinstance(split_size_or_sections, int):
        if split_size_or_sections < 1:
            raise ValueError(f"split needs a positive size, got {split_size_or_sections}")
        step = split_size_or_sections
        sections = [min(step, size - start) for start in range(0, max(size, 1), step)]
    else:
        sections = list(split_size_or_sections)
        if sum(sections) != size or any(n < 0 for n in sections):
            raise ShapeError(f"split: sections {sections} do not add up to the size {size} of axis {dim}")
    ends = np.cumsum(sections).tolist()
    return tuple(narrow(x, dim, end - n, n) for n, end in zip(sections, ends, strict=True))


@method()
def chunk(input, chunks, dim=0) -> tuple[Tensor, ...]:
    """At most ``chunks`` parts of equal size, but for the last.

    >>> import minidl
    >>> [p.tolist() for p in minidl.arange(5).chunk(3)]
    [[0, 1], [2, 3], [4]]
    """
    if chunks < 1:
        raise ValueError(f"chunk needs a positive number of chunks, got {chunks}")
    size = input.shape[axis_of(input, dim)]
    return split(input, max(1, -(-size // chunks)), dim)


@method()
def unbind(input, dim=0) -> tuple[Tensor, ...]:
    """The slices along an axis, without it."""
    axis = axis_of(input, dim)
    return tuple(squeeze(narrow(input, axis, i, 1), axis) for i in range(input.shape[axis]))


class Flip(Op):
    """Axes read backwards; its own adjoint."""

    def __init__(self, axes):
        self.axes = axes

    def forward(self, x):
        return namespace(x).flip(x, self.axes)

    def backward(self, gy):
        return Flip(self.axes)(gy)


@method()
def flip(input, *dims) -> Tensor:
    """Axes in reverse order of their slices.

    >>> import minidl
    >>> minidl.arange(3).flip(0)
    tensor([2, 1, 0])
    """
    x = astensor(input)
    return Flip(axes_of(x, sizes_of(dims)))(x) if sizes_of(dims) else x.clone()


class Roll(Op):
    """Slices moved round along axes; the adjoint moves them back."""

    def __init__(self, shifts, axes):
        self.shifts, self.axes = shifts, axes

    def forward(self, x):
        return namespace(x).roll(x, self.shifts, self.axes)

    def backward(self, gy):
        return Roll(tuple(-n for n in self.shifts), self.axes)(gy)


@method()
def roll(input, shifts, dims=None) -> Tensor:
    """Elements moved along ``dims`` by ``shifts``, those that fall off coming in at the other end; flattened without ``dims``.

    >>> import minidl
    >>> minidl.arange(4).roll(1)
    tensor([3, 0, 1, 2])
    """
    x = astensor(input)
    if dims is None:
        return reshape(roll(reshape(x, -1), shifts, 0), x.shape)
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(shifts) != len(dims):
        raise ShapeError(f"roll needs as many shifts as dims, got {shifts} and {dims}")
    return Roll(shifts, tuple(axis_of(x, d) for d in dims))(x)


@method()
def repeat(input, *repeats) -> Tensor:
    """The whole tensor ``repeats`` times along each axis; surplus repeats make new leading axes.

    >>> import minidl
    >>> minidl.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    x = astensor(input)
    repeats = sizes_of(repeats)
    if len(repeats) < x.ndim:
        raise ShapeError(f"repeat needs at least {x.ndim} numbers for shape {x.shape}, got {repeats}")
    shape = (1,) * (len(repeats) - x.ndim) + x.shape
    y = reshape(x, [n for size in shape for n in (1, size)])
    y = Expand(tuple(n for times, size in zip(repeats, shape, strict=True) for n in (times, size)))(y)
    return reshape(y, [times * size for times, size in zip(repeats, shape, strict=True)])


@method()
def tile(input, *dims) -> Tensor:
    """As ``repeat``; missing numbers count as leading ones."""
    dims = sizes_of(dims)
    return repeat(input, *(1,) * (input.ndim - len(dims)), *dims)


@method()
def repeat_interleave(input, repeats: int, dim=None) -> Tensor:
    """Each slice ``repeats`` times in a row along ``dim``; flattened without.

    >>> import minidl
    >>> minidl.tensor([1, 2]).repeat_interleave(2)
    tensor([1, 1, 2, 2])
    """
    x = reshape(input, -1) if dim is None else astensor(input)
    axis = axis_of(x, dim or 0)
    y = unsqueeze(x, axis + 1)
    y = Expand((*y.shape[: axis + 1], repeats, *y.shape[axis + 2 :]))(y)
    return flatten(y, axis, axis + 1)


@method()
def contiguous(input) -> Tensor:
    """In row-major memory of its own; itself if it is already."""
    return input if input.is_contiguous() else input.clone()


class Masked(Op):
    """x where the constant mask holds, else 0; its own adjoint."""

    def __init__(self, mask):
        self.mask = mask

    def forward(self, x):
        return namespace(x).where(self.mask, x, namespace(x).zeros((), x.dtype))

    def backward(self, gy):
        return Masked(self.mask)(gy)


def _triangle(x: Tensor, diagonal: int):
    if x.ndim < 2:
        raise ShapeError(f"tril and triu need at least 2 axes, got shape {x.shape}")
    return namespace(x.array).tri(*x.shape[-2:], diagonal, dtype=bool)


@method()
def tril(input, diagonal=0) -> Tensor:
    """The lower triangle of matrices, 0 above the diagonal (or one ``diagonal`` steps to the right of it)."""
    return Masked(_triangle(input, diagonal))(input)


@method()
def triu(input, diagonal=0) -> Tensor:
    """The upper triangle of matrices, 0 below the diagonal (or one ``diagonal`` steps to the right of it).

    >>> import minidl
    >>> minidl.ones(2, 2).triu()
    tensor([[1., 1.],
            [0., 1.]])
    """
    return Masked(~_triangle(input, diagonal - 1))(input)


class Diagonal(Op):
    """A diagonal of the last two axes; its adjoint writes one into zeros."""

    def __init__(self, offset):
        self.offset = offset

    def forward(self, x):
        self.shape = x.shape
        return x.diagonal(self.offset, -2, -1)

    def backward(self, gy):
        return DiagonalEmbed(self.offset, self.shape)(gy)


class DiagonalEmbed(Op):
    """Matrices of ``shape`` with x on a diagonal, else 0: the adjoint of Diagonal."""

    def __init__(self, offset, shape):
        self.offset, self.shape = offset, shape

    def forward(self, x):
        y = namespace(x).zeros(self.shape, x.dtype)
        i = np.arange(x.shape[-1])
        y[..., i + max(-self.offset, 0), i + max(self.offset, 0)] = x
        return y

    def backward(self, gy):
        return Diagonal(self.offset)(gy)


@method()
def diagonal(input, offset=0, dim1=0, dim2=1) -> Tensor:
    """The diagonal of the matrices in axes ``dim1`` and ``dim2``, as the last axis.

    >>> import minidl
    >>> minidl.arange(9).reshape(3, 3).diagonal()
    tensor([0, 4, 8])
    """
    x = astensor(input)
    if axis_of(x, dim1) == axis_of(x, dim2):
        raise ShapeError(f"diagonal needs two different axes, got dim1={dim1}, dim2={dim2}")
    return Diagonal(offset)(movedim(x, (dim1, dim2), (-2, -1)))


@method()
def diag(input, diagonal=0) -> Tensor:
    """A vector as a diagonal matrix, or the diagonal of a matrix."""
    if input.ndim == 1:
        size = input.shape[0] + abs(diagonal)
        return DiagonalEmbed(diagonal, (size, size))(input)
    return Diagonal(diagonal)(input)
