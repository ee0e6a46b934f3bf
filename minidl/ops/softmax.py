"""Softmax, its logarithm, and the logarithm of a sum of exponentials, none of which overflows. Sums run along ``dim``."""

from minidl.dtypes import as_dtype
from minidl.kernels import kernel, namespace
from minidl.kernels.half import widened
from minidl.op import FusedOp, Op
from minidl.ops.cast import cast, check_floating
from minidl.ops.elementwise import exp, log
from minidl.ops.precision import full_precision
from minidl.ops.reduce import amax, axes_of, axis_of, sum
from minidl.tensor import Tensor, astensor, method, wrap


class Softmax(FusedOp):
    """y_i = exp(x_i) / sum_k exp(x_k);  gx_i = y_i (gy_i - sum_k gy_k y_k)."""

    kernel = "softmax"

    def __init__(self, axis):
        self.axis = axis

    def forward(self, x):
        y = kernel(self.kernel, x)(x, self.axis)
        self.save(y)
        return y

    def fast_backward(self, gy):
        (y,) = self.saved
        return wrap(kernel(self.kernel + "_grad", y.array)(gy.array, y.array, self.axis))

    def composite(self, x):
        e = exp(x - amax(x.detach(), self.axis, keepdim=True))
        return e / sum(e, self.axis, keepdim=True)


class LogSoftmax(Softmax):
    """y_i = x_i - log sum_k exp(x_k);  gx_i = gy_i - exp(y_i) sum_k gy_k."""

    kernel = "log_softmax"

    def composite(self, x):
        z = x - amax(x.detach(), self.axis, keepdim=True)
        return z - log(sum(exp(z), self.axis, keepdim=True))


def _along(op, input, dim, dtype) -> Tensor:
    x = astensor(input) if dtype is None else cast(astensor(input), as_dtype(dtype))
    check_floating(x, op.kernel)
    axis = axis_of(x, dim)
    return op(axis)(x) if x.ndim else op(0)(x.reshape(1)).reshape(())


@method()
@full_precision
def softmax(input, dim, dtype=None) -> Tensor:
    """exp(x) / sum of exp(x) along ``dim``: positive numbers that add up to 1. ``dtype`` casts the input first.

    A NaN fills its row with NaN, and so does a row that is all -inf.

    >>> import minidl
    >>> minidl.softmax(minidl.tensor([[0.0, 0.0], [1000.0, 0.0]]), dim=1)
    tensor([[0.5, 0.5],
            [1. , 0. ]])
    """
    return _along(Softmax, input, dim, dtype)


@method()
@full_precision
def log_softmax(input, dim, dtype=None) -> Tensor:
    """log(softmax(input)), exact where softmax itself would round to 0.

    >>> import minidl
    >>> minidl.log_softmax(minidl.tensor([1e4, 0.0, -1e4]), dim=0)
    tensor([     0., -10000., -20000.])
    """
    return _along(LogSoftmax, input, dim, dtype)


class LogSumExp(Op):
    """y = m + log sum exp(x - m), where m = max x if that is finite, else 0;  y' = exp(x - y)."""

    def __init__(self, axes, keepdim):
        self.axes, self.keepdim = axes, keepdim

    def forward(self, x):
        xp = namespace(x)
        self.kept = tuple(1 if axis in self.axes else size for axis, size in enumerate(x.shape))
        wide = widened(x)
        if x.size:
            top = wide.max(axis=self.axes, keepdims=True)
            top = xp.where(xp.isfinite(top), top, 0)
        else:
            top = xp.zeros(self.kept, wide.dtype)
        e = xp.exp(wide - top)
        y = (top + xp.log(kernel("sum", e)(e, self.axes, True))).astype(x.dtype, copy=False)
        y = y if self.keepdim else y.reshape([size for axis, size in enumerate(x.shape) if axis not in self.axes])
        self.save(x, y)
        return y

    def backward(self, gy):
        x, y = self.saved
        return gy.reshape(self.kept) * exp(x - y.reshape(self.kept))


@method()
@full_precision
def logsumexp(input, dim, keepdim=False) -> Tensor:
    """log of the sum of exp(input) along ``dim``, an axis or several.

    >>> import minidl
    >>> minidl.logsumexp(minidl.tensor([1000.0, 1000.0]), dim=0)
    tensor(1000.6932)
    """
    x = astensor(input)
    check_floating(x, "logsumexp")
    axes = axes_of(x, dim)
    return LogSumExp(axes, keepdim)(x) if x.ndim else x.clone()
