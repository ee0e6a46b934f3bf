"""Creation of tensors. Floating-point ones have the default dtype unless told otherwise, and none is tracked unless asked."""

import math

import numpy as np

from minidl.device import Device
from minidl.dtypes import as_dtype, default_for, get_default_dtype
from minidl.errors import ShapeError
from minidl.ops.shape import expand, reshape, sizes_of
from minidl.tensor import Tensor, astensor, method


def _filled(function, args, dtype, device, requires_grad) -> Tensor:
    """A tensor from a function of the array library; the shape is its first argument, or all of them."""
    dtype = get_default_dtype() if dtype is None else as_dtype(dtype)
    device = Device.parse(device)
    try:
        array = device.make(function, *args, dtype=dtype)
    except (TypeError, ValueError):
        size = args[0] if isinstance(args[0], tuple) else args
        raise ShapeError(f"a shape is a list of integers, none negative, got {size}") from None
    return Tensor(array, requires_grad)


def zeros(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of zeros, of shape ``zeros(2, 3)`` or ``zeros((2, 3))``.

    Raises ShapeError for sizes that are not integers or negative.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _filled("zeros", (sizes_of(size),), dtype, device, requires_grad)


def ones(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of ones, of shape ``ones(2, 3)`` or ``ones((2, 3))``.

    Raises ShapeError for sizes that are not integers or negative.

    >>> ones(2)
    tensor([1., 1.])
    """
    return _filled("ones", (sizes_of(size),), dtype, device, requires_grad)


def empty(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor whose elements are whatever the memory held, of shape ``empty(2, 3)`` or ``empty((2, 3))``.

    Raises ShapeError for sizes that are not integers or negative.

    >>> empty(2, 0).shape
    (2, 0)
    """
    return _filled("empty", (sizes_of(size),), dtype, device, requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of one value; its dtype is that of the value: bool, int64 or the default floating-point dtype.

    Raises ShapeError for sizes that are not integers or negative.

    >>> full((2,), 7), full((2,), 0.5)
    (tensor([7, 7]), tensor([0.5, 0.5]))
    """
    value = fill_value.item() if isinstance(fill_value, (Tensor, np.generic)) else fill_value
    dtype = default_for(type(value)) if dtype is None else dtype
    size = (size,) if isinstance(size, int) else tuple(size)
    return _filled("full", (size, value), dtype, device, requires_grad)


def _like(input, function, dtype, device, requires_grad, *value) -> Tensor:
    x = astensor(input)
    dtype = x.dtype if dtype is None else as_dtype(dtype)
    device = x.device if device is None else Device.parse(device)
    if device == x.device:
        return Tensor(device.make(f"{function}_like", x.array, *value, dtype=dtype), requires_grad)
    return _filled(function, (x.shape, *value), dtype, device, requires_grad)


def zeros_like(input, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Zeros in the shape of ``input``, and in its dtype and on its device unless told otherwise.

    >>> zeros_like(arange(2))
    tensor([0, 0])
    """
    return _like(input, "zeros", dtype, device, requires_grad)


def ones_like(input, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Ones in the shape of ``input``, and in its dtype and on its device unless told otherwise.

    >>> ones_like(arange(2))
    tensor([1, 1])
    """
    return _like(input, "ones", dtype, device, requires_grad)


def empty_like(input, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Memory as it is in the shape of ``input``, and in its dtype and on its device unless told otherwise."""
    return _like(input, "empty", dtype, device, requires_grad)


def full_like(input, fill_value, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """One value in the shape of ``input``, and in its dtype and on its device unless told otherwise.

    >>> full_like(ones(2), 7)
    tensor([7., 7.])
    """
    return _like(input, "full", dtype, device, requires_grad, fill_value)


def _copied(array: np.ndarray, device, requires_grad) -> Tensor:
    """An array of NumPy's on the device, the same numbers on all."""
    return Tensor(Device.parse(device).make("asarray", array), requires_grad)


def _new(name, function):
    @method(f"new_{name}")
    def new(self, *args, dtype=None, device=None, requires_grad=False) -> Tensor:
        dtype, device = self.dtype if dtype is None else dtype, self.device if device is None else device
        return function(*args, dtype=dtype, device=device, requires_grad=requires_grad)

    new.__name__ = f"new_{name}"
    new.__doc__ = f"``{name}`` in the dtype and on the device of this tensor, unless told otherwise."


for _name, _function in {"zeros": zeros, "ones": ones, "empty": empty, "full": full}.items():
    _new(_name, _function)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Numbers from ``start`` (0 if it is the only argument) up to, but not including, ``end``; int64 if all are integers.

    Raises ValueError for a step of 0, or one that leads away from ``end``.

    >>> arange(3), arange(0, 1, 0.25)
    (tensor([0, 1, 2]), tensor([0.  , 0.25, 0.5 , 0.75]))
    """
    start, end = (0, start) if end is None else (start, end)
    start, end, step = (n.item() if isinstance(n, (Tensor, np.generic)) else n for n in (start, end, step))
    if step == 0 or (end - start) / step < 0:
        raise ValueError(f"arange: no steps of {step} lead from {start} to {end}")
    whole = all(isinstance(n, int) for n in (start, end, step))
    count = -((start - end) // step) if whole else math.ceil((end - start) / step)
    dtype = default_for(int if whole else float) if dtype is None else as_dtype(dtype)
    return _copied((start + np.arange(count) * step).astype(dtype), device, requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """``steps`` numbers at equal distances from ``start`` to ``end``, both included.

    Raises ValueError for a negative number of steps.

    >>> linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    dtype = get_default_dtype() if dtype is None else as_dtype(dtype)
    return _copied(np.linspace(start, end, steps).astype(dtype), device, requires_grad)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A matrix (n, m) with ones on its diagonal, else zeros; (n, n) without ``m``.

    Raises ShapeError for sizes that are not integers or negative.

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _filled("eye", (n, n if m is None else m), dtype, device, requires_grad)


def meshgrid(*tensors, indexing="ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid, as views: for vectors of sizes m and n, two (m, n) tensors ("ij") or two (n, m) ("xy").

    Raises ShapeError for tensors with more than one axis, ValueError for another ``indexing``.

    >>> [g.tolist() for g in meshgrid(arange(2), arange(3))]
    [[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(f"indexing must be 'ij' or 'xy', got {indexing!r}")
    tensors = [astensor(x) for x in sizes_of(tensors)]
    if any(x.ndim > 1 for x in tensors):
        raise ShapeError("meshgrid needs vectors, got shapes " + ", ".join(str(x.shape) for x in tensors))
    places = list(range(len(tensors)))
    if indexing == "xy":
        places[:2] = places[1::-1]
    shape = [tensors[k].numel() for k in places]
    return tuple([expand(reshape(x, tuple([-1 if k == place else 1 for k in range(len(shape))])), shape)
                  for x, place in zip(tensors, places, strict=True)])
