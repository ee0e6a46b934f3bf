"""Initialisers: fill a tensor in place, without recording, and return it. Random ones take a ``generator``.

The fans of a weight (O, I, *window) are fan_in = I x window and fan_out = O x window.
"""

import math

import numpy as np

from minidl.errors import ShapeError
from minidl.ops.random import randn
from minidl.random import Generator
from minidl.tape import no_grad
from minidl.tensor import Tensor, wrap

_GAINS = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2), "selu": 3 / 4}
_GAINS |= {f"conv{transpose}{rank}d": 1.0 for transpose in ("", "_transpose") for rank in (1, 2, 3)}


def calculate_gain(nonlinearity: str, param=None) -> float:
    """The factor by which a layer before this nonlinearity should scale its weights, to keep the variance of activations.

    ``param`` is the negative slope of "leaky_relu", 0.01 by default.

    Raises ValueError for a name other than linear, conv1d ... conv_transpose3d, sigmoid, tanh, relu, leaky_relu, selu.

    >>> calculate_gain("relu") == 2**0.5
    True
    """
    if nonlinearity == "leaky_relu":
        return math.sqrt(2 / (1 + (0.01 if param is None else param) ** 2))
    if nonlinearity not in _GAINS:
        raise ValueError(f"no gain for nonlinearity {nonlinearity!r}: choose one of {', '.join([*_GAINS, 'leaky_relu'])}")
    return _GAINS[nonlinearity]


def uniform_(tensor: Tensor, a=0.0, b=1.0, generator: Generator | None = None) -> Tensor:
    """Uniform on [a, b)."""
    with no_grad():
        return tensor.uniform_(a, b, generator=generator)


def normal_(tensor: Tensor, mean=0.0, std=1.0, generator: Generator | None = None) -> Tensor:
    """Normal with this mean and standard deviation."""
    with no_grad():
        return tensor.normal_(mean, std, generator=generator)


def constant_(tensor: Tensor, val) -> Tensor:
    """Every element ``val``."""
    with no_grad():
        return tensor.fill_(val)


def zeros_(tensor: Tensor) -> Tensor:
    """Every element 0."""
    return constant_(tensor, 0)


def ones_(tensor: Tensor) -> Tensor:
    """Every element 1."""
    return constant_(tensor, 1)


def xavier_uniform_(tensor: Tensor, gain=1.0, generator: Generator | None = None) -> Tensor:
    """Uniform within gain sqrt(6 / (fan_in + fan_out)).

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (2010), eq. 16.
    """
    bound = gain * math.sqrt(6 / sum(_fans(tensor)))
    return uniform_(tensor, -bound, bound, generator)


def xavier_normal_(tensor: Tensor, gain=1.0, generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain sqrt(2 / (fan_in + fan_out)) (Glorot and Bengio 2010, eq. 12)."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(_fans(tensor))), generator)


def kaiming_uniform_(tensor: Tensor, a=0, mode="fan_in", nonlinearity="leaky_relu",
                     generator: Generator | None = None) -> Tensor:
    """Uniform within gain sqrt(3 / fan), where the gain is that of ``nonlinearity`` with slope ``a``.

    Source: He, Zhang, Ren, Sun, "Delving deep into rectifiers" (2015), eq. 10 and 14.

    >>> import minidl
    >>> w = kaiming_uniform_(minidl.empty(8, 3, 5, 5), nonlinearity="relu")
    >>> bool((w.abs() <= (6 / 75) ** 0.5).all())
    True
    """
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound, generator)


def kaiming_normal_(tensor: Tensor, a=0, mode="fan_in", nonlinearity="leaky_relu",
                    generator: Generator | None = None) -> Tensor:
    """Normal with standard deviation gain / sqrt(fan) (He et al. 2015, eq. 10 and 14)."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity), generator)


def trunc_normal_(tensor: Tensor, mean=0.0, std=1.0, a=-2.0, b=2.0, generator: Generator | None = None) -> Tensor:
    """Normal, drawn again wherever a value falls outside [a, b].

    Raises ValueError if fewer than one value in a thousand would fall inside.
    """
    below = [(1 + math.erf((bound - mean) / (std * math.sqrt(2)))) / 2 for bound in (a, b)]
    if below[1] - below[0] < 1e-3:
        raise ValueError(f"normal values of mean {mean} and std {std} almost never fall between a = {a} and b = {b}")
    options = {"generator": generator, "dtype": tensor.dtype, "device": tensor.device}
    values = randn(tensor.shape, **options).array * std + mean
    while (outside := (values < a) | (values > b)).any():
        values[outside] = randn(int(outside.sum()), **options).array * std + mean
    return _copied(tensor, values)


def orthogonal_(tensor: Tensor, gain=1, generator: Generator | None = None) -> Tensor:
    """As a matrix (O, all other axes): orthonormal rows or columns, whichever are fewer, times ``gain``.

    Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear neural networks"
    (2014); the signs make the draw uniform (Mezzadri 2007).

    >>> import minidl
    >>> w = orthogonal_(minidl.empty(3, 5))
    >>> minidl.allclose(w @ w.T, minidl.eye(3), atol=1e-6)
    True
    """
    _fans(tensor)
    rows, columns = tensor.shape[0], math.prod(tensor.shape[1:])
    tall = (max(rows, columns), min(rows, columns))
    q, r = np.linalg.qr(randn(tall, generator=generator, dtype="float64", device="cpu").array)
    q *= np.sign(np.diag(r))
    return _copied(tensor, gain * (q if rows >= columns else q.T))


def eye_(tensor: Tensor) -> Tensor:
    """A matrix of ones on the diagonal.

    Raises ShapeError for another rank than 2.
    """
    if tensor.ndim != 2:
        raise ShapeError(f"eye_ needs a matrix, got shape {tensor.shape}")
    return _copied(tensor, np.eye(*tensor.shape))


def dirac_(tensor: Tensor, groups=1) -> Tensor:
    """A convolution's weight (O, I, *window) that hands channel i of each group on as output i of that group.

    Raises ShapeError unless there are 3 to 5 axes and O is divisible by ``groups``.
    """
    if tensor.ndim not in (3, 4, 5) or tensor.shape[0] % groups:
        raise ShapeError(f"dirac_ needs a weight (O, I, *window) with O divisible by groups = {groups}, got {tensor.shape}")
    outputs, weight = tensor.shape[0] // groups, np.zeros(tensor.shape)
    centre = tuple(size // 2 for size in tensor.shape[2:])
    for group in range(groups):
        for channel in range(min(outputs, tensor.shape[1])):
            weight[(group * outputs + channel, channel, *centre)] = 1
    return _copied(tensor, weight)


def _fans(tensor: Tensor) -> tuple[int, int]:
    if tensor.ndim < 2:
        raise ShapeError(f"fans need a weight with at least two axes (O, I, *window), got shape {tensor.shape}")
    window = math.prod(tensor.shape[2:])
    return tensor.shape[1] * window, tensor.shape[0] * window


def _kaiming_std(tensor: Tensor, a, mode, nonlinearity) -> float:
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"mode must be 'fan_in' or 'fan_out', got {mode!r}")
    fan = _fans(tensor)[mode == "fan_out"]
    return calculate_gain(nonlinearity, a) / math.sqrt(fan) if fan else 0.0


def _copied(tensor: Tensor, values) -> Tensor:
    with no_grad():
        return tensor.copy_(wrap(values.reshape(tensor.shape)).to(tensor.device))
