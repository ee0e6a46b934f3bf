"""Choosing between elements: maximum, minimum, clamp, where. A tie shares the gradient, clamp passes it at its edges."""

from minidl.errors import DtypeError
from minidl.kernels import namespace
from minidl.kernels.recording import number
from minidl.op import Op
from minidl.ops.arithmetic import Broadcasting, apply_broadcast
from minidl.ops.cast import as_floating, cast, promoted
from minidl.ops.compare import isnan
from minidl.tensor import Tensor, astensor, method, wrap


class Maximum(Broadcasting):
    """z = max(x, y); a tie gives each half the gradient. NaN wins."""

    ufunc = "maximum"

    def forward(self, x, y):
        self.save(x, y)
        return getattr(namespace(x), self.ufunc)(x, y)

    def backward(self, gz):
        x, y = (t.detach() for t in self.saved)
        half = cast(x == y, gz.dtype) * 0.5
        x_wins, y_wins = self._wins(x, y), self._wins(y, x)
        return gz * (cast(x_wins, gz.dtype) + half), gz * (cast(y_wins, gz.dtype) + half)

    @staticmethod
    def _wins(x, y):
        return (x > y) | isnan(x)


class Minimum(Maximum):
    """z = min(x, y); a tie gives each half the gradient. NaN wins."""

    ufunc = "minimum"

    @staticmethod
    def _wins(x, y):
        return (x < y) | isnan(x)


@method()
def maximum(input, other) -> Tensor:
    """The larger of two elements; NaN if either is."""
    return apply_broadcast(Maximum(), input, other)


@method()
def minimum(input, other) -> Tensor:
    """The smaller of two elements; NaN if either is."""
    return apply_broadcast(Minimum(), input, other)


class Clamp(Op):
    """y = min(max(x, low), high) for numbers;  y' = 1 from edge to edge, else 0. NaN stays."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def forward(self, x):
        xp = namespace(x)
        self.save(x)
        y = x if self.low is None else xp.maximum(x, number(self.low, x.dtype, x))
        return y.copy() if y is x and self.high is None else y if self.high is None else xp.minimum(
            y, number(self.high, x.dtype, x))

    def backward(self, gy):
        x = self.saved[0].detach()
        inside = wrap(namespace(x.array).ones(x.shape, bool))
        if self.low is not None:
            inside = inside & (x >= self.low)
        if self.high is not None:
            inside = inside & (x <= self.high)
        return gy * cast(inside, gy.dtype)


@method("clamp", "clip")
def clamp(input, min=None, max=None) -> Tensor:
    """Elements held between ``min`` and ``max``, numbers or tensors; the gradient passes at the edges themselves.

    >>> import minidl
    >>> minidl.clamp(minidl.tensor([-2.0, 0.5, 3.0]), 0, 1)
    tensor([0. , 0.5, 1. ])
    """
    if min is None and max is None:
        raise ValueError("clamp needs min, max, or both")
    input = astensor(input)
    if isinstance(min, Tensor) or isinstance(max, Tensor):
        y = input if min is None else where(input < min, min, input)
        return y if max is None else where(y > max, max, y)
    if any(isinstance(bound, float) for bound in (min, max)):
        input = as_floating(input)
    return Clamp(min, max)(input)


class Where(Op):
    """y = x where the condition holds, else z. Each gets the gradient where it was chosen."""

    broadcasts = True

    def __init__(self, condition):
        self.condition, self.constants = condition, (condition,)

    def forward(self, x, z):
        self.save(self.condition)  # saved as well, so that a mask changed in place before backward is noticed
        return namespace(x).where(self.condition, x, z).astype(x.dtype, copy=False)  # CuPy's knows no bfloat16, but float32

    def backward(self, gy):
        condition = self.saved[0].array
        zero = wrap(namespace(gy.array).zeros((), gy.dtype))
        return Where(condition)(gy, zero), Where(condition)(zero, gy)


@method("where")
def _where_method(self, condition, other) -> Tensor:
    """``self`` where the condition holds, else ``other``."""
    return where(condition, self, other)


def where(condition, input=None, other=None) -> Tensor:
    """``input`` where ``condition`` holds, else ``other``, all three broadcast. Without them: the indices of True.

    A NaN or inf that is not chosen does not reach the result; to keep it out of the gradient as well, choose a safe input
    before the function that makes it.

    >>> import minidl
    >>> x = minidl.tensor([-1.0, 4.0])
    >>> minidl.where(x > 0, x, 0)
    tensor([0., 4.])
    """
    condition = astensor(condition)
    if condition.array.dtype.kind != "b":
        raise DtypeError(f"where needs a bool condition, got {condition.dtype}: compare first, as in x > 0")
    if input is None and other is None:
        return tuple(wrap(axis) for axis in namespace(condition.array).nonzero(condition.array))
    return apply_broadcast(Where(condition.array), *promoted(input, other, condition))
