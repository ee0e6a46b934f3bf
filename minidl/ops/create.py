"""Creation of tensors. Floating-point ones have the default dtype unless told otherwise."""

import numpy as np

from minidl.device import Device
from minidl.dtypes import as_dtype, default_for, get_default_dtype
from minidl.kernels import namespace
from minidl.ops.shape import sizes_of
from minidl.tensor import Tensor, method, wrap


def _made(array, dtype, device, requires_grad) -> Tensor:
    if dtype is not None:
        array = array.astype(as_dtype(dtype), copy=False)
    if device is not None:
        array = Device.parse(device).array(array)
    return Tensor(array, requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of one value; its dtype is that of the value.

    >>> full((2,), 7), full((2,), 0.5)
    (tensor([7, 7]), tensor([0.5, 0.5]))
    """
    kind = bool if isinstance(fill_value, bool) else int if isinstance(fill_value, int) else float
    shape = (size,) if isinstance(size, int) else tuple(size)
    return _made(np.full(shape, fill_value, as_dtype(dtype) if dtype is not None else default_for(kind)), None, device,
                 requires_grad)


def zeros(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of zeros.

    >>> zeros(2, 3).shape
    (2, 3)
    """
    return _made(np.zeros(sizes_of(size), as_dtype(dtype or float)), None, device, requires_grad)


def ones(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor of ones.

    >>> ones(2)
    tensor([1., 1.])
    """
    return _made(np.ones(sizes_of(size), as_dtype(dtype or float)), None, device, requires_grad)


def empty(*size, dtype=None, device=None, requires_grad=False) -> Tensor:
    """A tensor whose elements are whatever the memory held."""
    return _made(np.empty(sizes_of(size), as_dtype(dtype or float)), None, device, requires_grad)


def _like(name):
    def like(input, *args, dtype=None, requires_grad=False) -> Tensor:
        make = getattr(namespace(input.array), f"{name}_like")
        return Tensor(make(input.array, *args, dtype=input.dtype if dtype is None else as_dtype(dtype)), requires_grad)

    like.__name__ = f"{name}_like"
    like.__doc__ = f"As ``{name}``, in the shape, dtype and device of ``input``."
    return like


zeros_like, ones_like, empty_like, full_like = map(_like, ("zeros", "ones", "empty", "full"))


def _new(name, function):
    @method(f"new_{name}")
    def new(self, *args, dtype=None, requires_grad=False) -> Tensor:
        return function(*args, dtype=dtype or self.dtype, device=self.device, requires_grad=requires_grad)

    new.__doc__ = f"``{name}`` in the dtype and on the device of this tensor."


for _name, _function in {"zeros": zeros, "ones": ones, "empty": empty, "full": full}.items():
    _new(_name, _function)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """Numbers from ``start`` (0 if it is the only argument) up to, but not including, ``end``; int64 if all are integers.

    >>> arange(3), arange(0, 1, 0.25)
    (tensor([0, 1, 2]), tensor([0.  , 0.25, 0.5 , 0.75]))
    """
    start, end = (0, start) if end is None else (start, end)
    if step == 0:
        raise ValueError("arange needs a step other than 0")
    whole = all(isinstance(n, (int, np.integer)) for n in (start, end, step))
    array = np.arange(start, end, step, np.int64 if whole else np.float64)
    return _made(array, dtype or (np.int64 if whole else get_default_dtype()), device, requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """``steps`` numbers at equal distances from ``start`` to ``end``, both included.

    >>> linspace(0, 1, 3)
    tensor([0. , 0.5, 1. ])
    """
    return _made(np.linspace(start, end, steps), dtype or get_default_dtype(), device, requires_grad)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False) -> Tensor:
    """The identity matrix (n, m).

    >>> eye(2)
    tensor([[1., 0.],
            [0., 1.]])
    """
    return _made(np.eye(n, m), dtype or get_default_dtype(), device, requires_grad)


def meshgrid(*tensors, indexing="ij") -> tuple[Tensor, ...]:
    """Coordinates of a grid: for vectors of sizes m and n, two (m, n) tensors ("ij") or two (n, m) ("xy").

    >>> [g.tolist() for g in meshgrid(arange(2), arange(3))]
    [[[0, 0, 0], [1, 1, 1]], [[0, 1, 2], [0, 1, 2]]]
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(f"indexing must be 'ij' or 'xy', got {indexing!r}")
    grids = namespace(tensors[0].array).meshgrid(*(x.array for x in tensors), indexing=indexing)
    return tuple(wrap(grid) for grid in grids)
