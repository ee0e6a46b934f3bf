"""Activations as layers. ``inplace`` is there for PyTorch's sake: the result is always a new tensor."""

from minidl.nn.module import Module, Parameter
from minidl.ops.activation import (
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    hardtanh,
    leaky_relu,
    logsigmoid,
    prelu,
    relu,
    relu6,
    selu,
    silu,
    softplus,
)
from minidl.ops.create import full
from minidl.ops.elementwise import sigmoid, tanh
from minidl.ops.softmax import log_softmax, softmax


class _Plain(Module):
    """Base of activations without options."""

    function: staticmethod

    def forward(self, input):
        return self.function(input)


class Sigmoid(_Plain):
    """1 / (1 + exp(-x)), element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Sigmoid()(minidl.zeros(1))
    tensor([0.5])
    """

    function = staticmethod(sigmoid)


class Tanh(_Plain):
    """Hyperbolic tangent, element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Tanh()(minidl.zeros(1))
    tensor([0.])
    """

    function = staticmethod(tanh)


class LogSigmoid(_Plain):
    """log(sigmoid(x)), element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.LogSigmoid()(minidl.zeros(1))
    tensor([-0.6931])
    """

    function = staticmethod(logsigmoid)


class _InPlace(_Plain):
    """Base of activations whose only option is ``inplace``."""

    def __init__(self, inplace=False):
        super().__init__()
        self.inplace = inplace

    def extra_repr(self):
        return _inplace(self)


def _inplace(layer, before="") -> str:
    return (before + ", " if before else "") + "inplace=True" if layer.inplace else before


class ReLU(_InPlace):
    """max(x, 0), element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.ReLU()(minidl.tensor([-1.0, 2.0]))
    tensor([0., 2.])
    """

    function = staticmethod(relu)


class ReLU6(_InPlace):
    """min(max(x, 0), 6), element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.ReLU6()(minidl.tensor([-1.0, 2.0, 7.0]))
    tensor([0., 2., 6.])
    """

    function = staticmethod(relu6)


class SELU(_InPlace):
    """The self-normalising exponential linear unit. See ``selu``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.SELU()(minidl.tensor([-1.0, 1.0]))
    tensor([-1.1113,  1.0507])
    """

    function = staticmethod(selu)


class SiLU(_InPlace):
    """x sigmoid(x), element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.SiLU()(minidl.tensor([-1.0, 1.0]))
    tensor([-0.2689,  0.7311])
    """

    function = staticmethod(silu)


class Hardsigmoid(_InPlace):
    """relu6(x + 3) / 6, element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Hardsigmoid()(minidl.tensor([-3.0, 0.0]))
    tensor([0. , 0.5])
    """

    function = staticmethod(hardsigmoid)


class Hardswish(_InPlace):
    """x relu6(x + 3) / 6, element by element.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Hardswish()(minidl.tensor([0.0, 3.0]))
    tensor([0., 3.])
    """

    function = staticmethod(hardswish)


class LeakyReLU(Module):
    """x where x > 0, else negative_slope x.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.LeakyReLU(0.1)(minidl.tensor([-1.0, 2.0]))
    tensor([-0.1,  2. ])
    """

    def __init__(self, negative_slope=0.01, inplace=False):
        super().__init__()
        self.negative_slope, self.inplace = negative_slope, inplace

    def forward(self, input):
        return leaky_relu(input, self.negative_slope)

    def extra_repr(self):
        return _inplace(self, f"negative_slope={self.negative_slope}")


class PReLU(Module):
    """x where x > 0, else weight x: one learnt slope for all, or ``num_parameters`` = C, one for each channel of (N, C, ...).

    The parameter ``weight`` (num_parameters,) starts at ``init``. Weight decay on it would draw the layer towards ReLU.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.PReLU().eval()(minidl.tensor([-1.0, 2.0])).detach()
    tensor([-0.25,  2.  ])
    """

    def __init__(self, num_parameters=1, init=0.25, device=None, dtype=None):
        super().__init__()
        self.num_parameters, self.init = num_parameters, init
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def forward(self, input):
        return prelu(input, self.weight)

    def extra_repr(self):
        return f"num_parameters={self.num_parameters}"


class ELU(Module):
    """x where x > 0, else alpha (e^x - 1).

    >>> import minidl
    >>> from minidl import nn
    >>> nn.ELU()(minidl.tensor([-100.0, 2.0]))
    tensor([-1.,  2.])
    """

    def __init__(self, alpha=1.0, inplace=False):
        super().__init__()
        self.alpha, self.inplace = alpha, inplace

    def forward(self, input):
        return elu(input, self.alpha)

    def extra_repr(self):
        return _inplace(self, f"alpha={self.alpha}")


class GELU(Module):
    """x Φ(x) with the normal distribution function Φ, or its approximation by tanh. See ``gelu``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.GELU()(minidl.tensor([-1.0, 1.0]))
    tensor([-0.1587,  0.8413])
    """

    def __init__(self, approximate="none"):
        super().__init__()
        self.approximate = approximate

    def forward(self, input):
        return gelu(input, approximate=self.approximate)

    def extra_repr(self):
        return f"approximate={self.approximate!r}"


class Softplus(Module):
    """log(1 + exp(beta x)) / beta, and x where beta x > threshold.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Softplus()(minidl.zeros(1))
    tensor([0.6931])
    """

    def __init__(self, beta=1.0, threshold=20.0):
        super().__init__()
        self.beta, self.threshold = beta, threshold

    def forward(self, input):
        return softplus(input, self.beta, self.threshold)

    def extra_repr(self):
        return f"beta={self.beta}, threshold={self.threshold}"


class Hardtanh(Module):
    """x held between min_val and max_val. Raises ValueError unless min_val < max_val.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Hardtanh()(minidl.tensor([-2.0, 0.5]))
    tensor([-1. ,  0.5])
    """

    def __init__(self, min_val=-1.0, max_val=1.0, inplace=False):
        super().__init__()
        if min_val >= max_val:
            raise ValueError(f"Hardtanh: min_val must be less than max_val, got {min_val} and {max_val}")
        self.min_val, self.max_val, self.inplace = min_val, max_val, inplace

    def forward(self, input):
        return hardtanh(input, self.min_val, self.max_val)

    def extra_repr(self):
        return _inplace(self, f"min_val={self.min_val}, max_val={self.max_val}")


class Softmax(Module):
    """exp(x) / sum of exp(x) along ``dim``. To train a classifier use CrossEntropyLoss on the values before it.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.Softmax(dim=1)(minidl.zeros(1, 4))
    tensor([[0.25, 0.25, 0.25, 0.25]])
    """

    function = staticmethod(softmax)

    def __init__(self, dim: int):
        super().__init__()
        self.dim = dim

    def forward(self, input):
        return self.function(input, self.dim)

    def extra_repr(self):
        return f"dim={self.dim}"


class LogSoftmax(Softmax):
    """The logarithm of Softmax, computed without overflow.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.LogSoftmax(dim=1)(minidl.zeros(1, 2))
    tensor([[-0.6931, -0.6931]])
    """

    function = staticmethod(log_softmax)
