"""Reductions: sums, means, products, extremes, norms, over all elements or over ``dim``. Long sums are accumulated in float64.

Where several elements share the maximum, ``amax``, ``amin`` and the full ``max``/``min`` share the gradient among them; with
``dim``, ``max`` and ``min`` name one winner, the first, and give it all.
"""

from typing import NamedTuple

import numpy as np

from minidl.dtypes import as_dtype, float32, int64, is_floating
from minidl.errors import ShapeError
from minidl.kernels import kernel, namespace
from minidl.kernels.half import accumulator, is_half, widened
from minidl.op import Expand, Op
from minidl.ops.cast import cast, check_floating
from minidl.ops.choose import maximum, minimum, where
from minidl.ops.elementwise import SqrtFlatAtZero, pow
from minidl.ops.precision import full_precision
from minidl.tensor import Tensor, astensor, method, wrap


def axes_of(x: Tensor, dim) -> tuple[int, ...]:
    """``dim`` (None for all, an int, or several) as sorted non-negative axes; none of a 0-d tensor, which has no other.

    Raises IndexError for an axis out of range, ShapeError for one named twice.
    """
    if dim is None:
        return tuple(range(x.ndim))
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    if not dims:
        return tuple(range(x.ndim))
    axes = tuple(sorted(axis_of(x, d) for d in dims))
    if len(set(axes)) != len(axes):
        raise ShapeError(f"dim={dim} names an axis twice")
    return axes if x.ndim else ()


def axis_of(x: Tensor, dim: int) -> int:
    """``dim`` as a non-negative axis; a 0-d tensor is treated as having one axis.

    Raises IndexError if there is no such axis.
    """
    rank = x.ndim or 1
    if not -rank <= dim < rank:
        raise IndexError(f"dim={dim} is out of range for a tensor with {x.ndim} axes, shape {x.shape}")
    return dim % rank


def _in(x: Tensor, dtype) -> Tensor:
    """``x`` in ``dtype``, or if that is None as it is, integers and bools as int64."""
    return cast(x, as_dtype(dtype) if dtype is not None else x.dtype if is_floating(x.dtype) else int64)


def _kept(shape, axes) -> tuple[int, ...]:
    """The shape with reduced axes of size 1."""
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def count(x: Tensor, axes) -> int:
    """How many elements are reduced into one."""
    return int(np.prod([x.shape[axis] for axis in axes], dtype=np.int64))


class Sum(Op):
    """y = (sum of x over axes) / divisor; the gradient is spread evenly."""

    def __init__(self, axes, keepdim, divisor=1):
        self.axes, self.keepdim, self.divisor = axes, keepdim, divisor

    def forward(self, x):
        self.shape = x.shape
        return kernel("sum", x)(x, self.axes, self.keepdim, self.divisor)

    def backward(self, gy):
        gy = gy if self.keepdim else gy.reshape(_kept(self.shape, self.axes))
        return Expand(self.shape)(gy if self.divisor == 1 else gy / self.divisor)


@method()
@full_precision
def sum(input, dim=None, keepdim=False, *, dtype=None) -> Tensor:
    """Sum over ``dim`` (all axes if None). Integers and bools add up as int64.

    >>> import minidl
    >>> minidl.tensor([[1.0, 2.0], [3.0, 4.0]]).sum(0)
    tensor([4., 6.])
    """
    x = astensor(input)
    return Sum(axes_of(x, dim), keepdim)(_in(x, dtype))


@method()
def mean(input, dim=None, keepdim=False, *, dtype=None) -> Tensor:
    """Arithmetic mean over ``dim``; NaN over nothing.

    >>> import minidl
    >>> minidl.tensor([1.0, 2.0, 6.0]).mean()
    tensor(3.)
    """
    x = astensor(input) if dtype is None else cast(astensor(input), as_dtype(dtype))
    check_floating(x, "mean")
    axes = axes_of(x, dim)
    return Sum(axes, keepdim, count(x, axes))(x)


@method()
def var(input, dim=None, unbiased=True, keepdim=False, *, correction=None) -> Tensor:
    """Variance over ``dim``, divided by n - 1 (n - ``correction``; n if not ``unbiased``). Two passes: first the mean.

    >>> import minidl
    >>> minidl.tensor([1.0, 3.0]).var(), minidl.tensor([1.0, 3.0]).var(correction=0)
    (tensor(2.), tensor(1.))
    """
    x = astensor(input)
    check_floating(x, "var")
    axes = axes_of(x, dim)
    correction = int(unbiased) if correction is None else correction
    wide = cast(x, float32) if is_half(x.dtype) else x
    deviation = wide - mean(wide, axes, keepdim=True)
    freedom = count(x, axes) - correction
    return cast(Sum(axes, keepdim, freedom if freedom > 0 else 0)(deviation * deviation), x.dtype)


@method()
def std(input, dim=None, unbiased=True, keepdim=False, *, correction=None) -> Tensor:
    """Standard deviation, the root of ``var``; its gradient is 0 where all elements are equal."""
    return SqrtFlatAtZero()(var(input, dim, unbiased, keepdim, correction=correction))


class Prod(Op):
    """y = product of x over one axis;  dy/dx_i = product of all others, also where some are 0."""

    def __init__(self, axis):
        self.axis = axis

    def forward(self, x):
        y = namespace(x).multiply.reduce(x, axis=self.axis, keepdims=True)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        if (x.array != 0).all():
            return gy * y / x
        return gy * _products_of_others(x, self.axis)


def _products_of_others(x: Tensor, axis: int) -> Tensor:
    """For each element the product of all others along the axis: rows of copies with a 1 in the element's own place."""
    last = x.transpose(axis, -1)
    n = last.shape[-1]
    own = wrap(namespace(x.array).eye(n, dtype=bool))
    copies = Expand((*last.shape[:-1], n, n))(last.unsqueeze(-2))
    return Prod(last.ndim)(where(own, 1.0, copies)).squeeze(-1).transpose(axis, -1)


@method()
@full_precision
def prod(input, dim=None, keepdim=False, *, dtype=None) -> Tensor:
    """Product over ``dim`` (all elements if None). The gradient is right where elements are 0, too.

    >>> import minidl
    >>> x = minidl.tensor([0.0, 2.0, 3.0], requires_grad=True)
    >>> x.prod().backward()
    >>> x.grad
    tensor([6., 0., 0.])
    """
    x = _in(astensor(input), dtype)
    if dim is None:
        y = Prod(0)(x.reshape(-1)).reshape(())
        return y.reshape((1,) * x.ndim) if keepdim else y
    axis = axis_of(x, dim)
    y = Prod(axis)(x if x.ndim else x.reshape(1))
    return y if keepdim and x.ndim else y.squeeze(axis)


class Amax(Op):
    """y = max of x over axes; elements that share the maximum share the gradient. NaN wins."""

    function = "max"

    def __init__(self, axes, keepdim):
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x):
        if 0 in (x.shape[axis] for axis in self.axes):
            raise ShapeError(f"{self.function} over no elements: shape {x.shape}, axes {self.axes}")
        y = getattr(namespace(x), self.function)(x, axis=self.axes, keepdims=self.keepdim)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = (t.detach() for t in self.saved)
        kept = _kept(x.shape, self.axes)
        y = y.reshape(kept)
        winners = cast((x == y) | (x.isnan() & y.isnan()), gy.dtype)
        return gy.reshape(kept) * (winners / winners.sum(self.axes, keepdim=True))


class Amin(Amax):
    """y = min of x over axes; elements that share the minimum share the gradient. NaN wins."""

    function = "min"


@method()
def amax(input, dim=None, keepdim=False) -> Tensor:
    """Maximum over ``dim``; ties share the gradient.

    >>> import minidl
    >>> x = minidl.tensor([1.0, 2.0, 2.0], requires_grad=True)
    >>> x.amax().backward()
    >>> x.grad
    tensor([0. , 0.5, 0.5])
    """
    x = astensor(input)
    return Amax(axes_of(x, dim), keepdim)(x)


@method()
def amin(input, dim=None, keepdim=False) -> Tensor:
    """Minimum over ``dim``; ties share the gradient."""
    x = astensor(input)
    return Amin(axes_of(x, dim), keepdim)(x)


class Extreme(NamedTuple):
    """Values and where they stand along the reduced axis."""

    values: Tensor
    indices: Tensor


@method()
def argmax(input, dim=None, keepdim=False) -> Tensor:
    """Index of the maximum along ``dim`` (in the flattened tensor if None): the first of equals, or the first NaN."""
    return _arg("argmax", input, dim, keepdim)


@method()
def argmin(input, dim=None, keepdim=False) -> Tensor:
    """Index of the minimum along ``dim`` (in the flattened tensor if None): the first of equals, or the first NaN."""
    return _arg("argmin", input, dim, keepdim)


def _arg(function, input, dim, keepdim) -> Tensor:
    x = astensor(input)
    axis = None if dim is None else axis_of(x, dim)
    if (x.array.size if axis is None or not x.ndim else x.shape[axis]) == 0:
        raise ShapeError(f"{function} over no elements: shape {x.shape}, dim {dim}")
    array = x.array if x.ndim else x.array.reshape(1)
    indices = getattr(namespace(array), function)(array, axis=axis, keepdims=keepdim and bool(x.ndim))
    return wrap(namespace(array).asarray(indices, np.int64).reshape(() if not x.ndim else np.shape(indices)))


def _extreme(input, dim, keepdim, full, pairwise, index):
    """The three forms of max and min: of all elements, of two tensors, along one axis."""
    x = astensor(input)
    if dim is None:
        return full(x)
    if isinstance(dim, Tensor):
        return pairwise(x, dim)
    axis = axis_of(x, dim)
    if not x.ndim:
        return Extreme(x.clone(), index(x))
    indices = index(x, axis, keepdim=True)
    values = x.gather(axis, indices)
    return Extreme(values, indices) if keepdim else Extreme(values.squeeze(axis), indices.squeeze(axis))


@method()
def max(input, dim=None, keepdim=False):
    """The maximum of all elements; ``max(x, y)`` of two tensors; or along ``dim`` as (values, indices), the first of equals.

    >>> import minidl
    >>> values, indices = minidl.tensor([[1, 5], [7, 2]]).max(1)
    >>> values, indices
    (tensor([5, 7]), tensor([1, 0]))
    """
    return _extreme(input, dim, keepdim, amax, maximum, argmax)


@method()
def min(input, dim=None, keepdim=False):
    """The minimum of all elements; ``min(x, y)`` of two tensors; or along ``dim`` as (values, indices), the first of equals."""
    return _extreme(input, dim, keepdim, amin, minimum, argmin)


@method()
@full_precision
def norm(input, p=2, dim=None, keepdim=False) -> Tensor:
    """The p-norm (sum |x|^p)^(1/p) over ``dim``; ``p`` a number, inf, -inf, 0 or "fro". The gradient at 0 is 0 for p = 2.

    >>> import minidl
    >>> minidl.tensor([3.0, 4.0]).norm()
    tensor(5.)
    """
    x = astensor(input)
    check_floating(x, "norm")
    if p in (2, "fro"):
        return SqrtFlatAtZero()(sum(x * x, dim, keepdim))
    if p == 1:
        return sum(x.abs(), dim, keepdim)
    if p == 0:
        return sum(cast(x != 0, x.dtype), dim, keepdim)
    if p in (float("inf"), float("-inf")):
        return (amax if p > 0 else amin)(x.abs(), dim, keepdim)
    if not isinstance(p, (int, float)):
        raise ValueError(f"norm needs p as a number, inf, -inf or 'fro', got {p!r}")
    return pow(sum(pow(x.abs(), p), dim, keepdim), 1 / p)


@method("all")
def all_(input, dim=None, keepdim=False) -> Tensor:
    """Whether all elements are true (over ``dim``)."""
    x = astensor(input)
    return wrap(x.array.all(axis=axes_of(x, dim), keepdims=keepdim))


@method("any")
def any_(input, dim=None, keepdim=False) -> Tensor:
    """Whether any element is true (over ``dim``)."""
    x = astensor(input)
    return wrap(x.array.any(axis=axes_of(x, dim), keepdims=keepdim))


@method()
def count_nonzero(input, dim=None) -> Tensor:
    """How many elements are not 0 (over ``dim``)."""
    return sum(astensor(input) != 0, dim)


class Cumsum(Op):
    """y_i = x_0 + ... + x_i along the axis; the gradient is summed from the other end."""

    def __init__(self, axis, backwards=False):
        self.axis, self.backwards = axis, backwards

    def forward(self, x):
        xp = namespace(x)
        wide = accumulator(x.dtype)
        if self.backwards:
            x = xp.flip(x, self.axis)
        y = xp.cumsum(x, axis=self.axis, dtype=wide).astype(x.dtype, copy=False)
        return xp.ascontiguousarray(xp.flip(y, self.axis)) if self.backwards else y

    def backward(self, gy):
        return Cumsum(self.axis, not self.backwards)(gy)


@method()
@full_precision
def cumsum(input, dim, *, dtype=None) -> Tensor:
    """Running sums along ``dim``, in ``dtype`` if one is given. Integers and bools add up as int64.

    >>> import minidl
    >>> minidl.tensor([1.0, 2.0, 3.0]).cumsum(0)
    tensor([1., 3., 6.])
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    x = _in(x, dtype)
    return Cumsum(axis)(x) if x.ndim else x.clone()


class Cumprod(Op):
    """y_i = x_0 ... x_i along the axis;  dy_i/dx_k = y_i / x_k for k <= i, and the products of the others where x_k = 0."""

    def __init__(self, axis):
        self.axis = axis

    def forward(self, x):
        wide = widened(x)  # also since CuPy multiplies no bfloat16 here
        y = namespace(x).cumprod(wide, axis=self.axis, dtype=wide.dtype).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        if (x.array != 0).all():
            return Cumsum(self.axis, backwards=True)(gy * y) / x
        last, g = x.transpose(self.axis, -1), gy.transpose(self.axis, -1)
        n = last.shape[-1]
        upto = wrap(namespace(x.array).tri(n, dtype=bool))
        rows = where(upto, Expand((*last.shape[:-1], n, n))(last.unsqueeze(-2)), 1.0)  # row i: x_0 ... x_i, then ones
        others = where(upto, _products_of_others(rows, rows.ndim - 1), 0.0)
        return (g.unsqueeze(-1) * others).sum(-2).transpose(self.axis, -1)


@method()
@full_precision
def cumprod(input, dim, *, dtype=None) -> Tensor:
    """Running products along ``dim``, in ``dtype`` if one is given. Integers and bools multiply as int64.

    >>> import minidl
    >>> minidl.tensor([1.0, 2.0, 3.0]).cumprod(0)
    tensor([1., 2., 6.])
    """
    x = astensor(input)
    axis = axis_of(x, dim)
    x = _in(x, dtype)
    return Cumprod(axis)(x) if x.ndim else x.clone()


