"""Losses of classes: input (N, C), (C,) or (N, C, d1, ...), and a target class (N,), () or (N, d1, ...) for each row of C."""

import numpy as np

from minidl.device import check_same_device
from minidl.dtypes import is_floating
from minidl.errors import DtypeError, ShapeError
from minidl.kernels import kernel, namespace
from minidl.kernels.recording import current
from minidl.op import FusedOp
from minidl.ops.cast import cast, check_floating
from minidl.ops.choose import where
from minidl.ops.create import arange
from minidl.ops.gather import gather
from minidl.ops.loss import check_reduction, reduced
from minidl.ops.precision import full_precision
from minidl.ops.reduce import sum
from minidl.ops.softmax import log_softmax
from minidl.tensor import Tensor, astensor, wrap


class Labels:
    """Checked target classes of the rows of x, with a weight for each class; rows of class ``ignore_index`` do not count.

    Raises DtypeError for a target that is not of integers, ShapeError for one that does not fit x, IndexError for a class
    outside [0, C): compiled kernels would read beyond their memory. For a kernel that gives NaN where it finds such a class on a
    GPU (``nan_on_gpu``) nobody waits there to look at them.
    """

    def __init__(self, x: Tensor, target, weight=None, ignore_index: int | None = None, nan_on_gpu=False):
        target = astensor(target)
        if x.ndim == 0:
            raise ShapeError("a loss of classes needs input (N, C), (C,) or (N, C, d1, ...), got a single number")
        self.axis = min(x.ndim - 1, 1)
        classes, rest = x.shape[self.axis], x.shape[: self.axis] + x.shape[self.axis + 1 :]
        if not classes:
            raise ShapeError(f"a loss of classes needs at least one class, got input {x.shape}")
        if target.dtype.kind not in "iu":
            raise DtypeError(f"target classes must be integers, got {target.dtype}: convert with .long()")
        if target.shape != rest:
            raise ShapeError(f"for input {x.shape} with {classes} classes along axis {self.axis} the target must have shape "
                             f"{rest}, got {target.shape}")
        weight = None if weight is None else _class_weight(weight, x, self.axis)
        check_same_device("a loss of classes", x, target, weight)
        self.target = target.array.astype(np.int64, copy=False)
        self.ignore_index = ignore_index
        self.weight = None if weight is None else weight.array
        on_gpu = not isinstance(self.target, np.ndarray)
        if current() is None and not (on_gpu and nan_on_gpu):  # a step that is being recorded cannot look at numbers
            self._check_range(classes)

    def _check_range(self, classes: int) -> None:
        wrong = self.target.view(np.uint64) >= classes  # negative numbers are the largest
        if wrong.any():
            wrong &= self.kept
            if wrong.any():
                raise IndexError(f"target class {self.target[wrong][0]} is out of range for {classes} classes")

    @property
    def kept(self):
        """Which rows count."""
        if self.ignore_index is None:
            return namespace(self.target).ones(self.target.shape, bool)
        return self.target != self.ignore_index

    @property
    def total(self):
        """The sum of the weights of the rows that count, in float64: what the mean divides by. It stays on the device."""
        return kernel("total_weight", self.target)(self.target, self.weight, self.ignore_index)

    def picked(self, log_p: Tensor) -> Tensor:
        """-w_t log p_t of each row, 0 where it does not count."""
        kept = self.kept
        safe = namespace(kept).where(kept, self.target, 0)
        loss = -gather(log_p, self.axis, wrap(safe).unsqueeze(self.axis)).squeeze(self.axis)
        return where(wrap(kept), loss if self.weight is None else loss * wrap(self.weight[safe]), 0.0)

    def averaged(self, log_p: Tensor) -> Tensor:
        """-(1/C) sum_c w_c log p_c of each row, 0 where it does not count."""
        weighted = log_p if self.weight is None else _by_class(log_p, self.weight, self.axis)
        return where(wrap(self.kept), sum(weighted, self.axis) / -log_p.shape[self.axis], 0.0)


def _class_weight(weight, x: Tensor, axis: int) -> Tensor:
    """The weight of each class (C,), checked, in the dtype of x."""
    if weight.shape != (x.shape[axis],):
        raise ShapeError(f"weight must hold one number for each of the {x.shape[axis]} classes, got shape {weight.shape}")
    return cast(astensor(weight).detach(), x.dtype)


def _by_class(values: Tensor, weight, axis: int) -> Tensor:
    """values * w_c along the axis of classes."""
    return values * wrap(weight.reshape(-1, *(1,) * (values.ndim - axis - 1)))


class CrossEntropy(FusedOp):
    """Cross-entropy of softmax(x) against classes, reduced. The formula of a row stands with its kernel."""

    def __init__(self, labels: Labels, smoothing: float, reduction: str):
        self.labels, self.smoothing, self.reduction = labels, smoothing, reduction
        self.arguments = labels.target.reshape(-1), labels.weight, labels.ignore_index, smoothing

    def forward(self, x):
        loss, log_total = kernel("cross_entropy", x)(self._rows(x), *self.arguments)
        self.save(x, log_total, self.labels.target, self.labels.weight)  # the last two so that writing to them is noticed
        if self.reduction == "none":
            return loss.reshape(self.labels.target.shape)
        if self.reduction == "sum":
            self.divisor = 1
            return loss.sum(dtype=np.float64).astype(x.dtype)
        mean, self.divisor = kernel("mean_loss", loss)(loss, *self.arguments[:3], x.shape[self.labels.axis])
        return mean

    def fast_backward(self, gy):
        x, log_total = (saved.array for saved in self.saved[:2])
        if self.reduction == "none":
            gy = gy.array.reshape(-1)
        else:
            gy = (gy.array / self.divisor).astype(x.dtype)
        gx = kernel("cross_entropy_grad", x)(gy, self._rows(x), log_total, *self.arguments)
        if x.ndim > 2:
            gx = namespace(x).moveaxis(gx.reshape(x.shape[0], *x.shape[2:], x.shape[1]), -1, 1)
        return wrap(gx.reshape(x.shape))

    def composite(self, x):
        log_p = log_softmax(x, self.labels.axis)
        loss = self.labels.picked(log_p)
        if self.smoothing:
            loss = loss * (1 - self.smoothing) + self.labels.averaged(log_p) * self.smoothing
        return reduced(loss, self.reduction, cast(wrap(self.labels.total), x.dtype))

    @staticmethod
    def _rows(x):
        """x as (rows, C)."""
        return (namespace(x).moveaxis(x, 1, -1) if x.ndim > 2 else x).reshape(-1, x.shape[min(x.ndim - 1, 1)])


@full_precision
def cross_entropy(input, target, weight=None, *, ignore_index=-100, reduction="mean", label_smoothing=0.0) -> Tensor:
    """-log softmax(input)[target]: how surprised the model is by the true class.

    Args:
        input: scores (N, C), (C,) or (N, C, d1, ...), any real numbers.
        target: classes 0 to C - 1 as integers, in the shape of the input without C; or probabilities in the shape of the
            input, and then the loss is -sum_c target_c log softmax(input)_c.
        weight: a factor for each class (C,).
        ignore_index: rows of this class count nothing and have gradient 0 (not for probabilities).
        reduction: "mean" divides by the sum of the weights of the rows that count, NaN if there are none (for probabilities,
            by the number of rows); "sum"; or "none", in the shape of the target without C.
        label_smoothing: s in [0, 1] mixes the target with the uniform distribution: (1 - s) target + s / C.

    Raises ShapeError and DtypeError for a target or weight that does not fit, IndexError for a class out of range; on a GPU,
    where looking for one would make the CPU wait, the loss of its row is NaN.

    >>> import minidl
    >>> scores = minidl.tensor([[2.0, 0.0, 0.0], [0.0, 0.0, 9.0]], requires_grad=True)
    >>> loss = minidl.ops.cross_entropy(scores, minidl.tensor([0, 2]))
    >>> loss.backward()
    >>> loss, scores.grad[0]
    (tensor(0.1199, op=CrossEntropy), tensor([-0.1065,  0.0533,  0.0533]))
    """
    x, target = astensor(input), astensor(target)
    check_floating(x, "cross_entropy")
    check_reduction(reduction)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing}")
    if is_floating(target.dtype):
        return _of_probabilities(x, target, weight, reduction, label_smoothing)
    return CrossEntropy(Labels(x, target, weight, ignore_index, nan_on_gpu=True), float(label_smoothing), reduction)(x)


def _of_probabilities(x, target, weight, reduction, smoothing) -> Tensor:
    if target.shape != x.shape:
        raise ShapeError(f"probabilities as target must have the shape of the input, {x.shape}, got {target.shape}; "
                         "classes must be integers")
    axis = min(x.ndim - 1, 1)
    target = cast(target, x.dtype)
    if smoothing:
        target = target * (1 - smoothing) + smoothing / x.shape[axis]
    if weight is not None:
        target = _by_class(target, _class_weight(weight, x, axis).array, axis)
    return reduced(-sum(target * log_softmax(x, axis), axis), reduction)


@full_precision
def nll_loss(input, target, weight=None, *, ignore_index=-100, reduction="mean") -> Tensor:
    """-input[target] for log-probabilities, as ``log_softmax`` gives them; arguments as in ``cross_entropy``.

    >>> import minidl
    >>> minidl.ops.nll_loss(minidl.tensor([[-1.0, -0.5]]), minidl.tensor([1]))
    tensor(0.5)
    """
    x = astensor(input)
    check_floating(x, "nll_loss")
    labels = Labels(x, target, weight, ignore_index)
    return reduced(labels.picked(x), reduction, cast(wrap(labels.total), x.dtype))


@full_precision
def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, *, reduction="mean") -> Tensor:
    """sum over i != t of w_t max(0, margin - x_t + x_i)^p / C, for input (N, C) or (C,) and classes t.

    Raises ValueError unless ``p`` is 1 or 2; otherwise as ``cross_entropy``.

    >>> import minidl
    >>> minidl.ops.multi_margin_loss(minidl.tensor([[0.1, 0.2, 0.4, 0.8]]), minidl.tensor([3]))
    tensor(0.325)
    """
    if p not in (1, 2):
        raise ValueError(f"multi_margin_loss needs p of 1 or 2, got {p}")
    x = astensor(input)
    check_floating(x, "multi_margin_loss")
    if x.ndim > 2:
        raise ShapeError(f"multi_margin_loss needs input (N, C) or (C,), got shape {x.shape}")
    labels = Labels(x, target, weight)
    axis, classes = labels.axis, x.shape[labels.axis]
    true = wrap(labels.target).unsqueeze(axis)
    z = x - gather(x, axis, true) + margin
    counts = (arange(classes, device=x.device) != true) & ~(z <= 0)  # so that a NaN counts
    loss = sum(where(counts, z if p == 1 else z * z, 0.0), axis) / classes
    return reduced(loss if weight is None else loss * wrap(labels.weight[labels.target]), reduction)
