"""Changes in place: of plain data, or under no_grad. Each counts as a write that a pending backward pass will notice."""

from numbers import Number

import numpy as np

from minidl.dtypes import is_floating
from minidl.errors import DtypeError, GraphError, ShapeError
from minidl.kernels import namespace
from minidl.ops.arithmetic import add, div, mul, sub
from minidl.ops.choose import clamp
from minidl.ops.elementwise import pow
from minidl.tensor import Tensor, astensor, method, mode, written


def check_writable(x: Tensor, what: str) -> None:
    """Raise GraphError if ``x`` is part of a recorded graph now, or a view that cannot be written to."""
    if mode.recording and x.tracked:
        raise GraphError(f"{what} changes in place a tensor that requires a gradient: do it under minidl.no_grad(), "
                         "or compute a new tensor")
    if not getattr(x.array.flags, "writeable", not _repeats(x.array)):
        raise ShapeError(f"{what} on a read-only view, as expand gives: clone() it first")


def _repeats(array) -> bool:
    """Whether elements share memory, as after expand: CuPy's arrays do not say that they are read-only."""
    return array.size > 0 and any(size > 1 and not stride for size, stride in zip(array.shape, array.strides, strict=True))


def written_value(value, x: Tensor):
    """What is to be written into ``x``, as an array of its device or a number."""
    if isinstance(value, Tensor):
        on_cpu = type(value.array) is np.ndarray and type(x.array) is np.ndarray
        return value.array if on_cpu or value.device == x.device else x.device.array(value.array)
    return value if isinstance(value, Number) else namespace(x.array).asarray(value)


def _in_place(dunder, function):
    """``x += y``: in place for plain data and under no_grad; for a result inside the graph, the name is bound anew."""

    def augmented(self, other):
        recorded = mode.recording and (self.tracked or getattr(other, "tracked", False))
        if recorded:
            if self.tracked and self.op is None:
                check_writable(self, dunder)
            return function(self, other)
        return _store(self, function(self.detach(), other))

    augmented.__name__ = dunder
    augmented.__doc__ = f"In place: {function.__doc__}"
    method(dunder)(augmented)


for _dunder, _function in {"__iadd__": add, "__isub__": sub, "__imul__": mul, "__itruediv__": div}.items():
    _in_place(_dunder, _function)


def _store(x: Tensor, result: Tensor) -> Tensor:
    """Write a result into the memory of ``x``. Raises ShapeError for another shape, DtypeError where it would be rounded off."""
    if result.shape != x.shape:
        raise ShapeError(f"a result of shape {result.shape} does not fit in place into shape {x.shape}")
    if is_floating(result.dtype) and not is_floating(x.dtype):
        raise DtypeError(f"a result of dtype {result.dtype} does not fit in place into {x.dtype}: compute a new tensor")
    x.array[...] = result.array
    written(x.array)
    return x


def _written(name, function):
    def change(self, *args, **kwargs) -> Tensor:
        check_writable(self, name)
        return _store(self, function(self.detach(), *args, **kwargs))

    change.__name__ = name
    change.__doc__ = f"In place (plain data, or under no_grad): {function.__doc__}"
    method(name)(change)


for _name, _function in {"add_": add, "sub_": sub, "mul_": mul, "div_": div, "clamp_": clamp, "pow_": pow}.items():
    _written(_name, _function)


@method()
def copy_(self, source) -> Tensor:
    """Write the values of ``source``, broadcast and cast, into this tensor's memory (plain data, or under no_grad)."""
    check_writable(self, "copy_")
    source = astensor(source)
    if mode.recording and source.tracked:
        raise GraphError("copy_ would lose the gradient of its source: detach() it, or do it under minidl.no_grad()")
    try:
        with self.device.as_current():
            self.array[...] = written_value(source, self)
    except ValueError:
        raise ShapeError(f"copy_: values of shape {source.shape} do not fit into a tensor of shape {self.shape}") from None
    written(self.array)
    return self


@method()
def fill_(self, value) -> Tensor:
    """Set every element (plain data, or under no_grad)."""
    check_writable(self, "fill_")
    try:
        self.array[...] = value
    except OverflowError:
        raise DtypeError(f"fill_: {value} is out of range for {self.dtype}") from None
    written(self.array)
    return self


@method()
def zero_(self) -> Tensor:
    """Set every element to 0 (plain data, or under no_grad)."""
    return fill_(self, 0)
