"""Dtypes and devices: casts, promotion of operands, moves between CPU and GPU."""

from numbers import Number

import numpy as np

from minidl.cuda import pinned
from minidl.device import CPU, Device
from minidl.dtypes import (
    FLOATING,
    as_dtype,
    float16,
    float32,
    float64,
    get_default_dtype,
    int32,
    int64,
    is_floating,
    result_type,
)
from minidl.errors import DeviceError, DtypeError
from minidl.kernels.recording import number
from minidl.op import Op
from minidl.tensor import Tensor, astensor, method, wrap


class Cast(Op):
    """y = x in another dtype. The gradient is cast back."""

    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, x):
        self.from_dtype = x.dtype
        return x.astype(self.dtype)

    def backward(self, gy):
        return Cast(self.from_dtype)(gy)


class Move(Op):
    """y = x on another device. The gradient is moved back."""

    def __init__(self, device, non_blocking=False):
        self.device, self.non_blocking = device, non_blocking

    def forward(self, x):
        self.from_device = Device.of(x)
        directly = self.non_blocking and self.device.type == "cuda" and pinned.is_pinned(x)
        return pinned.send(x, self.device) if directly else self.device.array(x)

    def backward(self, gy):
        return Move(self.from_device)(gy)


def cast(x: Tensor, dtype: np.dtype) -> Tensor:
    """``x`` in ``dtype``; itself if it has it already."""
    return x if x.array.dtype == dtype else Cast(dtype)(x)


@method()
def to(self, *args, dtype=None, device=None, non_blocking=False, copy=False) -> Tensor:
    """The tensor in another dtype or on another device: ``x.to("cuda")``, ``x.to(1)``, ``x.to(minidl.float64)``, ``x.to(other)``.

    Returns the tensor itself if nothing changes, unless ``copy``. With ``non_blocking``, a copy from pinned memory to a GPU may
    happen after this returns: do not write to the tensor before ``minidl.cuda.synchronize()``.

    >>> import minidl
    >>> minidl.tensor([1, 2]).to(minidl.float64)
    tensor([1., 2.], dtype=float64)
    """
    for arg in args:
        if isinstance(arg, Tensor):
            dtype, device = arg.dtype, arg.device
        elif isinstance(arg, bool):
            non_blocking = arg
        elif isinstance(arg, (Device, int)) or (isinstance(arg, str) and arg.partition(":")[0] in ("cpu", "cuda")):
            device = arg
        else:
            dtype = arg
    y = self if dtype is None else cast(self, as_dtype(dtype))
    if device is not None and (target := Device.parse(device)) != y.device:
        y = Move(target, non_blocking)(y)
    return y.clone() if copy and y is self else y


@method()
def cpu(self) -> Tensor:
    """The tensor on the CPU."""
    return to(self, "cpu")


@method()
def cuda(self, device="cuda") -> Tensor:
    """The tensor on a GPU, given by its number or name; on the current one unless told otherwise.

    Raises DeviceError, or MissingDependencyError without CuPy.
    """
    return to(self, Device.parse(device))


@method()
def pin_memory(self) -> Tensor:
    """The tensor, of the CPU, in pinned memory, from which ``to("cuda", non_blocking=True)`` copies without waiting.

    Raises DeviceError for one on a GPU or without a GPU, MissingDependencyError without CuPy.
    """
    if self.device.type != "cpu":
        raise DeviceError(f"only memory of the CPU can be pinned, this tensor is on {self.device}")
    return wrap(pinned.pin(self.array))


@method()
def is_pinned(self) -> bool:
    """Whether the tensor lies in pinned memory."""
    return pinned.is_pinned(self.array)


@method("type_as")
def type_as(self, other: Tensor) -> Tensor:
    """The tensor in the dtype of another."""
    return cast(self, other.dtype)


def _caster(name, dtype):
    def to_dtype(self) -> Tensor:
        return cast(self, dtype)

    to_dtype.__name__ = name
    to_dtype.__doc__ = f"The tensor as {dtype}."
    method(name)(to_dtype)


for _name, _dtype in {"half": float16, "float": float32, "double": float64, "int": int32, "long": int64,
                      "bool": np.dtype(bool)}.items():
    _caster(_name, _dtype)


@method()
def bfloat16(self) -> Tensor:
    """The tensor as bfloat16.

    Raises MissingDependencyError without the package ml_dtypes.
    """
    return cast(self, as_dtype("bfloat16"))


def as_floating(x) -> Tensor:
    """``x`` as a floating-point tensor: integers and bools become the default dtype."""
    x = astensor(x)
    return x if x.array.dtype.kind in FLOATING else Cast(get_default_dtype())(x)


def together(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Operands of two devices on one, if one of them is a 0-d tensor of the CPU, which as in PyTorch joins any other."""
    if x.device == y.device:
        return None
    if not x.ndim and x.device == CPU:
        return Move(y.device)(x), y
    if not y.ndim and y.device == CPU:
        return x, Move(x.device)(y)
    return None


def promoted(x, y, like: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Both operands as tensors of the one dtype that PyTorch's promotion gives them; numbers become 0-d tensors, on the device
    of ``like``, or else of the other operand.

    Raises DtypeError for operands that are neither tensors, arrays nor numbers.
    """
    if like is None:
        like = x if isinstance(x, Tensor) else y if isinstance(y, Tensor) else astensor(x)
    dtype = result_type(_operand(x), _operand(y))
    return _as(x, dtype, like.array), _as(y, dtype, like.array)


def _operand(value):
    return value.array if isinstance(value, Tensor) else value


def _as(value, dtype, like) -> Tensor:
    """``value`` as a tensor of this dtype; numbers on the device of ``like``."""
    if isinstance(value, Tensor):
        return cast(value, dtype)
    if isinstance(value, Number):
        in_range = is_floating(dtype) or dtype.kind == "b" or np.iinfo(dtype).min <= value <= np.iinfo(dtype).max
        return wrap(number(value if in_range else np.asarray(value).astype(dtype).item(), dtype, like))
    if not hasattr(value, "dtype"):
        raise DtypeError(f"expected a tensor or a number, got {type(value).__name__}")
    return cast(astensor(value), dtype)


def check_floating(x: Tensor, name: str) -> None:
    """Raise DtypeError unless ``x`` is floating point."""
    if not is_floating(x.dtype):
        raise DtypeError(f"{name} needs a floating-point tensor, got {x.dtype}: convert it with .float()")
