"""Indexing: picking elements and its adjoint, adding them up where they came from. Indices are checked before use."""

import numpy as np

from minidl.dtypes import int64
from minidl.errors import DtypeError, ShapeError
from minidl.kernels import namespace
from minidl.op import Op
from minidl.ops.cast import cast
from minidl.ops.choose import where
from minidl.ops.inplace import check_writable
from minidl.ops.reduce import axis_of
from minidl.ops.shape import broadcast_tensors, reshape
from minidl.tensor import Tensor, astensor, method, wrap, written


def check_indices(index, size: int, what: str) -> None:
    """Raise IndexError unless all elements of an integer array lie in [0, size)."""
    if index.dtype.kind not in "iu":
        raise DtypeError(f"{what} must be integers, got {index.dtype}")
    if index.size and not (0 <= index.min() and index.max() < size):
        wrong = index[(index < 0) | (index >= size)].reshape(-1)[0]
        raise IndexError(f"{what}: {wrong} is out of range for size {size}")


class GetItem(Op):
    """y = x[key]; the adjoint adds into zeros at the same places."""

    def __init__(self, key, unique):
        self.key, self.unique = key, unique

    def forward(self, x):
        self.shape = x.shape
        return x[self.key]

    def backward(self, gy):
        return PutItem(self.key, self.unique, self.shape)(gy)


class PutItem(Op):
    """Zeros of ``shape`` with x added at [key]: the adjoint of GetItem. ``unique``: no place is named twice."""

    def __init__(self, key, unique, shape):
        self.key, self.unique, self.shape = key, unique, shape

    def forward(self, x):
        xp = namespace(x)
        y = xp.zeros(self.shape, x.dtype)
        if self.unique:
            y[self.key] = x
        else:
            xp.add.at(y, self.key, x)
        return y

    def backward(self, gy):
        return GetItem(self.key, self.unique)(gy)


def _key(key):
    """The key with tensors as arrays, and whether it can name no place twice."""
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(p.array if isinstance(p, Tensor) else np.asarray(p) if isinstance(p, list) else p for p in parts)
    for part in parts:
        if hasattr(part, "dtype") and part.dtype.kind not in "iub":
            raise IndexError(f"tensors as indices must be integers or bools, got {part.dtype}")
    unique = all(not hasattr(p, "dtype") or p.dtype.kind == "b" or p.ndim == 0 for p in parts)
    return parts, unique


@method("__getitem__")
def getitem(input, key) -> Tensor:
    """Elements by integers, slices, None, ``...``, bool masks, and integer tensors, as in NumPy.

    >>> import minidl
    >>> x = minidl.arange(6).reshape(2, 3)
    >>> x[1, ::2], x[x > 3]
    (tensor([3, 5]), tensor([4, 5]))
    """
    parts, unique = _key(key)
    return GetItem(parts, unique)(input)


@method("__setitem__")
def setitem(self, key, value) -> None:
    """Write elements in place (plain data, or under no_grad)."""
    check_writable(self, "item assignment")
    self.array[_key(key)[0]] = value.array if isinstance(value, Tensor) else value
    written(self.array)


class Gather(Op):
    """y[i, j] = x[i, index[i, j]] for dim 1, and so on; the adjoint is ScatterAdd."""

    def __init__(self, axis, index):
        self.axis, self.index = axis, index

    def forward(self, x):
        self.shape = x.shape
        part = tuple(slice(None if axis == self.axis else n) for axis, n in enumerate(self.index.shape))
        return namespace(x).take_along_axis(x[part], self.index, self.axis)

    def backward(self, gy):
        return ScatterAdd(self.axis, self.index, self.shape)(gy)


class ScatterAdd(Op):
    """Zeros of ``shape`` with y[i, index[i, j]] += x[i, j]: the adjoint of Gather."""

    def __init__(self, axis, index, shape):
        self.axis, self.index, self.shape = axis, index, shape

    def forward(self, x):
        xp = namespace(x)
        y = xp.zeros(self.shape, x.dtype)
        xp.add.at(y, places(self.axis, self.index), x[tuple(map(slice, self.index.shape))])
        return y

    def backward(self, gy):
        return Gather(self.axis, self.index)(gy)


def places(axis: int, index) -> tuple:
    """The full index of ``take_along_axis``: ``index`` along its axis, open grids along the others."""
    grids = [np.arange(n).reshape([-1 if a == d else 1 for a in range(index.ndim)]) for d, n in enumerate(index.shape)]
    return tuple(index if d == axis else grid for d, grid in enumerate(grids))


def _checked(x: Tensor, dim: int, index: Tensor, what: str) -> tuple[int, np.ndarray]:
    axis = axis_of(x, dim)
    if index.ndim != x.ndim or any(n > m for d, (n, m) in enumerate(zip(index.shape, x.shape, strict=True)) if d != axis):
        raise ShapeError(f"{what}: the index, shape {index.shape}, must have as many axes as {x.shape} and be no larger on "
                         f"any but dim {dim}")
    check_indices(index.array, x.shape[axis], f"{what}, dim {dim}")
    return axis, index.array


@method()
def gather(input, dim, index) -> Tensor:
    """Elements picked along ``dim``: y[i, j] = input[i, index[i, j]] for dim 1.

    >>> import minidl
    >>> minidl.tensor([[1, 2], [3, 4]]).gather(1, minidl.tensor([[1], [0]]))
    tensor([[2],
            [3]])
    """
    x = astensor(input)
    if not x.ndim:
        return reshape(gather(reshape(x, 1), 0, reshape(index, -1)), index.shape)
    return Gather(*_checked(x, dim, astensor(index), "gather"))(x)


@method()
def scatter_add(input, dim, index, src) -> Tensor:
    """input with src[i, j] added at [i, index[i, j]] (dim 1); several may fall on one place."""
    axis, places_ = _checked(input, dim, index, "scatter_add")
    return input + ScatterAdd(axis, places_, input.shape)(src)


@method()
def scatter(input, dim, index, src) -> Tensor:
    """input with src[i, j] (or a number) written at [i, index[i, j]] (dim 1). Where several fall on one place, one wins."""
    axis, at = _checked(input, dim, index, "scatter")
    taken = namespace(at).zeros(input.shape, bool)
    taken[places(axis, at)] = True
    if not isinstance(src, Tensor):
        return where(wrap(taken), src, input)
    winners = namespace(at).zeros(input.shape, np.int64)
    count = np.arange(at.size).reshape(at.shape)
    winners[places(axis, at)] = count
    chosen = src[tuple(map(slice, at.shape))].reshape(-1)[wrap(winners)]
    return where(wrap(taken), chosen, input)


@method()
def index_select(input, dim, index) -> Tensor:
    """Slices of ``dim`` in the order of a vector of indices.

    >>> import minidl
    >>> minidl.arange(6).reshape(2, 3).index_select(1, minidl.tensor([2, 0]))
    tensor([[2, 0],
            [5, 3]])
    """
    axis = axis_of(input, dim)
    if index.ndim > 1:
        raise ShapeError(f"index_select needs a vector of indices, got shape {index.shape}")
    check_indices(index.array, input.shape[axis], f"index_select, dim {dim}")
    return GetItem((slice(None),) * axis + (index.array.reshape(-1),), unique=False)(input)


@method()
def take_along_dim(input, indices, dim=None) -> Tensor:
    """``gather`` with the other axes broadcast; without ``dim``, from the flattened tensor."""
    if dim is None:
        return gather(reshape(input, -1), 0, reshape(indices, -1))
    axis = axis_of(input, dim)
    rest = [tuple(1 if d == axis else n for d, n in enumerate(x.shape)) for x in (input, indices)]
    shape = np.broadcast_shapes(*rest)
    x, i = (y.expand(*(y.shape[d] if d == axis else n for d, n in enumerate(shape))) for y in (input, indices))
    return gather(x, axis, i)


@method()
def masked_fill(input, mask, value) -> Tensor:
    """``value`` where the mask holds, in the dtype of the input.

    >>> import minidl
    >>> minidl.ones(3).masked_fill(minidl.tensor([True, False, True]), 0)
    tensor([0., 1., 0.])
    """
    return where(mask, cast(astensor(value), input.dtype), input)


@method()
def masked_select(input, mask) -> Tensor:
    """The elements where the mask, broadcast, holds; a vector."""
    x, m = broadcast_tensors(input, mask)
    return getitem(x, m)


@method("nonzero", "argwhere")
def nonzero(input) -> Tensor:
    """The indices of all elements that are not 0, one row each."""
    return wrap(namespace(input.array).argwhere(input.array))


argwhere = nonzero


def one_hot(tensor, num_classes=-1) -> Tensor:
    """For each class number a row with a 1 in its place, as int64.

    Raises IndexError for a number that is negative or not below ``num_classes``.

    >>> import minidl
    >>> minidl.one_hot(minidl.tensor([0, 2]))
    tensor([[1, 0, 0],
            [0, 0, 1]])
    """
    classes = astensor(tensor).array
    if num_classes == -1:
        if not classes.size:
            raise ShapeError("one_hot of no elements needs num_classes")
        num_classes = int(classes.max()) + 1
    check_indices(classes, num_classes, "one_hot")
    return wrap((classes[..., None] == namespace(classes).arange(num_classes)).astype(int64))


class Embedding(Op):
    """y = rows of the weight by index; rows at ``padding_idx`` get no gradient."""

    def __init__(self, index, padding_idx):
        self.index, self.padding_idx = index, padding_idx

    def forward(self, weight):
        self.shape = weight.shape
        return weight[self.index]

    def backward(self, gy):
        if self.padding_idx is not None:
            gy = where(wrap(self.index != self.padding_idx).unsqueeze(-1), gy, 0.0)
        return PutItem((self.index,), False, self.shape)(gy)


def embedding(input, weight, padding_idx=None) -> Tensor:
    """Rows of ``weight`` (V, D) chosen by integers of any shape (*) -> (*, D). Row ``padding_idx`` receives no gradient.

    >>> import minidl
    >>> minidl.embedding(minidl.tensor([[1, 0]]), minidl.eye(2))
    tensor([[[0., 1.],
             [1., 0.]]])
    """
    index = astensor(input).array
    check_indices(index, weight.shape[0], "embedding")
    if padding_idx is not None and padding_idx < 0:
        padding_idx += weight.shape[0]
    return Embedding(index, padding_idx)(weight)
