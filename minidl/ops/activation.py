"""Activations: functions of single elements that stand between layers. ``sigmoid`` and ``tanh`` are elementwise functions.

``inplace`` arguments are accepted and have no effect: a tensor that was recorded is never changed in place.
"""

import math

import numpy as np

from minidl.dtypes import float32
from minidl.errors import ShapeError
from minidl.kernels import kernel, namespace
from minidl.kernels.half import is_half, widened
from minidl.op import Op
from minidl.ops.cast import cast, check_floating
from minidl.ops.choose import Clamp, clamp, where
from minidl.ops.elementwise import erf, expm1, sigmoid, tanh
from minidl.ops.precision import full_precision, low_precision
from minidl.tensor import Tensor, astensor, method


def _floating(input, name) -> Tensor:
    x = astensor(input)
    check_floating(x, name)
    return x


class Relu(Op):
    """y = max(x, 0);  y' = 1 where y > 0, else 0. Only y is kept."""

    def forward(self, x):
        y = kernel("relu", x)(x)
        self.save(y)
        return y

    def backward(self, gy):
        (y,) = self.saved
        return ReluGrad()(gy, y.detach())


class ReluGrad(Op):
    """gx = gy where y > 0, else 0: linear in gy and its own adjoint; in y piecewise constant."""

    def forward(self, gy, y):
        self.save(y)
        return kernel("relu_grad", gy)(gy, y)

    def backward(self, ggx):
        (y,) = self.saved
        return ReluGrad()(ggx, y), None


@method()
def relu(input, inplace=False) -> Tensor:
    """max(x, 0). The derivative at 0 is 0; NaN stays NaN.

    >>> import minidl
    >>> minidl.relu(minidl.tensor([-1.0, 0.0, 2.0]))
    tensor([0., 0., 2.])
    """
    return Relu()(astensor(input))


class AddRelu(Op):
    """z = max(x + y, 0), for x and y of one shape and dtype."""

    def forward(self, x, y):
        z = kernel("add_relu", x)(x, y)
        self.save(z)
        return z

    def backward(self, gz):
        (z,) = self.saved
        g = ReluGrad()(gz, z.detach())
        return g, g


def add_relu(input, other) -> Tensor:
    """relu(input + other) in one pass over memory: where a shortcut joins its block.

    Both must have one shape and dtype; anything else is added by the usual rules first.

    >>> import minidl
    >>> minidl.ops.add_relu(minidl.tensor([-1.0, 2.0]), minidl.tensor([0.5, 0.5]))
    tensor([0. , 2.5])
    """
    x, y = astensor(input), astensor(other)
    if x.shape != y.shape or x.dtype != y.dtype:
        return relu(x + y)
    return AddRelu()(x, y)


class LeakyRelu(Op):
    """y = x where x > 0, else slope x;  y' = 1 where x > 0, else slope."""

    def __init__(self, slope):
        self.slope = slope

    def forward(self, x):
        self.save(x)
        return kernel("leaky_relu", x)(x, self.slope)

    def backward(self, gy):
        (x,) = self.saved
        return LeakyReluGrad(self.slope)(gy, x.detach())


class LeakyReluGrad(Op):
    """gx = gy where x > 0, else slope gy: linear in gy and its own adjoint; in x piecewise constant."""

    def __init__(self, slope):
        self.slope = slope

    def forward(self, gy, x):
        self.save(x)
        return kernel("leaky_relu_grad", gy)(gy, x, self.slope)

    def backward(self, ggx):
        (x,) = self.saved
        return LeakyReluGrad(self.slope)(ggx, x), None


def leaky_relu(input, negative_slope=0.01, inplace=False) -> Tensor:
    """x where x > 0, else negative_slope x.

    >>> import minidl
    >>> minidl.leaky_relu(minidl.tensor([-1.0, 2.0]), 0.1)
    tensor([-0.1,  2. ])
    """
    return LeakyRelu(negative_slope)(_floating(input, "leaky_relu"))


@method()
@low_precision
def prelu(input, weight) -> Tensor:
    """x where x > 0, else weight x: a leaky ReLU whose slopes are learnt, one for all or one for each channel.

    input (N, C, ...), weight (C,) or (1,). Raises ShapeError for other weights.

    Source: He et al., "Delving deep into rectifiers" (2015), section 2.1.

    >>> import minidl
    >>> minidl.prelu(minidl.tensor([[-1.0, -1.0]]), minidl.tensor([0.5, 0.25]))
    tensor([[-0.5 , -0.25]])
    """
    x, w = _floating(input, "prelu"), astensor(weight)
    channels = x.shape[1] if x.ndim > 1 else 1
    if w.shape not in ((), (1,), (channels,)):
        raise ShapeError(f"prelu: expected one weight or C={channels}, one for each channel of an input (N, C, ...) of shape "
                         f"{x.shape}, got weights of shape {w.shape}")
    w = w.reshape(()) if w.numel() == 1 else w.reshape(1, -1, *[1] * (x.ndim - 2))
    return relu(x) + w * clamp(x, max=0)


def elu(input, alpha=1.0, inplace=False) -> Tensor:
    """x where x > 0, else alpha (e^x - 1).

    Source: Clevert, Unterthiner and Hochreiter, "Fast and accurate deep network learning by exponential linear units" (2016).

    >>> import minidl
    >>> minidl.elu(minidl.tensor([-100.0, 0.0, 2.0]))
    tensor([-1.,  0.,  2.])
    """
    x = _floating(input, "elu")
    return relu(x) + expm1(clamp(x, max=0)) * alpha


SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # the fixed point is mean 0, variance 1


def selu(input, inplace=False) -> Tensor:
    """scale elu(x, alpha), with scale 1.0507 and alpha 1.6733 such that activations drift to mean 0 and variance 1.

    Source: Klambauer et al., "Self-normalizing neural networks" (2017), equations 2 and 14.

    >>> import minidl
    >>> minidl.selu(minidl.tensor([-100.0, 0.0, 1.0]))
    tensor([-1.7581,  0.    ,  1.0507])
    """
    return elu(input, SELU_ALPHA) * SELU_SCALE


def gelu(input, *, approximate="none") -> Tensor:
    """x Φ(x), where Φ is the normal distribution function: x (1 + erf(x / sqrt 2)) / 2.

    ``approximate="tanh"`` computes x (1 + tanh(sqrt(2/pi) (x + 0.044715 x³))) / 2 instead.

    Source: Hendrycks and Gimpel, "Gaussian error linear units" (2016), section 2.

    >>> import minidl
    >>> minidl.gelu(minidl.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.1587,  0.    ,  0.8413])
    """
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: approximate must be 'none' or 'tanh', got {approximate!r}")
    x = _floating(input, "gelu")
    wide = cast(x, float32) if is_half(x.dtype) else x
    if approximate == "tanh":
        inner = tanh((wide + wide**3 * 0.044715) * math.sqrt(2 / math.pi))
    else:
        inner = erf(wide * math.sqrt(0.5))
    return cast(wide * (inner + 1) * 0.5, x.dtype)


def silu(input, inplace=False) -> Tensor:
    """x sigmoid(x), also called swish.

    Source: Elfwing, Uchibe and Doya, "Sigmoid-weighted linear units" (2018), equation 7.

    >>> import minidl
    >>> minidl.silu(minidl.tensor([-1.0, 0.0, 1.0]))
    tensor([-0.2689,  0.    ,  0.7311])
    """
    x = _floating(input, "silu")
    return x * sigmoid(x)


class Softplus(Op):
    """y = log(1 + e^(beta x)) / beta, and x where beta x > threshold;  y' = sigmoid(beta x), and 1.

    Computed as max(z, 0) + log(1 + e^-|z|) for z = beta x, which cannot overflow.
    """

    def __init__(self, beta, threshold):
        self.beta, self.threshold = beta, threshold

    @np.errstate(all="ignore")
    def forward(self, x):
        self.save(x)
        xp, wide = namespace(x), widened(x)
        z = wide * self.beta
        y = xp.where(z > self.threshold, wide, (xp.maximum(z, 0) + xp.log1p(xp.exp(-abs(z)))) / self.beta)
        return y.astype(x.dtype, copy=False)

    def backward(self, gy):
        (x,) = self.saved
        z = x * self.beta
        return gy * where(z > self.threshold, 1.0, sigmoid(z))


@full_precision
def softplus(input, beta=1, threshold=20) -> Tensor:
    """log(1 + exp(beta x)) / beta, a smooth max(x, 0); x itself where beta x > threshold.

    >>> import minidl
    >>> minidl.softplus(minidl.tensor([-1.0, 0.0, 1.0]))
    tensor([0.3133, 0.6931, 1.3133])
    """
    return Softplus(beta, threshold)(_floating(input, "softplus"))


def logsigmoid(input) -> Tensor:
    """log(sigmoid(x)) = -log(1 + exp(-x)).

    >>> import minidl
    >>> minidl.logsigmoid(minidl.tensor([-1.0, 0.0, 1.0]))
    tensor([-1.3133, -0.6931, -0.3133])
    """
    return -Softplus(1, math.inf)(-_floating(input, "logsigmoid"))


class Hardtanh(Clamp):
    """y = min(max(x, low), high);  y' = 1 strictly between, else 0, where ``clamp`` passes the gradient at its edges."""

    def backward(self, gy):
        x = self.saved[0].detach()
        return gy * cast((x > self.low) & (x < self.high), gy.dtype)


def hardtanh(input, min_val=-1.0, max_val=1.0, inplace=False) -> Tensor:
    """x held between ``min_val`` and ``max_val``; the derivative at the edges is 0. Raises ValueError if they are reversed.

    >>> import minidl
    >>> minidl.hardtanh(minidl.tensor([-2.0, 0.5, 2.0]))
    tensor([-1. ,  0.5,  1. ])
    """
    if min_val > max_val:
        raise ValueError(f"hardtanh: min_val must not be greater than max_val, got {min_val} and {max_val}")
    return Hardtanh(min_val, max_val)(_floating(input, "hardtanh"))


def relu6(input, inplace=False) -> Tensor:
    """min(max(x, 0), 6); the derivative at 0 and 6 is 0.

    >>> import minidl
    >>> minidl.relu6(minidl.tensor([-1.0, 3.0, 8.0]))
    tensor([0., 3., 6.])
    """
    return hardtanh(input, 0.0, 6.0)


def hardsigmoid(input, inplace=False) -> Tensor:
    """relu6(x + 3) / 6, a sigmoid of straight lines.

    >>> import minidl
    >>> minidl.hardsigmoid(minidl.tensor([-3.0, 0.0, 3.0]))
    tensor([0. , 0.5, 1. ])
    """
    return relu6(_floating(input, "hardsigmoid") + 3) / 6


def hardswish(input, inplace=False) -> Tensor:
    """x relu6(x + 3) / 6.

    >>> import minidl
    >>> minidl.hardswish(minidl.tensor([0.0, 1.0, 3.0]))
    tensor([0.    , 0.6667, 3.    ])
    """
    return _floating(input, "hardswish") * hardsigmoid(input)
