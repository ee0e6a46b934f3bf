"""Gradients with one bug each, beside the right ones: what a gradient check must tell apart.

``python -m tests.testing.planted`` checks every bug in full and in fast mode, then 10,000 draws of correct ops, and prints both
counts.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

import minidl
from minidl.op import Op
from minidl.testing import check_vjp, gradcheck, gradgradcheck

rng = np.random.default_rng(7)


class Family(NamedTuple):
    """A function, its right gradient, wrong ones by name, and where to check them."""

    forward: Callable
    right: Callable
    wrong: dict[str, Callable]
    arrays: tuple


FAMILIES: dict[str, Family] = {}


def family(name, forward, right, arrays, **wrong):
    FAMILIES[name] = Family(forward, right, {bug.replace("_", " "): vjp for bug, vjp in wrong.items()}, arrays)


def draw(*shape, low=-2.0, high=2.0):
    return rng.uniform(low, high, shape)


def one_hot(labels, classes):
    return np.eye(classes)[labels]


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


# Arithmetic and broadcasting

family("add", lambda x, b: x + b, lambda g, x, b: (g, g.sum(0)), (draw(3, 3), draw(3)),
       un_broadcast_lost=lambda g, x, b: (g, g),
       summed_over_the_wrong_axis=lambda g, x, b: (g, g.sum(1)),
       mean_for_sum=lambda g, x, b: (g, g.mean(0)))
family("subtract", lambda x, y: x - y, lambda g, x, y: (g, -g), (draw(2, 3), draw(2, 3)),
       sign_lost=lambda g, x, y: (g, g))
family("multiply", lambda x, y: x * y, lambda g, x, y: (g * y, g * x), (draw(2, 3), draw(2, 3)),
       factors_swapped=lambda g, x, y: (g * x, g * y))
family("divide", lambda x, y: x / y, lambda g, x, y: (g / y, -g * x / y**2), (draw(2, 3), draw(2, 3, low=1.0)),
       square_forgotten=lambda g, x, y: (g / y, -g * x / y))
family("power", lambda x: x**3, lambda g, x: g * 3 * x**2, (draw(4),),
       exponent_not_lowered=lambda g, x: g * 3 * x**3,
       factor_forgotten=lambda g, x: g * x**2)
family("exp", np.exp, lambda g, x: g * np.exp(x), (draw(4),),
       input_for_output=lambda g, x: g * x)
family("log", np.log, lambda g, x: g / x, (draw(4, low=0.5),),
       output_for_input=lambda g, x: g / np.log(x + 1))
family("sqrt", np.sqrt, lambda g, x: g / (2 * np.sqrt(x)), (draw(4, low=0.5),),
       half_forgotten=lambda g, x: g / np.sqrt(x))
family("tanh", np.tanh, lambda g, x: g * (1 - np.tanh(x) ** 2), (draw(4),),
       square_forgotten=lambda g, x: g * (1 - np.tanh(x)))
family("sigmoid", lambda x: 1 / (1 + np.exp(-x)), lambda g, x: g * np.exp(-x) / (1 + np.exp(-x)) ** 2, (draw(4),),
       computed_from_the_input=lambda g, x: g * x * (1 - x))

# Piecewise

family("relu", lambda x: np.maximum(x, 0), lambda g, x: g * (x > 0), (draw(3, 4),),
       gated_by_the_gradient=lambda g, x: np.maximum(g, 0),
       not_gated=lambda g, x: g)
family("leaky relu", lambda x: np.where(x > 0, x, 0.1 * x), lambda g, x: g * np.where(x > 0, 1, 0.1), (draw(3, 4),),
       slope_on_the_wrong_side=lambda g, x: g * np.where(x > 0, 0.1, 1))
family("abs", abs, lambda g, x: g * np.sign(x), (draw(5),),
       sign_lost=lambda g, x: g)
family("clip", lambda x: x.clip(-1, 1), lambda g, x: g * (abs(x) <= 1), (np.array([-1.7, -0.4, 0.3, 1.6]),),
       not_gated=lambda g, x: g)
family("maximum", np.maximum, lambda g, x, y: (g * np.where(x == y, 0.5, x > y), g * np.where(x == y, 0.5, y > x)),
       (np.array([1.0, 2.0, 3.0]), np.array([1.0, 4.0, 2.0])),
       tie_doubled=lambda g, x, y: (g * (x >= y), g * (y >= x)))
family("amax", lambda x: x.max(1), lambda g, x: g[:, None] * (m := x == x.max(1, keepdims=True)) / m.sum(1, keepdims=True),
       (np.array([[1.0, 3.0, 3.0], [2.0, 0.0, 1.0]]),),
       ties_doubled=lambda g, x: g[:, None] * (x == x.max(1, keepdims=True)),
       smallest_for_largest=lambda g, x: g[:, None] * (x == x.min(1, keepdims=True)))

# Reductions

family("sum", lambda x: x.sum(1), lambda g, x: np.broadcast_to(g[:, None], x.shape), (draw(3, 3),),
       spread_along_the_wrong_axis=lambda g, x: np.broadcast_to(g, x.shape))
family("mean", lambda x: x.mean(1), lambda g, x: np.repeat(g[:, None], 4, 1) / 4, (draw(3, 4),),
       divided_by_the_other_axis=lambda g, x: np.repeat(g[:, None], 4, 1) / 3,
       divided_by_all_elements=lambda g, x: np.repeat(g[:, None], 4, 1) / 12)
family("variance", lambda x: x.var(ddof=1), lambda g, x: g * 2 * (x - x.mean()) / (x.size - 1), (draw(5),),
       biased_divisor=lambda g, x: g * 2 * (x - x.mean()) / x.size,
       mean_not_subtracted=lambda g, x: g * 2 * x / (x.size - 1))
family("product", np.prod, lambda g, x: g * np.array([np.prod(np.delete(x, i)) for i in range(x.size)]),
       (np.array([2.0, 0.0, 3.0]),),
       divided_by_a_zero=lambda g, x: g * np.prod(x) / np.where(x == 0, 1, x))
family("cumulative sum", np.cumsum, lambda g, x: g[::-1].cumsum()[::-1], (draw(4),),
       not_reversed=lambda g, x: g.cumsum())
family("norm", lambda x: np.sqrt((x**2).sum()), lambda g, x: g * x / np.sqrt((x**2).sum()), (draw(4),),
       not_divided=lambda g, x: g * x)
family("logsumexp", lambda x: np.log(np.exp(x).sum(-1)), lambda g, x: g[:, None] * softmax(x), (draw(2, 3),),
       not_normalised=lambda g, x: g[:, None] * np.exp(x))
family("softmax", softmax, lambda g, x: softmax(x) * (g - (g * softmax(x)).sum(-1, keepdims=True)), (draw(2, 3),),
       diagonal_alone=lambda g, x: g * softmax(x) * (1 - softmax(x)),
       summed_over_all=lambda g, x: softmax(x) * (g - (g * softmax(x)).sum()))
family("log softmax", lambda x: np.log(softmax(x)), lambda g, x: g - softmax(x) * g.sum(-1, keepdims=True), (draw(2, 3),),
       sum_of_gradients_forgotten=lambda g, x: g - softmax(x))

# Shapes and indices

family("transpose", lambda x: x.transpose(1, 2, 0), lambda g, x: g.transpose(2, 0, 1), (draw(2, 2, 2),),
       permuted_twice_instead_of_back=lambda g, x: g.transpose(1, 2, 0))
family("reshape", lambda x: x.reshape(4, 3), lambda g, x: g.reshape(3, 4), (draw(3, 4),),
       axes_swapped=lambda g, x: g.T)
family("concatenate", lambda x, y: np.concatenate([x, y]), lambda g, x, y: (g[:2], g[2:]), (draw(2), draw(2)),
       parts_swapped=lambda g, x, y: (g[2:], g[:2]))
family("flip", lambda x: x[::-1], lambda g, x: g[::-1], (draw(4),),
       not_flipped_back=lambda g, x: g)
family("roll", lambda x: np.roll(x, 1), lambda g, x: np.roll(g, -1), (draw(4),),
       rolled_on=lambda g, x: np.roll(g, 1))
family("sort", np.sort, lambda g, x: g[x.argsort().argsort()], (np.array([0.3, 1.2, -0.5, 0.9]),),
       order_for_its_inverse=lambda g, x: g[x.argsort()])
TAKEN = np.array([0, 2, 2, 1])
family("gather", lambda x: x[TAKEN], lambda g, x: np.array([g[TAKEN == i].sum(0) for i in range(len(x))]), (draw(4, 2),),
       last_one_wins=lambda g, x: np.array([g[TAKEN == i][-1:].sum(0) for i in range(len(x))]))
family("pad", lambda x: np.pad(x, (2, 1)), lambda g, x: g[2:-1], (draw(4),),
       off_by_one=lambda g, x: g[1:-2])

# Products

family("matmul", np.matmul, lambda g, x, w: (g @ w.T, x.T @ g), (draw(3, 3), draw(3, 3)),
       transpose_forgotten=lambda g, x, w: (g @ w, x.T @ g),
       order_swapped=lambda g, x, w: (g @ w.T, g @ x.T))
family("batched matmul", lambda x, w: x @ w, lambda g, x, w: (g @ w.T, np.einsum("nij,nik->jk", x, g)),
       (draw(2, 3, 4), draw(4, 2)),
       last_of_the_batch_alone=lambda g, x, w: (g @ w.T, x[-1].T @ g[-1]),
       averaged_over_the_batch=lambda g, x, w: (g @ w.T, np.einsum("nij,nik->jk", x, g) / 2))


# Convolution and pooling (stride 1, padding 1; windows of 2 x 3)


def patches(x, height, width, step=1):
    """(N, C, OH, OW, height, width)"""
    return np.lib.stride_tricks.sliding_window_view(x, (height, width), (2, 3))[:, :, ::step, ::step]


def conv(x, w, b, groups=1):
    x = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    parts = zip(np.split(x, groups, 1), np.split(w, groups), strict=True)
    return np.concatenate([np.einsum("nchwij,ocij->nohw", patches(p, *w.shape[2:]), v) for p, v in parts], 1) + b[:, None, None]


def conv_vjp(g, x, w, b, groups=1, cut=1, flipped=True):
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    gx, gw = [], []
    for gp, xp, wp in zip(np.split(g, groups, 1), np.split(padded, groups, 1), np.split(w, groups), strict=True):
        gw.append(np.einsum("nchwij,nohw->ocij", patches(xp, *w.shape[2:]), gp))
        wide = np.pad(gp, ((0, 0), (0, 0), *((k - 1, k - 1) for k in w.shape[2:])))
        gx.append(np.einsum("nohwij,ocij->nchw", patches(wide, *w.shape[2:]), wp[:, :, ::-1, ::-1] if flipped else wp))
    full = np.concatenate(gx, 1)
    return full[:, :, cut : cut + x.shape[2], cut : cut + x.shape[3]], np.concatenate(gw), g.sum((0, 2, 3))


family("convolution", conv, conv_vjp, (draw(2, 3, 4, 5), draw(2, 3, 2, 3), draw(2)),
       padding_off_by_one=lambda g, x, w, b: conv_vjp(g, x, w, b, cut=0),
       kernel_not_flipped=lambda g, x, w, b: conv_vjp(g, x, w, b, flipped=False),
       bias_averaged=lambda g, x, w, b: (*conv_vjp(g, x, w, b)[:2], g.mean((0, 2, 3))),
       bias_of_one_image=lambda g, x, w, b: (*conv_vjp(g, x, w, b)[:2], g[0].sum((1, 2))),
       first_image_alone_in_the_weights=lambda g, x, w, b: (conv_vjp(g, x, w, b)[0], *conv_vjp(g[:1], x[:1], w, b)[1:]))
family("grouped convolution", lambda x, w: conv(x, w, np.zeros(4), 2), lambda g, x, w: conv_vjp(g, x, w, None, 2)[:2],
       (draw(2, 2, 3, 4), draw(4, 1, 2, 3)),
       group_missing=lambda g, x, w: (conv_vjp(g, x, w, None, 2)[0] * np.array([1, 0])[:, None, None],
                                      conv_vjp(g, x, w, None, 2)[1]),
       groups_swapped=lambda g, x, w: (conv_vjp(g, x, w, None, 2)[0][:, ::-1], conv_vjp(g, x, w, None, 2)[1]))


def average_vjp(g, x, divisor):
    gx = np.zeros(x.shape)
    for i, j in np.ndindex(*g.shape[2:]):
        gx[:, :, i : i + 2, j : j + 2] += g[:, :, i, j, None, None] / divisor
    return gx


def max_vjp(g, x, add=True):
    gx = np.zeros(x.shape)
    for n, c, i, j in np.ndindex(*g.shape):
        a, b = np.unravel_index(x[n, c, i : i + 2, j : j + 2].argmax(), (2, 2))
        gx[n, c, i + a, j + b] = g[n, c, i, j] + (gx[n, c, i + a, j + b] if add else 0)
    return gx


family("average pooling", lambda x: patches(x, 2, 2).mean((4, 5)), lambda g, x: average_vjp(g, x, 4), (draw(2, 1, 3, 4),),
       wrong_divisor=lambda g, x: average_vjp(g, x, 2))
family("max pooling", lambda x: patches(x, 2, 2).max((4, 5)), max_vjp, (draw(2, 1, 3, 4),),
       overlap_overwritten=lambda g, x: max_vjp(g, x, add=False),
       all_of_the_window=lambda g, x: average_vjp(g, x, 1))

# Normalisation, dropout, losses


def normalise(x):
    return (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)


def normalise_vjp(g, x, mean=1, var=1):
    y, sd = normalise(x), np.sqrt(x.var(0) + 1e-5)
    return (g - mean * g.mean(0) - var * y * (g * y).mean(0)) / sd


family("batch norm", normalise, normalise_vjp, (draw(4, 3),),
       through_the_mean_forgotten=lambda g, x: normalise_vjp(g, x, mean=0),
       through_the_variance_forgotten=lambda g, x: normalise_vjp(g, x, var=0),
       statistics_as_constants=lambda g, x: normalise_vjp(g, x, mean=0, var=0))
KEPT = np.array([[1, 0, 1], [0, 1, 1]])
family("dropout", lambda x: x * KEPT / 0.7, lambda g, x: g * KEPT / 0.7, (draw(2, 3),),
       not_scaled=lambda g, x: g * KEPT,
       a_new_mask=lambda g, x: g * (np.random.default_rng().random(g.shape) < 0.7) / 0.7,
       an_old_mask=lambda g, x: g * KEPT[::-1] / 0.7)
LABELS = np.array([2, 0, 1, 2])
family("cross-entropy", lambda x: -np.log(softmax(x))[np.arange(4), LABELS].mean(),
       lambda g, x: g * (softmax(x) - one_hot(LABELS, 3)) / 4, (draw(4, 3),),
       not_divided_by_the_batch=lambda g, x: g * (softmax(x) - one_hot(LABELS, 3)),
       label_off_by_one=lambda g, x: g * (softmax(x) - one_hot((LABELS + 1) % 3, 3)) / 4,
       sign_wrong=lambda g, x: g * (one_hot(LABELS, 3) - softmax(x)) / 4)
family("squared error", lambda x, t: ((x - t) ** 2).mean(), lambda g, x, t: (g * 2 * (x - t) / x.size, None if t is None else
                                                                           -g * 2 * (x - t) / x.size), (draw(3), draw(3)),
       two_forgotten=lambda g, x, t: (g * (x - t) / x.size, -g * (x - t) / x.size),
       target_forgotten=lambda g, x, t: (g * 2 * (x - t) / x.size, None))

# What only an op with tensors can get wrong


def spoil(g, x):
    g *= 2 * x
    return g


family("square", lambda x: x**2, lambda g, x: 2 * g * x, (draw(4),),
       incoming_gradient_overwritten=spoil)


class SharedBuffer(Op):
    """Keeps its input in a buffer that the next call overwrites."""

    buffer = np.zeros(4)

    def forward(self, x):
        self.buffer[...] = x
        return x**2

    def backward(self, gy):
        return gy * 2 * minidl.tensor(self.buffer)


class GraphCut(Op):
    """Its gradient is right, but computed outside the graph: the second derivative is lost."""

    def forward(self, x):
        self.save(x)
        return x**3

    def backward(self, gy):
        (x,) = self.saved
        return gy * (3 * x * x).detach()


class SpoiledOutput(Op):
    """Overwrites its saved output when it runs backward."""

    def forward(self, x):
        self.kept = np.exp(x)
        return self.kept.copy()

    def backward(self, gy):
        self.kept *= gy.array
        return minidl.tensor(self.kept)


OPS = {"stale buffer": (SharedBuffer, gradcheck), "second derivative lost": (GraphCut, gradgradcheck),
       "saved output overwritten": (SpoiledOutput, gradcheck)}

BUGS = [*((name, bug) for name, f in FAMILIES.items() for bug in f.wrong), *(("op", bug) for bug in OPS)]


def passes(name, bug=None, fast_mode=False) -> bool:
    """Does a family's gradient (the right one, or one with a bug) pass the check?"""
    if name == "op":
        op, check = OPS[bug]
        x = minidl.tensor(draw(4), requires_grad=True)
        return check(lambda x: op()(x), x, fast_mode=fast_mode, raise_exception=False)
    f = FAMILIES[name]
    vjp = f.wrong[bug] if bug else f.right
    return check_vjp(f.forward, vjp, list(f.arrays), fast_mode=fast_mode, raise_exception=False).passed


def main(draws=10_000) -> int:
    from tests.testing.draws import false_alarms

    missed = 0
    for name, bug in BUGS:
        full, fast = (not passes(name, bug, mode) for mode in (False, True))
        missed += not (full and fast)
        print(f"{name:20s} {bug:36s} {'caught' if full else 'MISSED':8s}{'caught' if fast else 'MISSED'}")
    alarms = false_alarms(draws)
    print(f"{len(BUGS)} planted bugs, {missed} missed in full or fast mode; "
          f"{draws} draws of correct ops, {len(alarms)} false alarms")
    return 1 if missed or alarms else 0


if __name__ == "__main__":
    sys.exit(main())
