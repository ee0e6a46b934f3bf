"""Losses of classes against loops in Python's floats, with gradients of both orders, and the mistakes one makes with labels."""

import itertools
import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, GraphError, ShapeError
from minidl.nn import functional as F
from minidl.ops import cross_entropy, log_softmax, multi_margin_loss, nll_loss
from tests.checks import check_gradients, leaf

INF, NAN = math.inf, math.nan
SHAPES = [(5,), (4, 3), (2, 5, 3), (2, 3, 4, 5)]
REDUCTIONS = ["mean", "sum", "none"]


def labels(shape, ignored=None):
    """Classes in the shape of x without its axis of classes; with ``ignored``, some rows have that class."""
    axis = min(len(shape) - 1, 1)
    rest = shape[:axis] + shape[axis + 1:]
    target = np.arange(2, 2 + math.prod(rest)).reshape(rest) % shape[axis]
    if ignored is not None and target.size > 1:
        target.reshape(-1)[::3] = ignored
    return minidl.tensor(target)


def rows_of(x):
    """x as a list of rows of C."""
    return np.moveaxis(x, min(x.ndim - 1, 1), -1).reshape(-1, x.shape[min(x.ndim - 1, 1)]).tolist()


def log_softmax_row(row):
    total = math.log(math.fsum(math.exp(v) for v in row))
    return [v - total for v in row]


def reduce(losses, weights, reduction, shape):
    if reduction == "none":
        return np.reshape(losses, shape)
    return math.fsum(losses) / (math.fsum(weights) if reduction == "mean" else 1)


def naive_cross_entropy(x, target, w, ignored, reduction, s):
    losses, weights = [], []
    for row, t in zip(rows_of(x), target.reshape(-1).tolist(), strict=True):
        q = [(1 - s) * (c == t) + s / len(row) for c in range(len(row))]
        terms = [-w[c] * q[c] * v for c, v in enumerate(log_softmax_row(row))]
        losses.append(0.0 if t == ignored else math.fsum(terms))
        weights.append(0.0 if t == ignored else w[t])
    return reduce(losses, weights, reduction, target.shape)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("ignored, weighted, smoothing", list(itertools.product([None, -100, 1], [False, True], [0.0, 0.2])))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_cross_entropy(shape, reduction, ignored, weighted, smoothing, backend):
    x, target = leaf(*shape, strided=weighted), labels(shape, ignored)
    classes = shape[min(len(shape) - 1, 1)]
    weight = leaf(classes, low=0.5, seed=1).detach() if weighted else None
    options = {"ignore_index": -100 if ignored is None else ignored, "reduction": reduction, "label_smoothing": smoothing}
    with minidl.use_backend(backend):
        y = cross_entropy(x, target, weight, **options)
        w = weight.tolist() if weighted else [1.0] * classes
        expected = naive_cross_entropy(np.asarray(x), np.asarray(target), w, options["ignore_index"], reduction, smoothing)
        np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12)
        np.testing.assert_allclose(y.op.composite(x).detach().numpy(), expected, rtol=1e-12)
        small = len(shape) < 4  # finite differences of second order are slow
        check_gradients(lambda x: cross_entropy(x, target, weight, **options), x, second=small)
        log_p = log_softmax(x, min(len(shape) - 1, 1))
        if not smoothing:
            options.pop("label_smoothing")
            np.testing.assert_allclose(nll_loss(log_p, target, weight, **options).detach().numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_nll_gradients(shape, reduction, weighted):
    x, target = leaf(*shape), labels(shape, 1)
    weight = leaf(shape[min(len(shape) - 1, 1)], low=0.5, seed=1).detach() if weighted else None
    check_gradients(lambda x: nll_loss(x * x, target, weight, ignore_index=1, reduction=reduction), x, second=len(shape) < 4)


@pytest.mark.parametrize("smoothing, weighted", list(itertools.product([0.0, 0.2], [False, True])))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES[:3])
def test_probabilities_as_target(shape, reduction, smoothing, weighted):
    x, q = leaf(*shape), leaf(*shape, low=0.1, high=1.0, seed=1)
    axis = min(len(shape) - 1, 1)
    weight = leaf(shape[axis], low=0.5, seed=2).detach() if weighted else None
    w = weight.tolist() if weighted else [1.0] * shape[axis]
    losses = []
    for row, target in zip(rows_of(np.asarray(x)), rows_of(np.asarray(q)), strict=True):
        smooth = [(1 - smoothing) * t + smoothing / len(row) for t in target]
        losses.append(-math.fsum(a * b * c for a, b, c in zip(w, smooth, log_softmax_row(row), strict=True)))
    y = cross_entropy(x, q, weight, reduction=reduction, label_smoothing=smoothing)
    expected = reduce(losses, [1.0] * len(losses), reduction, shape[:axis] + shape[axis + 1:])
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12)
    check_gradients(lambda x, q: cross_entropy(x, q, weight, reduction=reduction, label_smoothing=smoothing), x, q,
                    second=len(shape) < 3)


def test_probabilities_of_one_class_are_that_class():
    x, target = leaf(4, 3), labels((4, 3))
    q = minidl.one_hot(target, 3).double()
    assert abs(cross_entropy(x, q).item() - cross_entropy(x, target).item()) < 1e-14


def naive_margin(x, target, w, p, margin, reduction):
    losses = []
    for row, t in zip(rows_of(x), target.reshape(-1).tolist(), strict=True):
        others = (max(0.0, margin - row[t] + v) ** p for c, v in enumerate(row) if c != t)
        losses.append(w[t] * math.fsum(others) / len(row))
    return reduce(losses, [1.0] * len(losses), reduction, target.shape)


@pytest.mark.parametrize("p, margin, weighted", list(itertools.product([1, 2], [0.5, 1.0], [False, True])))
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_multi_margin(shape, reduction, p, margin, weighted):
    x, target = leaf(*shape), labels(shape)
    weight = leaf(shape[-1], low=0.5, seed=1).detach() if weighted else None
    options = {"p": p, "margin": margin, "weight": weight, "reduction": reduction}
    w = weight.tolist() if weighted else [1.0] * shape[-1]
    y = multi_margin_loss(x, target, **options)
    expected = naive_margin(np.asarray(x), np.asarray(target), w, p, margin, reduction)
    np.testing.assert_allclose(y, expected, rtol=1e-12)
    check_gradients(lambda x: multi_margin_loss(x, target, **options), x)


def test_ties_at_the_margin_have_gradient_zero():
    x = minidl.tensor([[1.0, 2.0, 0.0]], requires_grad=True)
    multi_margin_loss(x, minidl.tensor([1])).backward()  # 1 - 2 + 1 = 0 exactly
    assert x.grad.tolist() == [[0, 0, 0]]


def test_ignored_rows():
    x, all_ignored = leaf(2, 3), minidl.tensor([-100, -100])
    for function in (cross_entropy, nll_loss):
        x.grad = None
        assert math.isnan(function(x, all_ignored).item())
        assert function(x, all_ignored, reduction="sum").item() == 0
        function(x, all_ignored).backward()
        assert (x.grad == 0).all()
    kept = cross_entropy(x[:1], minidl.tensor([2]))
    assert cross_entropy(x, minidl.tensor([2, -100])).item() == kept.item()


def test_ignored_rows_may_hold_anything():
    x = minidl.tensor([[NAN, 0.0], [-INF, INF], [1.0, 2.0]], requires_grad=True)
    loss = cross_entropy(x, minidl.tensor([-100, -100, 1]))
    loss.backward()
    assert abs(loss.item() - math.log(1 + math.exp(-1))) < 1e-6
    assert (x.grad[:2] == 0).all() and (x.grad[2] != 0).all()


def test_extremes():
    x = minidl.tensor([[1e4, 0.0, -1e4]])
    assert cross_entropy(x, minidl.tensor([0])).item() == 0
    assert cross_entropy(x, minidl.tensor([2])).item() == 2e4
    assert cross_entropy(minidl.tensor([[0.0, -INF]]), minidl.tensor([1])).item() == INF
    assert math.isnan(cross_entropy(minidl.tensor([[NAN, 0.0, 1.0], [0.0, 0.0, 0.0]]), minidl.tensor([1, 2])).item())
    assert math.isnan(multi_margin_loss(minidl.tensor([[NAN, 0.0, 1.0]]), minidl.tensor([1])).item())


def test_batch_of_nothing():
    x, target = minidl.zeros(0, 3, requires_grad=True), minidl.zeros(0, dtype=minidl.int64)
    for function in (cross_entropy, nll_loss, multi_margin_loss):
        assert math.isnan(function(x, target).item()) and function(x, target, reduction="sum").item() == 0
        assert function(x, target, reduction="none").shape == (0,)
        x.grad = None
        function(x, target, reduction="sum").backward()
        assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", [minidl.float16, minidl.float32])
@pytest.mark.parametrize("function", [cross_entropy, nll_loss, multi_margin_loss])
def test_dtype_stays(function, dtype):
    x = minidl.tensor([[1.0, 2.0, 4.0], [0.0, 1.0, 2.0]], dtype=dtype, requires_grad=True)
    for reduction in REDUCTIONS:
        x.grad = None
        y = function(x, minidl.tensor([1, 2]), weight=minidl.tensor([1.0, 2.0, 3.0]), reduction=reduction)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == dtype


@pytest.mark.parametrize("dtype", [minidl.uint8, minidl.int8, minidl.int32, minidl.int64])
def test_any_integers_are_classes(dtype):
    x = leaf(3, 4)
    assert cross_entropy(x, minidl.tensor([3, 0, 1], dtype=dtype)).item() == cross_entropy(x, minidl.tensor([3, 0, 1])).item()


def test_inputs_stay_untouched():
    x, target = leaf(4, 3), labels((4, 3), -100)
    before, target_before = np.array(x), np.array(target)
    cross_entropy(x, target).backward()
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(target, target_before)


def test_many_rows_are_averaged_accurately():
    x = minidl.zeros(2_000_000, 2)
    assert abs(cross_entropy(x, minidl.zeros(2_000_000, dtype=minidl.int64)).item() / math.log(2) - 1) < 1e-6


@pytest.mark.parametrize("wrong", [3, -1, 2**31, -(2**62)])
@pytest.mark.parametrize("function", [cross_entropy, nll_loss, multi_margin_loss])
def test_labels_out_of_range(function, wrong):
    x, target = minidl.ones(2, 3), minidl.tensor([0, wrong])
    if function is cross_entropy and x.device.type == "cuda":
        assert math.isnan(function(x, target).item())
        return
    with pytest.raises(IndexError, match=f"target class {wrong} is out of range for 3 classes"):
        function(x, target)


@pytest.mark.parametrize("function", [cross_entropy, nll_loss, multi_margin_loss])
def test_mistakes(function):
    x, target = minidl.ones(2, 3), minidl.tensor([0, 2])
    for call, error, words in [
        (lambda: function(x, minidl.tensor([0, 1, 2])), ShapeError, r"the target must have shape \(2,\), got \(3,\)"),
        (lambda: function(x, minidl.tensor([[0], [1]])), ShapeError, "the target must have shape"),
        (lambda: function(minidl.tensor(1.0), minidl.tensor(0)), ShapeError, "a single number"),
        (lambda: function(minidl.ones(2, 0), target), ShapeError, "at least one class"),
        (lambda: function(x, target, weight=minidl.ones(2)), ShapeError, "one number for each of the 3 classes"),
        (lambda: function(x, target, reduction="average"), ValueError, "'mean', 'sum', 'none', got 'average'"),
        (lambda: function(minidl.tensor([[1, 2, 3]]), minidl.tensor([0])), DtypeError, "floating-point"),
    ]:
        with pytest.raises(error, match=words):
            call()


def test_mistakes_of_one_loss():
    x = minidl.ones(2, 3)
    with pytest.raises(ValueError, match="from 0 to 1, got 1.5"):
        cross_entropy(x, minidl.tensor([0, 2]), label_smoothing=1.5)
    with pytest.raises(ShapeError, match="probabilities as target must have the shape of the input"):
        cross_entropy(x, minidl.tensor([0.0, 2.0]))
    with pytest.raises(DtypeError, match="target classes must be integers"):
        nll_loss(x, minidl.tensor([0.0, 2.0]))
    with pytest.raises(ValueError, match="p of 1 or 2, got 3"):
        multi_margin_loss(x, minidl.tensor([0, 2]), p=3)
    with pytest.raises(ShapeError, match=r"\(N, C\) or \(C,\)"):
        multi_margin_loss(minidl.ones(2, 3, 4), minidl.zeros(2, 4, dtype=minidl.int64))


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("change", ["labels", "weight"])
def test_changing_what_backward_reads_is_noticed(change, second):
    x, labels, weight = minidl.rand(3, 3, requires_grad=True), minidl.tensor([0, 1, 2]), minidl.rand(3)
    y = F.cross_entropy(x, labels, weight)
    (labels if change == "labels" else weight).zero_()
    with pytest.raises(GraphError, match="changed in place"):
        minidl.autograd.grad(y, x, create_graph=second)
