"""Explanations: the terms that add up to one number of a layer, forward or backward.

Forward, an element of a convolution's output is a sum of pixels times weights; that of a maximum is one winner among losers.
Backward, the gradient of an input element is a sum over all output elements that it went into,

    dx[j] = sum over i of dy[i] * (d y[i] / d x[j])

whose slopes are a column of the Jacobian. It is found with the op's own backward, differentiated once more: backward is linear
in dy, so the gradient of dx[j] for dy is that column.
"""

import copy
import functools
import math
from itertools import product
from typing import NamedTuple

import numpy as np

from minidl.dtypes import float64, is_floating
from minidl.kernels import namespace
from minidl.op import Op
from minidl.ops.activation import LeakyRelu, Relu
from minidl.ops.conv import Conv2d, Conv2dInputGrad
from minidl.ops.create import zeros
from minidl.ops.cross_entropy import CrossEntropy
from minidl.ops.dropout import Mask
from minidl.ops.matmul import Linear, MatMul
from minidl.ops.norm import BatchNorm, FixedBatchNorm, GroupNorm, LocalResponseNorm
from minidl.ops.pool import AvgPool2d, MaxPool2d
from minidl.tape import enable_grad, gradients
from minidl.tensor import Tensor

SHOWN = 12  # terms printed, the largest first to be kept


class Term(NamedTuple):
    """A product of named numbers: ``text`` names them, ``factors`` are the numbers, ``value`` is their product."""

    text: str
    factors: tuple[float, ...]
    value: float

    @property
    def product(self) -> str:
        """The factors as printed."""
        return " * ".join(f"{factor:.6g}" for factor in self.factors)


class Explanation(NamedTuple):
    """``what`` is the ``recorded`` number; ``terms`` add up to it."""

    what: str
    recorded: float
    terms: list[Term]

    @property
    def total(self) -> float:
        """The sum of the terms."""
        return math.fsum(term.value for term in self.terms)

    def __str__(self):
        shown = self.terms
        if len(shown) > SHOWN:
            largest = sorted(range(len(shown)), key=lambda i: -abs(shown[i].value))[:SHOWN]
            shown = [shown[i] for i in sorted(largest)]
        width = max((len(term.text) for term in shown), default=0)
        lines = [f"  {term.text:{width}}  {term.product:>24} = {term.value: .6g}" for term in shown]
        if len(shown) < len(self.terms):
            lines.append(f"  ... and {len(self.terms) - len(shown)} smaller terms")
        return "\n".join([f"{self.what} = {self.recorded:.6g}, the sum of {len(self.terms)} terms ({self.total:.6g}):", *lines])

    def __repr__(self):
        return str(self)


def explain_output(op: Op, inputs, outputs, output: int, index) -> Explanation:
    """The terms of ``outputs[output][index]``."""
    y = outputs[output]
    index = _checked(index, y.shape, f"output {output} of {op.name}")
    terms = _terms(op, [x.astype(np.float64) if is_floating(x.dtype) else x for x in inputs], outputs, index)
    return Explanation(f"y{_at(index)}", float(y[index]), terms)


def explain_gradient(op: Op, inputs, output_gradients, input_gradients, input: int, index) -> Explanation:
    """The terms of ``input_gradients[input][index]``, one for each output element whose slope is not 0."""
    if not 0 <= input < len(inputs) or input_gradients[input] is None:
        raise IndexError(f"{op.name} gave no gradient to an input {input}")
    index = _checked(index, inputs[input].shape, f"input {input} of {op.name}")
    terms = []
    columns = _column(op, inputs, input, index)
    for output, (gy, slopes) in enumerate(zip(output_gradients, columns, strict=True)):
        name = "dy" if output == 0 else f"dy{output}"
        for at in [] if slopes is None else _nonzero(slopes):
            terms.append(_times(f"{name}{_at(at)} * {_slope_name(op, input, at, index)}", gy[at], slopes[at]))
    return Explanation(f"d{_input_name(op, input)}{_at(index)}", float(input_gradients[input][index]), terms)


def _again(op, inputs) -> tuple[list[Tensor], list[Tensor]]:
    """The op applied once more, in float64: leaves and outputs."""
    fresh = copy.copy(op)
    for name in ("backward", "hooks", "trace"):
        fresh.__dict__.pop(name, None)
    leaves = [Tensor(x.astype(np.float64)).requires_grad_() if is_floating(x.dtype) else Tensor(x) for x in inputs]
    with enable_grad():
        outputs = fresh(*leaves)
    return leaves, list(outputs) if isinstance(outputs, tuple) else [outputs]


def _column(op, inputs, input, index) -> list:
    """d y / d x[index] for all elements of every output; None for an output of integers."""
    leaves, outputs = _again(op, inputs)
    with enable_grad():
        seeds = [zeros(y.shape, dtype=float64, device=y.device, requires_grad=True) if y.tracked else None for y in outputs]
        pairs = [(y, seed) for y, seed in zip(outputs, seeds, strict=True) if seed is not None]
        (gx,) = gradients([y for y, _ in pairs], [leaves[input]], [seed for _, seed in pairs], create_graph=True)
        found = iter(gradients([gx[index]], [seed for _, seed in pairs]))
    return [None if seed is None else next(found).array for seed in seeds]


def _row(op, inputs, index) -> np.ndarray:
    """d y[index] / d x for all elements of the first input."""
    leaves, (y, *_) = _again(op, inputs)
    seed = zeros(y.shape, dtype=float64, device=y.device)
    seed.array[index] = 1
    return gradients([y], [leaves[0]], [seed])[0].array


def _nonzero(slopes) -> list[tuple[int, ...]]:
    return [tuple(at) for at in namespace(slopes).argwhere(slopes != 0).tolist()]


# The terms of an output element, for each kind of op


@functools.singledispatch
def _terms(op, inputs, outputs, index) -> list[Term]:
    """Elementwise functions of one input; other ops have no explanation."""
    if len(inputs) == 1 and inputs[0].shape == outputs[0].shape and not isinstance(op, (AvgPool2d, MaxPool2d)):
        return [_whole(f"{op.name.lower()}(x{_at(index)} = {float(inputs[0][index]):.6g})", outputs[0][index])]
    raise TypeError(f"{op.name} has no explanation: there is one for convolution, linear maps, pooling, activations, "
                    "normalisation, cross-entropy and dropout")


def _whole(text, value) -> Term:
    return Term(text, (float(value),), float(value))


def _times(text, *factors) -> Term:
    factors = tuple(map(float, factors))
    return Term(text, factors, math.prod(factors))


@_terms.register
def _(op: Conv2d, inputs, outputs, index):
    x, w = inputs[:2]
    n, o, i, j = index
    terms = []
    group = o // (len(w) // op.geometry.groups)
    for c, a, k in product(*map(range, w.shape[1:])):
        h, v = _pixel(op.geometry, (i, j), (a, k))
        channel = group * w.shape[1] + c
        if 0 <= h < x.shape[2] and 0 <= v < x.shape[3]:
            terms.append(_times(f"x[{n},{channel},{h},{v}] * w[{o},{c},{a},{k}]", x[n, channel, h, v], w[o, c, a, k]))
        else:
            terms.append(Term(f"padding * w[{o},{c},{a},{k}]", (0.0, float(w[o, c, a, k])), 0.0))
    return terms + ([_whole(f"b[{o}]", inputs[2][o])] if len(inputs) > 2 else [])


def _pixel(geometry, window, tap) -> tuple[int, int]:
    """Row and column of the image that a window reads at a place inside it."""
    row, column = (at * s + a * d - p for at, a, s, d, p in
                   zip(window, tap, geometry.stride, geometry.dilation, geometry.padding, strict=True))
    return row, column


@_terms.register
def _(op: Conv2dInputGrad, inputs, outputs, index):
    """The transposed convolution: every pixel whose painted kernel reaches this place."""
    x, w = inputs
    slopes = _row(op, inputs, index)
    return [_times(f"x{_at(at)} * {_transposed_weight(op, w.shape, at, index)}", x[at], slopes[at])
            for at in _nonzero(slopes)]


def _transposed_weight(op, w_shape, at, index) -> str:
    """The name of the weight that joins pixel ``at`` of the smaller image with pixel ``index`` of the larger one."""
    g, (_, o, i, j), (_, c, h, v) = op.geometry, at, index
    a, k = ((place + p - window * s) // d for place, window, p, s, d in
            zip((h, v), (i, j), g.padding, g.stride, g.dilation, strict=True))
    return f"w[{o},{c % w_shape[1]},{a},{k}]"


@_terms.register
def _(op: Linear, inputs, outputs, index):
    x, w = inputs[:2]
    n, o = index
    terms = [_times(f"x[{n},{i}] * w[{o},{i}]", x[n, i], w[o, i]) for i in range(w.shape[1])]
    return terms + ([_whole(f"b[{o}]", inputs[2][o])] if len(inputs) > 2 else [])


@_terms.register
def _(op: MatMul, inputs, outputs, index):
    x, y = inputs
    if x.ndim != 2 or y.ndim != 2:
        raise TypeError("only products of two matrices have an explanation")
    n, m = index
    return [_times(f"x[{n},{k}] * y[{k},{m}]", x[n, k], y[k, m]) for k in range(x.shape[1])]


@_terms.register
def _(op: MaxPool2d, inputs, outputs, index):
    x, winner = inputs[0], int(outputs[1][index])
    n, c, i, j = index
    terms = []
    for h, v in product(*(range(int(w.starts[at]), int(w.stops[at]), w.step) for w, at in ((op.rows, i), (op.columns, j)))):
        won = h * x.shape[3] + v == winner
        text = f"x[{n},{c},{h},{v}] {'won' if won else f'= {float(x[n, c, h, v]):.6g} lost'}"
        terms.append(_whole(text, x[n, c, h, v] if won else 0.0))
    return terms


@_terms.register
def _(op: AvgPool2d, inputs, outputs, index):
    x, slopes = inputs[0], _row(op, inputs, index)
    return [_times(f"x{_at(at)} * share", x[at], slopes[at]) for at in _nonzero(slopes)]


@_terms.register(Relu)
@_terms.register(LeakyRelu)
def _(op, inputs, outputs, index):
    x = float(inputs[0][index])
    slope = 1.0 if x > 0 else getattr(op, "slope", 0.0)
    return [_times(f"x{_at(index)} * slope", x, slope)] if not math.isnan(x) else [_whole(f"x{_at(index)}", x)]


@_terms.register
def _(op: Mask, inputs, outputs, index):
    kept = bool(namespace(op.mask).broadcast_to(op.mask, outputs[0].shape)[index])
    return [_times(f"x{_at(index)} * {'scale' if kept else 'dropped'}", inputs[0][index], op.scale if kept else 0.0)]


@_terms.register
def _(op: BatchNorm, inputs, outputs, index):
    x, weight, bias = inputs[0], *inputs[-2:]
    c = index[1]
    if isinstance(op, FixedBatchNorm):
        mean, var = float(inputs[1][c]), float(inputs[2][c])
    else:
        mean, var = x[:, c].mean(), x[:, c].var()
    terms = _normalised(x[index], mean, var, op.eps, weight[c], bias[c], index)
    total = math.fsum(term.value for term in terms)
    return [*terms, _whole("what the ReLU adds", -total)] if op.relu and total < 0 else terms


@_terms.register
def _(op: GroupNorm, inputs, outputs, index):
    x, weight, bias = inputs
    n, c = index[:2]
    size = x.shape[1] // op.groups
    group = x[n, c // size * size : (c // size + 1) * size]
    return _normalised(x[index], group.mean(), group.var(), op.eps, weight[c], bias[c], index)


def _normalised(x, mean, var, eps, weight, bias, index) -> list[Term]:
    scale = 1 / math.sqrt(var + eps)
    return [_times(f"x{_at(index)} * 1/sd * weight", x, scale, weight), _times("-mean * 1/sd * weight", -mean, scale, weight),
            _whole("bias", bias)]


@_terms.register
def _(op: LocalResponseNorm, inputs, outputs, index):
    x = inputs[0][index]
    share = outputs[0][index] / x if x else 0.0
    return [_times(f"x{_at(index)} * (k + alpha / n * sum of neighbours squared) ** -beta", x, share)]


@_terms.register
def _(op: CrossEntropy, inputs, outputs, index):
    """One term for each row: its loss, times its share in the mean."""
    again = copy.copy(op)
    again.reduction = "none"
    losses = again.forward(inputs[0])
    if op.reduction == "none":
        return [_whole(f"loss of row {_at(index)}", losses[index])]
    share = 1 / op.divisor if op.reduction == "mean" else 1.0
    return [_times(f"loss of row {_at(at)} * share", losses[at], share) for at in np.ndindex(*losses.shape)]


# Names


def _slope_name(op, input, at, index) -> str:
    """What joins output element ``at`` with element ``index`` of an input."""
    if isinstance(op, Conv2d) and input < 2:
        g = op.geometry
        if input == 0:
            return _transposed_weight(op, op.shapes[1], at, index)
        row, column = _pixel(g, at[2:], index[2:])
        channel = at[1] // (op.shapes[1][0] // g.groups) * op.shapes[1][1] + index[1]
        return f"x[{at[0]},{channel},{row},{column}]"
    if isinstance(op, Linear) and input < 2:
        return f"w[{at[1]},{index[1]}]" if input == 0 else f"x[{at[0]},{index[1]}]"
    if isinstance(op, (Conv2d, Linear)):
        return "1"
    return "slope"


def _input_name(op, input) -> str:
    return "xwb"[input] if isinstance(op, (Conv2d, Linear)) else "x" if input == 0 else f"input{input}"


def _at(index) -> str:
    return f"[{','.join(map(str, index))}]" if index else ""


def _checked(index, shape, what) -> tuple[int, ...]:
    """The index with negative places counted from the end."""
    if len(index) != len(shape) or any(not -n <= i < n for i, n in zip(index, shape, strict=False)):
        raise IndexError(f"{what} has shape {tuple(shape)}: {index} is not the index of an element")
    return tuple(i % n for i, n in zip(index, shape, strict=True))
