"""Softmax, losses and dropout against PyTorch: values, gradients of both orders, and the edges where conventions differ."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn, ops

torch = pytest.importorskip("torch")
F = torch.nn.functional

INF, NAN = math.inf, math.nan
REDUCTIONS = ["mean", "sum", "none"]
RANDOM = np.random.default_rng(0)
X, T = RANDOM.standard_normal((2, 3, 5)), RANDOM.standard_normal((2, 3, 5))
P, Q = RANDOM.uniform(0.05, 0.95, (2, 2, 3, 5))
W, SIGNS = RANDOM.uniform(0.5, 2, (2, 3, 5)), RANDOM.choice([-1, 1], (2, 3, 5))
EDGES = np.array([-INF, -1e4, -1.0, -0.0, 0.0, 1.0, 2.0, 1e4, INF, NAN])

NUMBERS = {
    "mse_loss": (X, T, [{}, {"weight": W}]),
    "l1_loss": (X, T, [{}, {"weight": W}]),
    "smooth_l1_loss": (X, T, [{}, {"beta": 0.3}, {"beta": 0.0}]),
    "huber_loss": (X, T, [{}, {"delta": 0.3}, {"weight": W}]),
    "binary_cross_entropy": (P, Q, [{}, {"weight": W}, {"weight": W[0, 0]}]),
    "binary_cross_entropy_with_logits": (X, Q, [{}, {"weight": W}, {"pos_weight": W[0, 0]}]),
    "hinge_embedding_loss": (X, SIGNS, [{}, {"margin": 0.3}]),
    "kl_div": (np.log(P), Q, [{}, {"log_target": True}]),
}


def both(function, arguments, options, twice):
    """The loss and its gradients for all float arguments, and those of their squares' sum if ``twice``: ours, PyTorch's."""
    results = []
    for tensor, apply, grad in (
        (lambda a: minidl.tensor(a, requires_grad=a.dtype.kind == "f"), getattr(ops, function), minidl.autograd.grad),
        (lambda a: torch.tensor(a, requires_grad=a.dtype.kind == "f"), getattr(F, function), torch.autograd.grad),
    ):
        xs = [tensor(a) for a in arguments]
        plain = {k: tensor(v).detach() if isinstance(v, np.ndarray) else v for k, v in options.items()}
        y = apply(*xs, **plain)
        leaves = [x for x in xs if x.requires_grad]
        found = [y, *grad(y.sum(), leaves, create_graph=twice)]
        if twice:  # with x², since gradients may be constants
            found += grad(sum((g * g).sum() + (x * x).sum() for g, x in zip(found[1:], leaves, strict=True)), leaves)
        results.append([np.array(t.detach().tolist()) for t in found])
    return results


def check(function, *arguments, twice=True, **options):
    for ours, theirs in zip(*both(function, arguments, options, twice), strict=True):
        # binary_cross_entropy decides the tolerance: PyTorch adds 1e-12 to x (1 - x) in its second derivative
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # PyTorch warns of kl_div's mean
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", NUMBERS)
def test_losses_of_numbers(name, reduction):
    x, t, variants = NUMBERS[name]
    for options in variants:
        if options.get("log_target"):
            t = np.log(t)
        check(name, x, t, reduction=reduction, **options)


CLASSES = [(4, 3), (5,), (2, 5, 3), (2, 3, 4, 2)]


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", CLASSES)
def test_losses_of_classes(shape, reduction):
    axis = min(len(shape) - 1, 1)
    x, weight = RANDOM.standard_normal(shape), RANDOM.uniform(0.5, 2, shape[axis])
    rest = shape[:axis] + shape[axis + 1:]
    target = np.asarray(np.arange(math.prod(rest)).reshape(rest) % shape[axis])
    q = RANDOM.uniform(0, 1, shape)
    for options in ({}, {"weight": weight}):
        check("nll_loss", x, target, reduction=reduction, ignore_index=1, **options)
        for smoothing in (0.0, 0.1):
            check("cross_entropy", x, target, reduction=reduction, ignore_index=1, label_smoothing=smoothing, **options)
            check("cross_entropy", x, q, reduction=reduction, label_smoothing=smoothing, **options)
        if len(shape) < 3:
            for p in (1, 2):
                check("multi_margin_loss", x, target, twice=False, reduction=reduction, p=p, margin=0.7, **options)


@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
def test_softmax(name, dim):
    check(name, X, dim=dim)


@pytest.mark.parametrize("dim, keepdim", [(0, False), ((0, 2), True), (-1, True)])
def test_logsumexp(dim, keepdim):
    x, t = minidl.tensor(X, requires_grad=True), torch.tensor(X, requires_grad=True)
    y, ty = x.logsumexp(dim, keepdim), t.logsumexp(dim, keepdim)
    y.sum().backward()
    ty.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-14)
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-13)


def edge_gradients(ours, theirs, *arguments):
    """Values and first gradients in float32, where infinities and NaN stand."""
    for made, function in ((minidl.tensor, ours), (torch.tensor, theirs)):
        x = made(arguments[0].astype(np.float32), requires_grad=True)
        y = function(x, *(made(a.astype(np.float32) if a.dtype.kind == "f" else a) for a in arguments[1:]))
        y.sum().backward()
        yield y.detach().numpy(), x.grad.numpy()


@pytest.mark.parametrize("name, targets", [
    ("mse_loss", [0.0]), ("l1_loss", [0.0]), ("smooth_l1_loss", [0.0]), ("huber_loss", [0.0]),
    ("binary_cross_entropy_with_logits", [0.0, 0.3, 1.0]), ("hinge_embedding_loss", [-1.0, 1.0]),
])
def test_edges_of_numbers(name, targets):
    for target in targets:
        x = EDGES
        if name == "binary_cross_entropy_with_logits":  # at infinite logits PyTorch gives NaN where we give the limit
            x = x[np.isfinite(x) | np.isnan(x)]
        if name == "l1_loss":  # and in the gradient at NaN it gives 0, we NaN
            x = x[~np.isnan(x)]
        t = np.full_like(x, target)
        (y, g), (ty, tg) = edge_gradients(lambda x, t: getattr(ops, name)(x, t, reduction="none"),
                                          lambda x, t: getattr(F, name)(x, t, reduction="none"), x, t)
        np.testing.assert_allclose(y, ty, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(g, tg, rtol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_edges_of_softmax(name):
    rows = np.array([[1e4, 0, -1e4], [-INF, 0, 1], [-INF, -INF, -INF], [INF, 0, 1], [NAN, 0, 1], [0, 0, 0]])
    (y, g), (ty, tg) = edge_gradients(lambda x: getattr(minidl, name)(x, 1), lambda x: getattr(torch, name)(x, 1), rows)
    np.testing.assert_allclose(y, ty, rtol=1e-6)
    np.testing.assert_allclose(g, tg, rtol=1e-6, atol=1e-6)


def test_binary_cross_entropy_at_0_and_1():
    x, t = np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    (y, g), (ty, tg) = edge_gradients(lambda x, t: ops.binary_cross_entropy(x, t, reduction="none"),
                                      lambda x, t: F.binary_cross_entropy(x, t, reduction="none"), x, t)
    np.testing.assert_array_equal(y, ty)
    np.testing.assert_allclose(g, tg, rtol=1e-6)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_rows_that_do_not_count(reduction):
    x = np.array([[1.0, 2.0, 0.0], [3.0, 1.0, 1.0]])
    for target in ([-100, -100], [2, -100]):
        (y, g), (ty, tg) = edge_gradients(
            lambda x, t: ops.cross_entropy(x, t, reduction=reduction), lambda x, t: F.cross_entropy(x, t, reduction=reduction),
            x, np.array(target))
        np.testing.assert_allclose(y, ty, rtol=1e-6)
        np.testing.assert_allclose(g, tg, rtol=1e-6, atol=1e-7)


def test_dropout_of_everything_keeps_nan():
    x = np.array([NAN, INF, 1.0, -2.0], np.float32)
    np.testing.assert_array_equal(minidl.dropout(minidl.tensor(x), 1.0).numpy(), F.dropout(torch.tensor(x), 1.0).numpy())


@pytest.mark.parametrize("name", ["CrossEntropyLoss", "NLLLoss", "MSELoss", "L1Loss", "SmoothL1Loss", "HuberLoss", "BCELoss",
                                  "BCEWithLogitsLoss", "MultiMarginLoss", "HingeEmbeddingLoss", "KLDivLoss", "Dropout",
                                  "Dropout2d"])
def test_modules_print_and_store_alike(name):
    ours, theirs = getattr(nn, name)(), getattr(torch.nn, name)()
    assert repr(ours) == repr(theirs) and list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("name, options", [
    ("xavier_uniform_", {"gain": 2.0}), ("xavier_normal_", {}), ("kaiming_uniform_", {"a": math.sqrt(5)}),
    ("kaiming_normal_", {"mode": "fan_out", "nonlinearity": "relu"}), ("orthogonal_", {"gain": 2.0}),
    ("trunc_normal_", {"mean": 0.5, "std": 2.0, "a": -1.0, "b": 3.0}), ("dirac_", {"groups": 2}),
])
def test_initialisers_have_the_same_spread(name, options):
    shape = (60, 50, 3, 5)
    ours = getattr(nn.init, name)(minidl.zeros(shape), **options).numpy()
    theirs = getattr(torch.nn.init, name)(torch.zeros(shape), generator=None, **options).numpy() if "dirac" not in name \
        else torch.nn.init.dirac_(torch.zeros(shape), **options).numpy()
    bound = 6 * theirs.std() / math.sqrt(theirs.size)
    assert abs(ours.mean() - theirs.mean()) < bound and abs(ours.std() / theirs.std() - 1) < 0.02
    assert abs(np.abs(ours).max() / np.abs(theirs).max() - 1) < (0.25 if "normal" in name or "orthogonal" in name else 0.01)


@pytest.mark.parametrize("name", ["linear", "conv2d", "conv_transpose3d", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains(name):
    assert nn.init.calculate_gain(name) == torch.nn.init.calculate_gain(name)
