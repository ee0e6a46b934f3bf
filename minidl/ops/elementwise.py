"""Functions of single elements: powers, exponentials, roots, trigonometry. Each class states its function and derivative."""

from numbers import Number

import numpy as np

from minidl.dtypes import is_floating
from minidl.errors import DtypeError
from minidl.kernels import kernel, namespace
from minidl.kernels.half import widened
from minidl.op import Op
from minidl.ops.arithmetic import Broadcasting, apply_broadcast, div
from minidl.ops.cast import as_floating, promoted
from minidl.ops.choose import where
from minidl.ops.precision import full_precision
from minidl.tensor import Tensor, astensor, method


class Pow(Broadcasting):
    """z = x^y;  dz/dx = y x^(y-1), 0 where y = 0;  dz/dy = z log x, 0 where x = 0 and y >= 0."""

    def forward(self, x, y):
        z = x**y
        self.save(x, y, z)
        return z

    def backward(self, gz):
        x, y, z = self.saved
        gx = where(y == 0, 0.0, gz * y * pow(x, y - 1)) if self.needs[0] else None
        gy = None
        if self.needs[1]:
            vanishing = (x == 0) & (y >= 0)
            gy = where(vanishing, 0.0, gz * z * log(where(vanishing, 1.0, x)))
        return gx, gy


class PowScalar(Op):
    """y = x^n for a number n;  dy/dx = n x^(n-1), 0 for n = 0."""

    def __init__(self, exponent):
        self.exponent = exponent

    def forward(self, x):
        self.save(x)
        return (widened(x) ** self.exponent).astype(x.dtype, copy=False)

    def backward(self, gy):
        (x,) = self.saved
        n = self.exponent
        return gy * 0.0 if n == 0 else gy * x * 2.0 if n == 2 else gy * (pow(x, n - 1) * n)


@method("pow", "__pow__")
@full_precision
def pow(input, exponent) -> Tensor:
    """input to the power of ``exponent``, a tensor or a number.

    >>> import minidl
    >>> minidl.pow(minidl.tensor([2.0, 3.0]), 2)
    tensor([4., 9.])
    """
    if isinstance(input, Tensor) and isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        if is_floating(input.array.dtype):
            return PowScalar(exponent)(input)
        if isinstance(exponent, float):
            return PowScalar(exponent)(as_floating(input))
    x, y = promoted(input, exponent)
    if x.array.dtype.kind in "iu" and (exponent < 0 if isinstance(exponent, Number) else (y.array < 0).any()):
        raise DtypeError("integers to negative powers are not integers: convert with .float() first")
    return apply_broadcast(Pow(), x, y)


@method("__rpow__")
def rpow(input, other) -> Tensor:
    """other ** input."""
    return pow(astensor(other) if not isinstance(other, (int, float)) else promoted(other, input)[0], input)


@method()
def square(input) -> Tensor:
    """input²."""
    return pow(input, 2)


@method()
@full_precision
def reciprocal(input) -> Tensor:
    """1 / input."""
    return div(1, input)


class _Unary(Op):
    """Base: y = f(x) on floating-point tensors."""

    ufunc = ""

    def forward(self, x):
        y = getattr(namespace(x), self.ufunc)(x)
        self.save(x, y)
        return y


class Exp(_Unary):
    """y = e^x;  y' = y."""

    ufunc = "exp"

    def forward(self, x):
        y = namespace(x).exp(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * y


@method()
@full_precision
def exp(input) -> Tensor:
    """e to the power of each element."""
    return Exp()(as_floating(input))


class Expm1(_Unary):
    """y = e^x - 1;  y' = y + 1."""

    ufunc = "expm1"

    def backward(self, gy):
        _, y = self.saved
        return gy * (y + 1)


@method()
@full_precision
def expm1(input) -> Tensor:
    """e^x - 1, accurate near 0."""
    return Expm1()(as_floating(input))


class Log(_Unary):
    """y = ln x;  y' = 1/x."""

    ufunc = "log"

    def backward(self, gy):
        x, _ = self.saved
        return gy / x


@method()
@full_precision
def log(input) -> Tensor:
    """Natural logarithm; -inf at 0, NaN below."""
    return Log()(as_floating(input))


class Log1p(_Unary):
    """y = ln(1 + x);  y' = 1/(1 + x)."""

    ufunc = "log1p"

    def backward(self, gy):
        x, _ = self.saved
        return gy / (x + 1)


@method()
@full_precision
def log1p(input) -> Tensor:
    """ln(1 + x), accurate near 0."""
    return Log1p()(as_floating(input))


@method()
def log2(input) -> Tensor:
    """Logarithm to base 2."""
    return log(input) / float(np.log(2))


@method()
def log10(input) -> Tensor:
    """Logarithm to base 10."""
    return log(input) / float(np.log(10))


class Sqrt(_Unary):
    """y = sqrt x;  y' = 1/(2y), inf at 0."""

    ufunc = "sqrt"

    def backward(self, gy):
        _, y = self.saved
        return gy / (y * 2)


@method()
def sqrt(input) -> Tensor:
    """Square root; NaN below 0."""
    return Sqrt()(as_floating(input))


class SqrtFlatAtZero(_Unary):
    """y = sqrt x with y' = 0 at 0: the root inside norms and standard deviations, whose subgradient at 0 is 0."""

    ufunc = "sqrt"

    def backward(self, gy):
        _, y = self.saved
        zero = y == 0
        return where(zero, 0.0, gy / (where(zero, 1.0, y) * 2))


class Rsqrt(_Unary):
    """y = x^(-1/2);  y' = -y³/2."""

    def forward(self, x):
        y = (1 / namespace(x).sqrt(widened(x))).astype(x.dtype, copy=False)
        self.save(x, y)
        return y

    def backward(self, gy):
        _, y = self.saved
        return gy * (y * y * y) * -0.5


@method()
@full_precision
def rsqrt(input) -> Tensor:
    """1 / sqrt(input)."""
    return Rsqrt()(as_floating(input))


class Abs(Op):
    """y = |x|;  y' = sign x."""

    def forward(self, x):
        self.save(x)
        return abs(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy * sign(x.detach())


@method("abs", "absolute", "__abs__")
def abs_(input) -> Tensor:
    """Magnitude of each element; the derivative at 0 is 0."""
    return Abs()(astensor(input))


def _without_gradient(function: str):
    """An elementwise function that is piecewise constant."""

    class Constant(Op):
        def forward(self, x):
            return getattr(namespace(x), function)(x)

        def backward(self, gy):
            return gy * 0.0

    Constant.__name__ = Constant.__qualname__ = function.capitalize()
    return Constant


_Sign, _Floor, _Ceil, _Trunc, _Round = map(_without_gradient, ("sign", "floor", "ceil", "trunc", "round"))


@method()
def sign(input) -> Tensor:
    """-1, 0 or 1; gradient 0."""
    return _Sign()(astensor(input))


@method()
def floor(input) -> Tensor:
    """The largest integer not above; gradient 0."""
    return _Floor()(astensor(input))


@method()
def ceil(input) -> Tensor:
    """The smallest integer not below; gradient 0."""
    return _Ceil()(astensor(input))


@method()
def trunc(input) -> Tensor:
    """The integer part; gradient 0."""
    return _Trunc()(astensor(input))


@method()
def round(input) -> Tensor:
    """The nearest integer, halves to even; gradient 0."""
    return _Round()(astensor(input))


class Sin(_Unary):
    """y = sin x;  y' = cos x."""

    ufunc = "sin"

    def backward(self, gy):
        x, _ = self.saved
        return gy * cos(x)


@method()
def sin(input) -> Tensor:
    """Sine of radians."""
    return Sin()(as_floating(input))


class Cos(_Unary):
    """y = cos x;  y' = -sin x."""

    ufunc = "cos"

    def backward(self, gy):
        x, _ = self.saved
        return -(gy * sin(x))


@method()
def cos(input) -> Tensor:
    """Cosine of radians."""
    return Cos()(as_floating(input))


class Tanh(_Unary):
    """y = tanh x;  y' = 1 - y²."""

    ufunc = "tanh"

    def backward(self, gy):
        _, y = self.saved
        return gy * (1 - y * y)


@method()
def tanh(input) -> Tensor:
    """Hyperbolic tangent."""
    return Tanh()(as_floating(input))


class Sigmoid(Op):
    """y = 1 / (1 + e^-x);  y' = y (1 - y). Computed as e^min(x, 0) / (1 + e^-|x|), which neither overflows nor branches."""

    def forward(self, x):
        xp = namespace(x)
        wide = widened(x)
        y = (xp.exp(xp.minimum(wide, 0)) / (1 + xp.exp(-abs(wide)))).astype(x.dtype, copy=False)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return gy * (y * (1 - y))


@method()
def sigmoid(input) -> Tensor:
    """Logistic function 1 / (1 + exp(-x)).

    >>> import minidl
    >>> minidl.sigmoid(minidl.tensor([-1000.0, 0.0, 1000.0]))
    tensor([0. , 0.5, 1. ])
    """
    return Sigmoid()(as_floating(input))


class Erf(Op):
    """y = 2/sqrt(pi) times the integral of exp(-t²) from 0 to x;  y' = 2/sqrt(pi) exp(-x²)."""

    def forward(self, x):
        self.save(x)
        return kernel("erf", x)(x)

    def backward(self, gy):
        (x,) = self.saved
        return gy * exp(-(x * x)) * float(2 / np.sqrt(np.pi))


@method()
def erf(input) -> Tensor:
    """Gauss error function."""
    return Erf()(as_floating(input))
