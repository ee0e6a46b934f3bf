"""Shapes: the same elements under other axes. Each op is linear, and its gradient is the inverse arrangement.

Results are views of the input where the array library can make them so, and copies where it cannot.
"""

import functools
import inspect
import math

import numpy as np

from minidl.errors import ShapeError
from minidl.op import Expand, Op
from minidl.ops.reduce import axis_of
from minidl.tensor import Tensor, astensor, method


def sizes_of(sizes: tuple) -> tuple[int, ...]:
    """``f(2, 3)`` and ``f((2, 3))`` both as (2, 3)."""
    return tuple(sizes[0]) if len(sizes) == 1 and isinstance(sizes[0], (tuple, list)) else tuple(sizes)


def listed(function):
    """Decorator: let ``f(x, 2, 3)`` stand for ``f(x, (2, 3))``."""

    @functools.wraps(function)
    def spread(input, *numbers, **named):
        if numbers and not isinstance(numbers[0], (tuple, list)):
            return function(input, numbers, **named)
        return function(input, *numbers, **named)

    spread.__signature__ = inspect.signature(spread, follow_wrapped=False)
    return spread


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
@listed
def reshape(input, shape) -> Tensor:
    """The elements in row-major order under a new shape, one size of which may be -1 and is then worked out.

    A view if the layout allows it, else a copy. Raises ShapeError if the numbers of elements differ.

    >>> import minidl
    >>> minidl.arange(6).reshape(2, -1)
    tensor([[0, 1, 2],
            [3, 4, 5]])
    """
    x = astensor(input)
    try:
        return Reshape(shape)(x)
    except ValueError:
        raise ShapeError(f"cannot reshape a tensor of shape {x.shape}, {x.numel()} elements, to {tuple(shape)}") from None


@method()
@listed
def view(self, shape) -> Tensor:
    """As ``reshape``: unlike PyTorch's, it copies where the layout does not allow a view. ``view(dtype)`` is not offered."""
    return reshape(self, shape)


@method("reshape_as", "view_as")
def reshape_as(self, other) -> Tensor:
    """Reshaped to the shape of another tensor."""
    return reshape(self, other.shape)


@method()
def flatten(input, start_dim=0, end_dim=-1) -> Tensor:
    """Axes from ``start_dim`` to ``end_dim`` as one: (N, C, H, W) -> (N, C H W) for ``start_dim=1``. A 0-d tensor gets one axis.

    Raises IndexError for an axis out of range, ShapeError if ``start_dim`` comes after ``end_dim``.

    >>> import minidl
    >>> minidl.ones(2, 3, 4).flatten(1).shape
    (2, 12)
    """
    x = astensor(input)
    start, end = axis_of(x, start_dim), axis_of(x, end_dim)
    if start > end:
        raise ShapeError(f"flatten: start_dim={start_dim} comes after end_dim={end_dim}")
    return reshape(x, (*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :]))


@method()
def unflatten(input, dim, sizes) -> Tensor:
    """One axis as several, of which one size may be -1.

    Raises IndexError for an axis out of range, ShapeError if the product of ``sizes`` is not the size of the axis.

    >>> import minidl
    >>> minidl.ones(2, 12).unflatten(1, (3, -1)).shape
    (2, 3, 4)
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    shape, sizes = x.shape or (1,), tuple(sizes)
    size = shape[axis]
    known = math.prod(n for n in sizes if n != -1)
    if sizes.count(-1) == 1 and known and size % known == 0:
        sizes = tuple(size // known if n == -1 else n for n in sizes)
    if math.prod(sizes) != size or min(sizes, default=0) < 0:
        raise ShapeError(f"unflatten: sizes {sizes} do not multiply to {size}, the size of dim {dim} of shape {x.shape}")
    return reshape(x, (*shape[:axis], *sizes, *shape[axis + 1 :]))


@method()
def squeeze(input, dim=None) -> Tensor:
    """Without axes of size 1: all of them, or those in ``dim`` (an int or several; axes of other sizes stay).

    Raises IndexError for an axis out of range.

    >>> import minidl
    >>> minidl.ones(1, 2, 1).squeeze().shape, minidl.ones(1, 2, 1).squeeze(0).shape
    ((2,), (2, 1))
    """
    x = astensor(input)
    dims = range(x.ndim) if dim is None else axes_in_order(x, dim)
    return reshape(x, tuple([n for axis, n in enumerate(x.shape) if n != 1 or axis not in dims]))


@method()
def unsqueeze(input, dim) -> Tensor:
    """With a new axis of size 1 at ``dim``.

    Raises IndexError for a place out of range.

    >>> import minidl
    >>> minidl.ones(2, 3).unsqueeze(-1).shape
    (2, 3, 1)
    """
    x = astensor(input)
    if not -x.ndim - 1 <= dim <= x.ndim:
        raise IndexError(f"dim={dim} is out of range for a new axis of a tensor with {x.ndim} axes, shape {x.shape}")
    axis = dim % (x.ndim + 1)
    return reshape(x, (*x.shape[:axis], 1, *x.shape[axis:]))


class Permute(Op):
    """Axes in another order; the gradient's axes in the inverse order."""

    def __init__(self, axes):
        self.axes = axes

    def forward(self, x):
        return x.transpose(self.axes)

    def backward(self, gy):
        return Permute(sorted(range(len(self.axes)), key=self.axes.__getitem__))(gy)


def axes_in_order(x: Tensor, dims) -> list[int]:
    """``dims`` (an int or several) as non-negative axes in the order given.

    Raises IndexError for an axis out of range, ShapeError for one named twice.
    """
    axes = [axis_of(x, d) for d in ((dims,) if isinstance(dims, (int, np.integer)) else dims)]
    if len(set(axes)) != len(axes):
        raise ShapeError(f"dims {tuple(dims)} name an axis of shape {x.shape} twice")
    return axes


@method()
@listed
def permute(input, dims) -> Tensor:
    """Axes in the order given, a view.

    Raises IndexError for an axis out of range, ShapeError unless each is named once.

    >>> import minidl
    >>> minidl.ones(2, 3, 4).permute(2, 0, 1).shape
    (4, 2, 3)
    """
    x = astensor(input)
    axes = axes_in_order(x, dims)
    if len(axes) != x.ndim:
        raise ShapeError(f"permute needs each of the {x.ndim} axes of shape {x.shape} once, got {tuple(dims)}")
    return Permute(axes)(x)


@method("transpose", "swapaxes", "swapdims")
def transpose(input, dim0, dim1) -> Tensor:
    """Two axes exchanged, a view.

    Raises IndexError for an axis out of range.

    >>> import minidl
    >>> minidl.ones(2, 3, 4).transpose(0, -1).shape
    (4, 3, 2)
    """
    x = astensor(input)
    a, b = axis_of(x, dim0), axis_of(x, dim1)
    axes = list(range(x.ndim))
    if axes:
        axes[a], axes[b] = b, a
    return Permute(axes)(x)


swapaxes = swapdims = transpose


@method()
def t(input) -> Tensor:
    """The transpose of a matrix; vectors and 0-d tensors stay as they are.

    Raises ShapeError for more than two axes.

    >>> import minidl
    >>> minidl.ones(2, 3).t().shape
    (3, 2)
    """
    x = astensor(input)
    if x.ndim > 2:
        raise ShapeError(f"t() needs at most 2 axes, got shape {x.shape}: use .mT or transpose(dim0, dim1)")
    return transpose(x, 0, 1) if x.ndim == 2 else x


@method("T")
@property
def _reversed(self) -> Tensor:
    """All axes in reverse order."""
    return Permute(list(range(self.ndim))[::-1])(self)


@method("mT")
@property
def _matrix_transpose(self) -> Tensor:
    """The last two axes exchanged. Raises ShapeError for fewer than two."""
    if self.ndim < 2:
        raise ShapeError(f".mT needs at least 2 axes, got shape {self.shape}")
    return transpose(self, -2, -1)


@method()
def movedim(input, source, destination) -> Tensor:
    """Axes ``source`` moved to the places ``destination`` (ints or as many of each), the others keeping their order.

    Raises IndexError for an axis out of range, ShapeError for one named twice or lists of different lengths.

    >>> import minidl
    >>> minidl.ones(2, 3, 4).movedim(0, -1).shape
    (3, 4, 2)
    """
    x = astensor(input)
    source, destination = axes_in_order(x, source), axes_in_order(x, destination)
    if len(source) != len(destination):
        raise ShapeError(f"movedim needs as many destinations as sources, got {len(destination)} and {len(source)}")
    if not x.ndim:
        return x
    order = [axis for axis in range(x.ndim) if axis not in source]
    for place, axis in sorted(zip(destination, source, strict=True)):
        order.insert(place, axis)
    return Permute(order)(x)


@method()
@listed
def expand(input, sizes) -> Tensor:
    """Axes of size 1 repeated to larger sizes, a read-only view; -1 keeps a size, surplus sizes make new leading axes.

    Raises ShapeError if another axis would change.

    >>> import minidl
    >>> minidl.tensor([[1], [2]]).expand(-1, 3)
    tensor([[1, 1, 1],
            [2, 2, 2]])
    """
    x = astensor(input)
    lead = len(sizes) - x.ndim
    shape = tuple([x.shape[i - lead] if n == -1 and i >= lead else n for i, n in enumerate(sizes)])
    try:
        if any(n < 0 for n in shape):  # which CuPy does not refuse
            raise ValueError
        return Expand(shape)(x)
    except ValueError:
        raise ShapeError(f"cannot expand shape {x.shape} to {tuple(sizes)}: counted from the last axis, sizes must be equal, "
                         "-1, or 1 in the tensor") from None


@method()
def expand_as(input, other) -> Tensor:
    """Expanded to the shape of another tensor."""
    return expand(input, other.shape)


@method()
def broadcast_to(input, size) -> Tensor:
    """Expanded to ``size``, as ``expand``.

    >>> import minidl
    >>> minidl.broadcast_to(minidl.tensor([1, 2]), (2, 2))
    tensor([[1, 2],
            [1, 2]])
    """
    return expand(input, tuple(size))


def broadcast_tensors(*tensors) -> tuple[Tensor, ...]:
    """All tensors expanded to their common shape.

    Raises ShapeError if there is none.

    >>> import minidl
    >>> [x.shape for x in minidl.broadcast_tensors(minidl.ones(3, 1), minidl.ones(2))]
    [(3, 2), (3, 2)]
    """
    tensors = [astensor(x) for x in sizes_of(tensors)]
    try:
        shape = np.broadcast_shapes(*(x.shape for x in tensors))
    except ValueError:
        raise ShapeError(f"shapes {', '.join(str(x.shape) for x in tensors)} do not broadcast: counted from the last axis, "
                         "sizes must be equal or 1") from None
    return tuple([expand(x, shape) for x in tensors])


@method()
def contiguous(input) -> Tensor:
    """In row-major memory; itself if it is already."""
    return input if input.is_contiguous() else input.clone()
