"""Changes in place: of plain data, or under no_grad. Each counts as a write that a pending backward pass will notice."""

from minidl.errors import GraphError, ShapeError
from minidl.ops.arithmetic import add, div, mul, sub
from minidl.ops.choose import clamp
from minidl.ops.elementwise import pow
from minidl.tensor import Tensor, astensor, method, mode, written


def check_writable(x: Tensor, what: str) -> None:
    """Raise GraphError if ``x`` is part of a recorded graph now, or a view that cannot be written to."""
    if mode.recording and x.tracked:
        raise GraphError(f"{what} changes in place a tensor that requires a gradient: do it under minidl.no_grad(), "
                         "or compute a new tensor")
    if not getattr(x.array.flags, "writeable", True):
        raise ShapeError(f"{what} on a read-only view, as expand gives: clone() it first")


def _in_place(dunder, function):
    """``x += y``: in place for plain data and under no_grad; for a result inside the graph, the name is bound anew."""

    def augmented(self, other):
        recorded = mode.recording and (self.tracked or getattr(other, "tracked", False))
        if recorded:
            if self.tracked and self.op is None:
                check_writable(self, dunder)
            return function(self, other)
        result = function(self.detach(), other)
        if result.shape != self.shape or (result.dtype.kind == "f" and self.dtype.kind != "f"):
            raise ShapeError(f"a result of shape {result.shape} and dtype {result.dtype} does not fit in place into "
                             f"{self.shape} {self.dtype}")
        self.array[...] = result.array
        written(self.array)
        return self

    augmented.__name__ = dunder
    augmented.__doc__ = f"In place: {function.__doc__}"
    method(dunder)(augmented)


for _dunder, _function in {"__iadd__": add, "__isub__": sub, "__imul__": mul, "__itruediv__": div}.items():
    _in_place(_dunder, _function)


def _written(name, function):
    def change(self, *args, **kwargs) -> Tensor:
        check_writable(self, name)
        self.array[...] = function(self.detach(), *args, **kwargs).array
        written(self.array)
        return self

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
        self.array[...] = source.array
    except ValueError:
        raise ShapeError(f"copy_: values of shape {source.shape} do not fit into a tensor of shape {self.shape}") from None
    written(self.array)
    return self


@method()
def fill_(self, value) -> Tensor:
    """Set every element (plain data, or under no_grad)."""
    check_writable(self, "fill_")
    self.array[...] = value
    written(self.array)
    return self


@method()
def zero_(self) -> Tensor:
    """Set every element to 0 (plain data, or under no_grad)."""
    return fill_(self, 0)
