"""Losses as modules: what the functions of ``minidl.nn.functional`` take besides input and target is given at construction.

All have ``reduction``: "mean", "sum" or "none". Weights are buffers, so they move and are stored with the module.
"""

from minidl.nn.module import Module
from minidl.ops.cross_entropy import cross_entropy, multi_margin_loss, nll_loss
from minidl.ops.loss import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    check_reduction,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)


class _Loss(Module):
    """Base of all losses: holds the reduction, checked."""

    reductions: tuple[str, ...] = ("mean", "sum", "none")

    def __init__(self, reduction="mean"):
        super().__init__()
        check_reduction(reduction, self.reductions)
        self.reduction = reduction


class CrossEntropyLoss(_Loss):
    """-log softmax(input)[target], for scores (N, C), (C,) or (N, C, d1, ...) and classes or probabilities; see
    ``functional.cross_entropy``.

    >>> import minidl
    >>> from minidl import nn
    >>> nn.CrossEntropyLoss()(minidl.zeros(5, 10), minidl.tensor([0, 1, 2, 3, 9]))
    tensor(2.3026)
    """

    def __init__(self, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index, self.label_smoothing = ignore_index, label_smoothing

    def forward(self, input, target):
        return cross_entropy(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction,
                             label_smoothing=self.label_smoothing)


class NLLLoss(_Loss):
    """-input[target], for log-probabilities as ``LogSoftmax`` gives them; see ``functional.nll_loss``."""

    def __init__(self, weight=None, *, ignore_index=-100, reduction="mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.ignore_index = ignore_index

    def forward(self, input, target):
        return nll_loss(input, target, self.weight, ignore_index=self.ignore_index, reduction=self.reduction)


class MSELoss(_Loss):
    """(input - target)²."""

    def forward(self, input, target):
        return mse_loss(input, target, reduction=self.reduction)


class L1Loss(_Loss):
    """|input - target|."""

    def forward(self, input, target):
        return l1_loss(input, target, reduction=self.reduction)


class SmoothL1Loss(_Loss):
    """d²/(2 beta) for |d| = |input - target| below ``beta``, else |d| - beta/2."""

    def __init__(self, *, reduction="mean", beta=1.0):
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input, target):
        return smooth_l1_loss(input, target, reduction=self.reduction, beta=self.beta)


class HuberLoss(_Loss):
    """d²/2 for |d| = |input - target| below ``delta``, else delta (|d| - delta/2)."""

    def __init__(self, reduction="mean", delta=1.0):
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input, target):
        return huber_loss(input, target, reduction=self.reduction, delta=self.delta)


class BCELoss(_Loss):
    """-(t log x + (1 - t) log(1 - x)) for probabilities x; see ``functional.binary_cross_entropy``."""

    def __init__(self, weight=None, *, reduction="mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)

    def forward(self, input, target):
        return binary_cross_entropy(input, target, self.weight, reduction=self.reduction)


class BCEWithLogitsLoss(_Loss):
    """Sigmoid and BCELoss in one, exact for scores of any size; see ``functional.binary_cross_entropy_with_logits``."""

    def __init__(self, weight=None, *, reduction="mean", pos_weight=None):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.register_buffer("pos_weight", pos_weight)

    def forward(self, input, target):
        return binary_cross_entropy_with_logits(input, target, self.weight, reduction=self.reduction,
                                                pos_weight=self.pos_weight)


class MultiMarginLoss(_Loss):
    """sum over i != t of w_t max(0, margin - x_t + x_i)^p / C; see ``functional.multi_margin_loss``."""

    def __init__(self, p=1, margin=1.0, weight=None, *, reduction="mean"):
        super().__init__(reduction)
        self.register_buffer("weight", weight)
        self.p, self.margin = p, margin

    def forward(self, input, target):
        return multi_margin_loss(input, target, p=self.p, margin=self.margin, weight=self.weight, reduction=self.reduction)


class HingeEmbeddingLoss(_Loss):
    """x where the target is 1, max(0, margin - x) where it is -1."""

    def __init__(self, margin=1.0, *, reduction="mean"):
        super().__init__(reduction)
        self.margin = margin

    def forward(self, input, target):
        return hinge_embedding_loss(input, target, margin=self.margin, reduction=self.reduction)


class KLDivLoss(_Loss):
    """t (log t - x) for log-probabilities x; ``reduction`` may also be "batchmean", the divergence as defined."""

    reductions = ("mean", "batchmean", "sum", "none")

    def __init__(self, *, reduction="mean", log_target=False):
        super().__init__(reduction)
        self.log_target = log_target

    def forward(self, input, target):
        return kl_div(input, target, reduction=self.reduction, log_target=self.log_target)
