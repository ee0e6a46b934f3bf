"""Rearranging within and across axes: reversing, rolling, repeating; triangles and diagonals. All linear."""

import numpy as np

from minidl.errors import ShapeError
from minidl.kernels import namespace
from minidl.op import Expand, Op
from minidl.ops.reduce import axis_of
from minidl.ops.shape import axes_in_order, listed, movedim, reshape
from minidl.tensor import Tensor, astensor, method


class Flip(Op):
    """Axes read backwards; its own adjoint."""

    def __init__(self, axes):
        self.axes = axes

    def forward(self, x):
        return namespace(x).flip(x, self.axes).copy()

    def backward(self, gy):
        return Flip(self.axes)(gy)


@method()
@listed
def flip(input, dims) -> Tensor:
    """A copy with the slices of the axes ``dims`` in reverse order.

    Raises IndexError for an axis out of range, ShapeError for one named twice.

    >>> import minidl
    >>> minidl.arange(3).flip(0)
    tensor([2, 1, 0])
    """
    x = astensor(input)
    axes = axes_in_order(x, dims)
    return Flip(tuple(axes) if x.ndim else ())(x)


class Roll(Op):
    """Slices moved round along axes; the adjoint moves them back."""

    def __init__(self, shifts, axes):
        self.shifts, self.axes = shifts, axes

    def forward(self, x):
        return namespace(x).roll(x, self.shifts, self.axes)

    def backward(self, gy):
        return Roll(tuple([-n for n in self.shifts]), self.axes)(gy)


@method()
def roll(input, shifts, dims=None) -> Tensor:
    """Slices moved along ``dims`` by ``shifts``, those that fall off coming in at the other end; flattened without ``dims``.

    Raises IndexError for an axis out of range, ShapeError unless there are as many shifts as dims.

    >>> import minidl
    >>> minidl.arange(4).roll(1)
    tensor([3, 0, 1, 2])
    """
    x = astensor(input)
    if dims is None:
        return reshape(roll(reshape(x, (-1,)), shifts, 0), x.shape)
    shifts, dims = ((n,) if isinstance(n, (int, np.integer)) else tuple(n) for n in (shifts, dims))
    if len(shifts) != len(dims):
        raise ShapeError(f"roll needs as many shifts as dims, got {shifts} and {dims}")
    return Roll(shifts, tuple([axis_of(x, d) for d in dims]))(x) if x.ndim else x.clone()


@method()
@listed
def repeat(input, repeats) -> Tensor:
    """The whole tensor ``repeats`` times along each axis; surplus repeats make new leading axes.

    Raises ShapeError for fewer numbers than axes, or negative ones.

    >>> import minidl
    >>> minidl.tensor([1, 2]).repeat(2, 2)
    tensor([[1, 2, 1, 2],
            [1, 2, 1, 2]])
    """
    x = astensor(input)
    if len(repeats) < x.ndim or min(repeats, default=0) < 0:
        raise ShapeError(f"repeat needs at least {x.ndim} numbers, none negative, for shape {x.shape}, got {tuple(repeats)}")
    shape = (1,) * (len(repeats) - x.ndim) + x.shape
    pairs = list(zip(repeats, shape, strict=True))
    copies = Expand(tuple([n for pair in pairs for n in pair]))(reshape(x, tuple([n for size in shape for n in (1, size)])))
    return reshape(copies.clone(), tuple([times * size for times, size in pairs]))


@method()
@listed
def tile(input, dims) -> Tensor:
    """As ``repeat``; missing numbers count as leading ones.

    >>> import minidl
    >>> minidl.tensor([[1, 2], [3, 4]]).tile(2)
    tensor([[1, 2, 1, 2],
            [3, 4, 3, 4]])
    """
    x = astensor(input)
    return repeat(x, (1,) * (x.ndim - len(dims)) + tuple(dims))


class Masked(Op):
    """x where a constant mask holds, else 0; its own adjoint."""

    def __init__(self, mask):
        self.mask = mask

    def forward(self, x):
        return namespace(x).where(self.mask, x, namespace(x).zeros((), x.dtype)).astype(x.dtype, copy=False)  # as in Where

    def backward(self, gy):
        return Masked(self.mask)(gy)


def _below(x: Tensor, diagonal: int):
    """Mask of the elements on and below a diagonal of the last two axes."""
    if x.ndim < 2:
        raise ShapeError(f"tril and triu need matrices, at least 2 axes, got shape {x.shape}")
    return namespace(x.array).tri(*x.shape[-2:], diagonal, dtype=bool)


@method()
def tril(input, diagonal=0) -> Tensor:
    """The lower triangle of matrices (*, H, W): 0 above the diagonal, or above the one ``diagonal`` steps to its right.

    Raises ShapeError for fewer than two axes.

    >>> import minidl
    >>> minidl.ones(2, 3).tril(1)
    tensor([[1., 1., 0.],
            [1., 1., 1.]])
    """
    x = astensor(input)
    return Masked(_below(x, diagonal))(x)


@method()
def triu(input, diagonal=0) -> Tensor:
    """The upper triangle of matrices (*, H, W): 0 below the diagonal, or below the one ``diagonal`` steps to its right.

    Raises ShapeError for fewer than two axes.

    >>> import minidl
    >>> minidl.ones(2, 3).triu()
    tensor([[1., 1., 1.],
            [0., 1., 1.]])
    """
    x = astensor(input)
    return Masked(~_below(x, diagonal - 1))(x)


class Diagonal(Op):
    """A diagonal of the last two axes; its adjoint writes one into zeros."""

    def __init__(self, offset):
        self.offset = offset

    def forward(self, x):
        self.shape = x.shape
        y = x.diagonal(self.offset, -2, -1)
        if getattr(x.flags, "writeable", False):  # NumPy makes this view read-only
            y.flags.writeable = True
        return y

    def backward(self, gy):
        return DiagonalEmbed(self.offset, self.shape)(gy)


class DiagonalEmbed(Op):
    """Matrices of ``shape`` with x on a diagonal, else 0: the adjoint of Diagonal."""

    def __init__(self, offset, shape):
        self.offset, self.shape = offset, shape

    def forward(self, x):
        xp = namespace(x)
        y, i = xp.zeros(self.shape, x.dtype), xp.arange(x.shape[-1])
        y[..., i + max(-self.offset, 0), i + max(self.offset, 0)] = x
        return y

    def backward(self, gy):
        return Diagonal(self.offset)(gy)


@method()
def diagonal(input, offset=0, dim1=0, dim2=1) -> Tensor:
    """The diagonal of the matrices in axes ``dim1`` and ``dim2``, as the last axis, a view; ``offset`` steps to the right.

    Raises IndexError for an axis out of range, ShapeError for twice the same.

    >>> import minidl
    >>> minidl.arange(9).reshape(3, 3).diagonal(1)
    tensor([1, 5])
    """
    x = astensor(input)
    return Diagonal(offset)(movedim(x, (dim1, dim2), (-2, -1)))


@method()
def diag(input, diagonal=0) -> Tensor:
    """A vector as a diagonal matrix, or the diagonal of a matrix; ``diagonal`` steps to the right.

    Raises ShapeError unless there are one or two axes.

    >>> import minidl
    >>> minidl.diag(minidl.tensor([1, 2]))
    tensor([[1, 0],
            [0, 2]])
    """
    x = astensor(input)
    if x.ndim == 2:
        return Diagonal(diagonal)(x)
    if x.ndim != 1:
        raise ShapeError(f"diag needs a vector or a matrix, got shape {x.shape}: use diagonal() for batches")
    size = x.shape[0] + abs(diagonal)
    return DiagonalEmbed(diagonal, (size, size))(x)
