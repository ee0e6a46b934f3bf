"""Losses of numbers: regression, binary, margins, divergence. Those of classes are in ``cross_entropy.py``.

Each has ``reduction``: "mean" over all elements, "sum", or "none" for the loss of each element.
"""

import math
import warnings

from minidl.errors import ShapeError
from minidl.kernels import namespace
from minidl.kernels.half import widened
from minidl.op import Op
from minidl.ops.activation import softplus
from minidl.ops.cast import as_floating, promoted
from minidl.ops.choose import clamp, where
from minidl.ops.elementwise import exp, log, sigmoid, square
from minidl.ops.precision import full_precision
from minidl.ops.reduce import mean, sum
from minidl.tensor import Tensor, astensor


def reduced(loss: Tensor, reduction: str, divisor=None) -> Tensor:
    """The loss of each element as "none", "sum", or "mean", which divides the sum by ``divisor`` if that is given."""
    check_reduction(reduction)
    if reduction == "none":
        return loss
    if reduction == "sum":
        return sum(loss)
    return mean(loss) if divisor is None else sum(loss) / divisor


def check_reduction(reduction, choices=("mean", "sum", "none")) -> None:
    """Raise ValueError for an unknown reduction."""
    if reduction not in choices:
        raise ValueError(f"reduction must be one of {', '.join(map(repr, choices))}, got {reduction!r}")


def _pair(input, target) -> tuple[Tensor, Tensor]:
    """Both as floating-point tensors of one dtype; a warning if their shapes differ, since broadcasting is rarely meant."""
    input, target = promoted(as_floating(input), as_floating(target))
    if input.shape != target.shape:
        warnings.warn(f"the target has shape {target.shape}, the input {input.shape}: they are broadcast, which is likely "
                      "to give wrong results; give them the same shape", stacklevel=4)
    return input, target


def _same_shape(input, target) -> tuple[Tensor, Tensor]:
    input, target = promoted(as_floating(input), as_floating(target))
    if input.shape != target.shape:
        raise ShapeError(f"input and target must have the same shape, got {input.shape} and {target.shape}")
    return input, target


def _weighted(loss: Tensor, weight) -> Tensor:
    if weight is None:
        return loss
    if weight.shape != loss.shape:
        raise ShapeError(f"weight must have the shape of the input, {loss.shape}, got {weight.shape}")
    return loss * weight


@full_precision
def mse_loss(input, target, *, reduction="mean", weight=None) -> Tensor:
    """(x - t)². With ``weight``, of the same shape, the mean divides by the sum of weights.

    Input and target of the same shape; others are broadcast with a warning.

    >>> import minidl
    >>> minidl.ops.mse_loss(minidl.tensor([1.0, 2.0]), minidl.tensor([1.0, 4.0]))
    tensor(2.)
    """
    input, target = _pair(input, target)
    return reduced(_weighted(square(input - target), weight), reduction, None if weight is None else sum(weight))


@full_precision
def l1_loss(input, target, *, reduction="mean", weight=None) -> Tensor:
    """|x - t|. With ``weight``, of the same shape, the mean divides by the sum of weights.

    >>> import minidl
    >>> minidl.ops.l1_loss(minidl.tensor([1.0, 2.0]), minidl.tensor([1.0, 4.0]), reduction="sum")
    tensor(2.)
    """
    input, target = _pair(input, target)
    return reduced(_weighted((input - target).abs(), weight), reduction, None if weight is None else sum(weight))


class SmoothL1(Op):
    """y = d²/(2 beta) where |d| < beta, else |d| - beta/2;  y' = d/beta held between -1 and 1."""

    def __init__(self, beta):
        self.beta = beta

    def forward(self, d):
        xp, magnitude = namespace(d), abs(widened(d))
        self.save(d)
        inner = xp.minimum(magnitude, self.beta)  # d² itself would overflow
        y = xp.where(magnitude < self.beta, inner * inner / (2 * self.beta), magnitude - self.beta / 2)
        return y.astype(d.dtype, copy=False)

    def backward(self, gy):
        (d,) = self.saved
        return gy * clamp(d / self.beta, -1.0, 1.0)


@full_precision
def smooth_l1_loss(input, target, *, reduction="mean", beta=1.0) -> Tensor:
    """d²/(2 beta) for |d| = |x - t| below ``beta``, else |d| - beta/2; ``l1_loss`` for beta 0.

    Raises ValueError for a negative ``beta``. Source: Girshick, "Fast R-CNN" (2015), eq. 3, with beta 1.

    >>> import minidl
    >>> minidl.ops.smooth_l1_loss(minidl.tensor([0.5, 3.0]), minidl.zeros(2), reduction="none")
    tensor([0.125, 2.5  ])
    """
    if beta < 0:
        raise ValueError(f"smooth_l1_loss needs beta of 0 or more, got {beta}")
    input, target = _pair(input, target)
    d = input - target
    return reduced(SmoothL1(beta)(d) if beta else d.abs(), reduction)


@full_precision
def huber_loss(input, target, reduction="mean", delta=1.0, weight=None) -> Tensor:
    """d²/2 for |d| = |x - t| below ``delta``, else delta (|d| - delta/2): ``delta`` times ``smooth_l1_loss``.

    Raises ValueError unless ``delta`` is positive. Source: Huber, "Robust estimation of a location parameter" (1964).

    >>> import minidl
    >>> minidl.ops.huber_loss(minidl.tensor([1e8]), minidl.zeros(1))
    tensor(1.e+08)
    """
    if delta <= 0:
        raise ValueError(f"huber_loss needs a positive delta, got {delta}")
    input, target = _pair(input, target)
    loss = SmoothL1(delta)(input - target)
    return reduced(_weighted(loss if delta == 1 else loss * delta, weight), reduction)


class BinaryCrossEntropy(Op):
    """y = -t max(log x, -100) - (1 - t) max(log(1 - x), -100);  dy/dx = (x - t) / max(x (1 - x), 1e-12)."""

    def forward(self, x, t):
        xp, dtype = namespace(x), x.dtype
        self.save(x, t)
        x, t = widened(x), widened(t)
        return -(t * xp.maximum(xp.log(x), -100) + (1 - t) * xp.maximum(xp.log1p(-x), -100)).astype(dtype, copy=False)

    def backward(self, gy):
        x, t = self.saved
        gx = gy * (x - t) / clamp(x * (1 - x), min=1e-12) if self.needs[0] else None
        gt = gy * (clamp(log(1 - x), min=-100.0) - clamp(log(x), min=-100.0)) if self.needs[1] else None
        return gx, gt


@full_precision
def binary_cross_entropy(input, target, weight=None, *, reduction="mean") -> Tensor:
    """-(t log x + (1 - t) log(1 - x)) for probabilities x, with logarithms not below -100. ``weight`` broadcasts.

    Raises ShapeError for different shapes, ValueError for an input outside [0, 1]. For the outputs of a network,
    ``binary_cross_entropy_with_logits`` is more accurate.

    >>> import minidl
    >>> minidl.ops.binary_cross_entropy(minidl.tensor([0.5, 0.0]), minidl.tensor([1.0, 1.0]), reduction="none")
    tensor([  0.6931, 100.    ])
    """
    input, target = _same_shape(input, target)
    if ((input.array < 0) | (input.array > 1)).any():
        raise ValueError("binary_cross_entropy needs inputs from 0 to 1: apply sigmoid, or use "
                         "binary_cross_entropy_with_logits")
    loss = BinaryCrossEntropy()(input, target)
    return reduced(loss if weight is None else loss * weight, reduction)


class LogisticLoss(Op):
    """y = a log(1 + e^-x) + b log(1 + e^x): the positive class weighs a, the negative b.

    dy/dx = b sigmoid(x) - a sigmoid(-x). The logarithms are max(-x, 0) and max(x, 0), plus log(1 + e^-|x|): nothing overflows,
    and nothing cancels.
    """

    def forward(self, x, a, b):
        xp, dtype = namespace(x), x.dtype
        self.save(x, a, b)
        x, a, b = widened(x), widened(a), widened(b)
        tail = xp.log1p(xp.exp(-abs(x)))
        return (a * (xp.maximum(-x, 0) + tail) + b * (xp.maximum(x, 0) + tail)).astype(dtype, copy=False)

    def backward(self, gy):
        x, a, b = self.saved
        gx = gy * (b * sigmoid(x) - a * sigmoid(-x)) if self.needs[0] else None
        ga = gy * softplus(-x, threshold=math.inf) if self.needs[1] else None
        gb = gy * softplus(x, threshold=math.inf) if self.needs[2] else None
        return gx, ga, gb


@full_precision
def binary_cross_entropy_with_logits(input, target, weight=None, *, reduction="mean", pos_weight=None) -> Tensor:
    """-(pos_weight t log sigmoid(x) + (1 - t) log sigmoid(-x)), exact for logits x of any size.

    ``weight`` (of each element) and ``pos_weight`` (of the positive part) broadcast. Raises ShapeError for different shapes.

    >>> import minidl
    >>> minidl.ops.binary_cross_entropy_with_logits(minidl.tensor([1e4, -1e4]), minidl.tensor([0.0, 0.0]), reduction="none")
    tensor([10000.,     0.])
    """
    input, target = _same_shape(input, target)
    positive = target if pos_weight is None else target * pos_weight
    loss = LogisticLoss()(input, positive, 1 - target)
    return reduced(loss if weight is None else loss * weight, reduction)


@full_precision
def hinge_embedding_loss(input, target, margin=1.0, *, reduction="mean") -> Tensor:
    """x where the target is 1, max(0, margin - x) where it is -1: for distances x of like and unlike pairs.

    >>> import minidl
    >>> minidl.ops.hinge_embedding_loss(minidl.tensor([0.3, 0.4]), minidl.tensor([1, -1]), reduction="none")
    tensor([0.3, 0.6])
    """
    input, target = as_floating(input), astensor(target)
    unlike = where(target != 1, clamp(margin - input, min=0), 0.0)
    return reduced(unlike + where(target != -1, input, 0.0), reduction)


@full_precision
def kl_div(input, target, *, reduction="mean", log_target=False) -> Tensor:
    """t (log t - x) for log-probabilities x: the divergence of the model from the target. It is 0 where t is 0.

    With ``log_target`` the target holds log t. "mean" divides by the number of elements; "batchmean", by the size of the
    batch only, is the divergence as defined (Kullback and Leibler 1951).

    >>> import minidl
    >>> t = minidl.tensor([[0.5, 0.5, 0.0]])
    >>> minidl.ops.kl_div(minidl.tensor([[0.25, 0.25, 0.5]]).log(), t, reduction="batchmean")
    tensor(0.6931)
    """
    check_reduction(reduction, ("mean", "batchmean", "sum", "none"))
    input, target = _pair(input, target)
    probability = exp(target) if log_target else target
    impossible = probability.detach() == 0  # keep infinite logarithms out of the products and of their gradients
    log_t = where(impossible, 0.0, target) if log_target else log(where(impossible, 1.0, target))
    loss = probability * (log_t - where(impossible, 0.0, input))
    return sum(loss) / input.shape[0] if reduction == "batchmean" else reduced(loss, reduction)
