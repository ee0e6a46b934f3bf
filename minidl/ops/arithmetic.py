"""Arithmetic of two operands, which broadcast; dtypes follow PyTorch. Each class states its function and derivative."""


from minidl.dtypes import float64, get_default_dtype, is_floating
from minidl.errors import DeviceError, DtypeError, ShapeError
from minidl.kernels import namespace
from minidl.op import Add, Op
from minidl.ops.cast import cast, promoted, together
from minidl.ops.precision import full_precision
from minidl.tensor import Tensor, astensor, method


class Broadcasting(Op):
    """Base of ops on two operands that broadcast against each other."""

    broadcasts = True


def apply_broadcast(op: Op, x, y):
    """Apply to promoted operands; shapes that don't broadcast raise ShapeError, different devices DeviceError."""
    try:
        if x.array.dtype is not y.array.dtype:
            x, y = promoted(x, y)
    except AttributeError:  # a number
        x, y = promoted(x, y)
    try:
        return op(x, y)
    except DeviceError:
        if (moved := together(x, y)) is None:
            raise
        return op(*moved)
    except ValueError as error:
        raise ShapeError(f"{op.name}: shapes {x.shape} and {y.shape} do not broadcast: counted from the last axis, sizes "
                         "must be equal or 1") from error


@method("add", "__add__", "__radd__")
def add(input, other, *, alpha=1) -> Tensor:
    """input + alpha * other.

    >>> import minidl
    >>> minidl.add(minidl.tensor([1, 2]), 0.5)
    tensor([1.5, 2.5])
    """
    return apply_broadcast(Add(), input, other if alpha == 1 else mul(other, alpha))


class Sub(Broadcasting):
    """z = x - y."""

    def forward(self, x, y):
        return x - y

    def backward(self, gz):
        return gz if self.needs[0] else None, Neg()(gz) if self.needs[1] else None


@method("sub", "subtract", "__sub__")
def sub(input, other, *, alpha=1) -> Tensor:
    """input - alpha * other."""
    x, y = promoted(input, other if alpha == 1 else mul(other, alpha))
    if x.array.dtype.kind == "b":
        raise DtypeError("subtraction of bool tensors is not defined: use ^ or logical_xor")
    return apply_broadcast(Sub(), x, y)


@method("__rsub__")
def rsub(input, other) -> Tensor:
    """other - input."""
    return sub(other, input)


class Mul(Broadcasting):
    """z = x y;  dz/dx = y, dz/dy = x."""

    def forward(self, x, y):
        self.save(x, y)
        return x * y

    def backward(self, gz):
        x, y = self.saved
        return Mul()(gz, y) if self.needs[0] else None, Mul()(gz, x) if self.needs[1] else None


@method("mul", "multiply", "__mul__", "__rmul__")
def mul(input, other) -> Tensor:
    """input * other, element by element.

    >>> import minidl
    >>> minidl.mul(minidl.tensor([1.0, 2.0]), minidl.tensor([[3.0], [4.0]])).shape
    (2, 2)
    """
    return apply_broadcast(Mul(), input, other)


class Div(Broadcasting):
    """z = x / y;  dz/dx = 1/y, dz/dy = -z/y."""

    def forward(self, x, y):
        z = x / y
        self.save(y, z)
        return z

    def backward(self, gz):
        y, z = self.saved
        gx = gz / y
        return gx, -(gx * z) if self.needs[1] else None


@method("div", "divide", "true_divide", "__truediv__")
def div(input, other, *, rounding_mode=None) -> Tensor:
    """input / other; integers give floats. ``rounding_mode`` "trunc" or "floor" rounds the quotient.

    >>> import minidl
    >>> minidl.div(minidl.tensor([7, -7]), 2, rounding_mode="floor")
    tensor([ 3, -4])
    """
    if rounding_mode not in (None, "trunc", "floor"):
        raise ValueError(f"rounding_mode must be None, 'trunc' or 'floor', got {rounding_mode!r}")
    x, y = promoted(input, other)
    if rounding_mode == "floor":
        return floor_divide(x, y)
    if rounding_mode == "trunc":
        return apply_broadcast(TruncDiv(), x, y)
    if not is_floating(x.array.dtype):  # in float64, where a negative number beside unsigned integers stays negative
        x, y = (cast(astensor(v), float64) for v in (input, other))
        return cast(apply_broadcast(Div(), x, y), get_default_dtype())
    return apply_broadcast(Div(), x, y)


@method("__rtruediv__")
@full_precision
def rdiv(input, other) -> Tensor:
    """other / input."""
    return div(other, input)


class FloorDiv(Broadcasting):
    """z = floor(x / y). Piecewise constant: no gradient."""

    def forward(self, x, y):
        return x // y

    def backward(self, gz):
        return None, None


class TruncDiv(FloorDiv):
    """z = x / y rounded towards 0. Piecewise constant: no gradient."""

    def forward(self, x, y):
        return namespace(x).trunc(x / y).astype(x.dtype)


@method("floor_divide", "__floordiv__")
def floor_divide(input, other) -> Tensor:
    """The quotient rounded towards minus infinity."""
    return apply_broadcast(FloorDiv(), input, other)


@method("__rfloordiv__")
def rfloor_divide(input, other) -> Tensor:
    """other // input."""
    return floor_divide(other, input)


class Remainder(Broadcasting):
    """z = x - floor(x / y) y, with the sign of y."""

    def forward(self, x, y):
        self.save(x, y)
        return namespace(x).remainder(x, y)

    def backward(self, gz):
        x, y = self.saved
        return gz, -(gz * floor_divide(x.detach(), y.detach())) if self.needs[1] else None


@method("remainder", "__mod__")
def remainder(input, other) -> Tensor:
    """The remainder of a division, with the sign of ``other``."""
    return apply_broadcast(Remainder(), input, other)


@method("__rmod__")
def rremainder(input, other) -> Tensor:
    """other % input."""
    return remainder(other, input)


class Neg(Op):
    """y = -x."""

    def forward(self, x):
        return -x

    def backward(self, gy):
        return Neg()(gy)


@method("neg", "negative", "__neg__")
def neg(input) -> Tensor:
    """-input."""
    return Neg()(astensor(input))


@method("__pos__")
def pos(input) -> Tensor:
    """+input, the tensor itself."""
    return input
