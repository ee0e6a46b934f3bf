"""Picking by index tensors: gather, scatter, embedding, masks. Indices are checked before use."""

import numpy as np

from minidl.device import check_same_device
from minidl.errors import DtypeError, ShapeError
from minidl.kernels import namespace
from minidl.ops.cast import cast
from minidl.ops.choose import where
from minidl.ops.index import Put, Slice, Take, check_indices, flat, getitem, is_mask
from minidl.ops.matmul import check_same_dtype
from minidl.ops.precision import widest
from minidl.ops.reduce import axis_of
from minidl.ops.shape import broadcast_tensors, expand, reshape, unsqueeze
from minidl.tensor import Tensor, astensor, method, wrap


def _places(x: Tensor, dim: int, index: Tensor, what: str) -> list[np.ndarray]:
    """Index arrays for all axes of x: ``index`` along ``dim``, open grids along the others; checked."""
    axis, array = axis_of(x, dim), index.array
    if array.ndim != x.ndim or any(n > m for d, (n, m) in enumerate(zip(array.shape, x.shape, strict=True)) if d != axis):
        raise ShapeError(f"{what}: the index, shape {array.shape}, must have as many axes as the tensor, shape {x.shape}, and "
                         f"be no larger on any but dim {dim}")
    check_same_device(what, x, index)
    array = check_indices(array, x.shape[axis], f"{what}, dim {dim} of shape {x.shape}")
    grids = [namespace(array).arange(n).reshape(-1, *[1] * (x.ndim - d - 1)) for d, n in enumerate(array.shape)]
    return [array if d == axis else grid for d, grid in enumerate(grids)]


@method()
def gather(input, dim, index) -> Tensor:
    """Elements picked along ``dim``: y[i, j] = input[i, index[i, j]] for ``dim=1``. The result has the index's shape.

    Other axes of the index may be shorter than the input's. Raises ShapeError if the index does not fit, DtypeError if it is
    not integer, IndexError for an index out of range (negative ones, too).

    >>> import minidl
    >>> minidl.tensor([[1, 2], [3, 4]]).gather(1, minidl.tensor([[1], [0]]))
    tensor([[2],
            [3]])
    """
    x, index = astensor(input), astensor(index)
    if not x.ndim:
        return reshape(gather(reshape(x, 1), dim, reshape(index, -1)), index.shape)
    return Take(*_places(x, dim, index, "gather"))(x)


def _source(src, places, index: Tensor, what: str) -> Tensor:
    """The part of ``src`` that the index covers."""
    if src.ndim != index.ndim or any(n > m for n, m in zip(index.shape, src.shape, strict=True)):
        raise ShapeError(f"{what}: the index, shape {index.shape}, is larger than src, shape {src.shape}")
    return Slice(tuple([slice(n) for n in index.shape]))(src)


@method()
@widest
def scatter_add(input, dim, index, src) -> Tensor:
    """input with src[i, j] added at [i, index[i, j]] (``dim=1``); several may fall on one place. The adjoint of ``gather``.

    Raises ShapeError, DtypeError and IndexError as ``gather``, and if ``src`` is smaller than the index or of another dtype.

    >>> import minidl
    >>> minidl.zeros(3).scatter_add(0, minidl.tensor([2, 0, 2]), minidl.tensor([1.0, 2.0, 3.0]))
    tensor([2., 0., 4.])
    """
    x, index, src = astensor(input), astensor(index), astensor(src)
    places = _places(x, dim, index, "scatter_add")
    check_same_dtype("scatter_add", x, src)
    return x + Put(x.shape, *places)(_source(src, places, index, "scatter_add"))


@method()
def scatter(input, dim, index, src=None, *, value=None) -> Tensor:
    """input with src[i, j] (or the number ``value``) written at [i, index[i, j]] (``dim=1``).

    Where several fall on one place, the last wins.

    Raises ShapeError, DtypeError and IndexError as ``scatter_add``.

    >>> import minidl
    >>> minidl.zeros(3).scatter(0, minidl.tensor([2, 0]), 7)
    tensor([7., 0., 7.])
    """
    x, index = astensor(input), astensor(index)
    xp, places = namespace(x.array), _places(x, dim, index, "scatter")
    winners = xp.full(x.numel(), -1)  # for each place, which element of the index writes it
    xp.maximum.at(winners, flat(places, x.shape), xp.arange(index.numel()))
    winners = winners.reshape(x.shape)
    if not isinstance(src, Tensor):
        return masked_fill(x, wrap(winners >= 0), value if src is None else src)
    check_same_dtype("scatter", x, src)
    if not index.numel():
        return x.clone()
    chosen = Take(winners)(reshape(_source(src, places, index, "scatter"), -1))
    return where(wrap(winners >= 0), chosen, x)


@method()
def index_select(input, dim, index) -> Tensor:
    """Slices of ``dim`` in the order of a vector of indices.

    Raises ShapeError if the index has more than one axis, DtypeError if it is not integer, IndexError for one out of range.

    >>> import minidl
    >>> minidl.arange(6).reshape(2, 3).index_select(1, minidl.tensor([2, 0]))
    tensor([[2, 0],
            [5, 3]])
    """
    x, index = astensor(input), astensor(index)
    axis = axis_of(x, dim)
    if index.ndim > 1:
        raise ShapeError(f"index_select needs a vector of indices, got shape {index.shape}")
    array = check_indices(index.array, (x.shape or (1,))[axis], f"index_select, dim {dim} of shape {x.shape}")
    return getitem(x, (slice(None),) * axis + (wrap(array.reshape(-1)),)) if x.ndim else x.clone()


@method()
def take_along_dim(input, indices, dim=None) -> Tensor:
    """``gather`` with the other axes broadcast; without ``dim``, from the flattened tensor.

    Raises ShapeError, DtypeError and IndexError as ``gather``.

    >>> import minidl
    >>> minidl.tensor([[1, 2], [3, 4]]).take_along_dim(minidl.tensor([[0]]), 1)
    tensor([[1],
            [3]])
    """
    x, index = astensor(input), astensor(indices)
    if dim is None:
        return gather(reshape(x, -1), 0, reshape(index, -1))
    axis = axis_of(x, dim)
    if x.ndim != index.ndim:
        raise ShapeError(f"take_along_dim: the indices, shape {index.shape}, need as many axes as the tensor, shape {x.shape}")
    shape = [max(n, m) if min(n, m) else 0 for n, m in zip(x.shape, index.shape, strict=True)]
    x, index = (expand(y, (*shape[:axis], -1, *shape[axis + 1 :])) if y.ndim else y for y in (x, index))
    return gather(x, axis, index)


@method()
def masked_fill(input, mask, value) -> Tensor:
    """``value``, a number or a 0-d tensor, where the bool mask holds; mask and input broadcast, the dtype is the input's.

    Raises DtypeError unless the mask is bool, ShapeError if the shapes don't broadcast.

    >>> import minidl
    >>> minidl.ones(3).masked_fill(minidl.tensor([True, False, True]), 0)
    tensor([0., 1., 0.])
    """
    x, value = astensor(input), astensor(value)
    if value.ndim:
        raise ShapeError(f"masked_fill needs one value, got a tensor of shape {value.shape}: use where for several")
    return where(mask, cast(value, x.dtype), x)


@method()
def masked_select(input, mask) -> Tensor:
    """The elements where the bool mask holds, as a vector; mask and input broadcast.

    Raises DtypeError unless the mask is bool, ShapeError if the shapes don't broadcast.

    >>> import minidl
    >>> minidl.arange(4).masked_select(minidl.tensor([True, False, False, True]))
    tensor([0, 3])
    """
    x, mask = broadcast_tensors(input, mask)
    if not is_mask(mask):
        raise DtypeError(f"masked_select needs a bool mask, got {mask.dtype}: compare first, as in x > 0")
    return getitem(x, mask)


@method()
def nonzero(input, *, as_tuple=False):
    """The indices of all elements that are not 0: one row each, or, ``as_tuple``, one vector for each axis.

    >>> import minidl
    >>> minidl.nonzero(minidl.tensor([[0, 5], [7, 0]]))
    tensor([[0, 1],
            [1, 0]])
    """
    array = astensor(input).array
    xp = namespace(array)
    return tuple(map(wrap, xp.atleast_1d(array).nonzero())) if as_tuple else wrap(xp.argwhere(array))


@method()
def argwhere(input) -> Tensor:
    """The indices of all elements that are not 0, one row each.

    >>> import minidl
    >>> minidl.argwhere(minidl.tensor([0, 5, 7]))
    tensor([[1],
            [2]])
    """
    return nonzero(input)


def one_hot(tensor, num_classes=-1) -> Tensor:
    """For each class number a row with a 1 in its place: (*) -> (*, ``num_classes``), int64. By default classes up to the
    largest number.

    Raises DtypeError unless the numbers are integers, IndexError for one that is negative or not below ``num_classes``,
    ShapeError if there are none to count the classes by.

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
    classes = check_indices(classes, num_classes, "one_hot")
    return wrap((classes[..., None] == namespace(classes).arange(num_classes)).astype(np.int64))


class Embedding(Take):
    """Rows of a matrix by index; the row ``padding`` gets no gradient."""

    def __init__(self, index, padding):
        super().__init__(index)
        self.padding = padding

    def backward(self, gy):
        (index,) = self.saved
        return super().backward(where(unsqueeze(index != self.padding, -1), gy, 0.0))


def embedding(input, weight, padding_idx=None) -> Tensor:
    """Rows of ``weight`` (V, D) chosen by integers of any shape (*) -> (*, D). Row ``padding_idx`` receives no gradient.

    Raises DtypeError unless ``input`` is integer, IndexError for a number or a ``padding_idx`` out of range, ShapeError unless
    ``weight`` is a matrix.

    >>> import minidl
    >>> minidl.embedding(minidl.tensor([[1, 0]]), minidl.eye(2))
    tensor([[[0., 1.],
             [1., 0.]]])
    """
    input, weight = astensor(input), astensor(weight)
    if weight.ndim != 2:
        raise ShapeError(f"embedding needs a weight (V, D), got shape {weight.shape}")
    check_same_device("embedding", input, weight)
    rows = weight.shape[0]
    index = check_indices(input.array, rows, f"embedding, weight of shape {weight.shape}")
    if padding_idx is None:
        return Take(index)(weight)
    if not -rows <= padding_idx < rows:
        raise IndexError(f"embedding: padding_idx={padding_idx} is out of range for a weight of shape {weight.shape}")
    return Embedding(index, padding_idx % rows)(weight)
