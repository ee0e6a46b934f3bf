"""Losses of numbers against their formulas in Python's floats, with gradients of both orders and the values at their edges."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from minidl.ops import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    hinge_embedding_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse_loss,
    smooth_l1_loss,
)
from tests.checks import check_gradients, leaf

INF, NAN = math.inf, math.nan
SHAPE = (2, 3, 4)


def smooth(x, t, beta):
    d = abs(x - t)
    return d * d / (2 * beta) if d < beta else d - beta / 2


def bce(x, t):
    return -(t * math.log(x) + (1 - t) * math.log(1 - x))


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


# name: (loss, its formula for numbers, range of the input, range of the target)
CASES = {
    "mse": (mse_loss, lambda x, t: (x - t) ** 2, (-2, 2), (-2, 2)),
    "l1": (l1_loss, lambda x, t: abs(x - t), (-2, 2), (-2, 2)),
    "smooth_l1": (smooth_l1_loss, lambda x, t: smooth(x, t, 1.0), (-2, 2), (-2, 2)),
    "smooth_l1, beta 0.3": (lambda x, t, **k: smooth_l1_loss(x, t, beta=0.3, **k), lambda x, t: smooth(x, t, 0.3),
                            (-2, 2), (-2, 2)),
    "smooth_l1, beta 0": (lambda x, t, **k: smooth_l1_loss(x, t, beta=0, **k), lambda x, t: abs(x - t),
                          (-2, 2), (-2, 2)),
    "huber": (huber_loss, lambda x, t: smooth(x, t, 1.0), (-2, 2), (-2, 2)),
    "huber, delta 1.7": (lambda x, t, **k: huber_loss(x, t, delta=1.7, **k), lambda x, t: 1.7 * smooth(x, t, 1.7),
                         (-3, 3), (-3, 3)),
    "bce": (binary_cross_entropy, bce, (0.1, 0.9), (0.1, 0.9)),
    "bce with logits": (binary_cross_entropy_with_logits, lambda x, t: bce(sigmoid(x), t), (-3, 3), (0.1, 0.9)),
    "kl": (kl_div, lambda x, t: t * (math.log(t) - x), (-3, -0.1), (0.1, 0.9)),
    "kl, log target": (lambda x, t, **k: kl_div(x, t, log_target=True, **k), lambda x, t: math.exp(t) * (t - x),
                       (-3, -0.1), (-3, -0.1)),
}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CASES)
def test_values_and_both_derivatives(name, reduction):
    loss, formula, x_range, t_range = CASES[name]
    x = leaf(*SHAPE, low=x_range[0], high=x_range[1], strided=True)
    t = leaf(*SHAPE, low=t_range[0], high=t_range[1], seed=1)
    each = [formula(a, b) for a, b in zip(np.asarray(x).reshape(-1).tolist(), np.asarray(t).reshape(-1).tolist(), strict=True)]
    expected = {"none": np.reshape(each, SHAPE), "sum": math.fsum(each), "mean": math.fsum(each) / len(each)}[reduction]
    np.testing.assert_allclose(loss(x, t, reduction=reduction).detach().numpy(), expected, rtol=1e-12)
    check_gradients(lambda x, t: loss(x, t, reduction=reduction), x, t, second=reduction != "none")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_hinge_embedding(reduction):
    x, t = leaf(3, 4), minidl.tensor(np.where(np.arange(12).reshape(3, 4) % 3, 1, -1))
    each = [[a if b == 1 else max(0, 0.7 - a) for a, b in zip(*rows, strict=True)]
            for rows in zip(x.tolist(), t.tolist(), strict=True)]
    expected = {"none": each, "sum": np.sum(each), "mean": np.mean(each)}[reduction]
    y = hinge_embedding_loss(x, t, margin=0.7, reduction=reduction)
    np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-12)
    check_gradients(lambda x: hinge_embedding_loss(x, t, margin=0.7, reduction=reduction), x)


def test_batchmean_divides_by_the_batch():
    x, t = leaf(2, 3, low=-2, high=-1), leaf(2, 3, low=0.1, high=0.9)
    assert abs(kl_div(x, t, reduction="batchmean").item() - kl_div(x, t, reduction="sum").item() / 2) < 1e-15


@pytest.mark.parametrize("loss, divide_by_weights", [(mse_loss, True), (l1_loss, True), (huber_loss, False)])
def test_weights_of_elements(loss, divide_by_weights):
    x, t, w = leaf(2, 3), leaf(2, 3, seed=1), leaf(2, 3, low=0.5, seed=2).detach()
    each = loss(x, t, reduction="none").detach().numpy() * w.numpy()
    np.testing.assert_allclose(loss(x, t, weight=w, reduction="none").detach().numpy(), each)
    divisor = w.numpy().sum() if divide_by_weights else 6
    np.testing.assert_allclose(loss(x, t, weight=w).item(), each.sum() / divisor)
    with pytest.raises(ShapeError, match="weight must have the shape of the input"):
        loss(x, t, weight=minidl.ones(3))


def test_weights_of_binary_losses():
    x, t = leaf(2, 3), leaf(2, 3, low=0, high=1, seed=1).detach()
    w, pos = leaf(3, low=0.5, seed=2).detach(), leaf(3, low=0.5, seed=3).detach()
    p = 1 / (1 + np.exp(-np.asarray(x)))
    each = -(np.asarray(pos) * np.asarray(t) * np.log(p) + (1 - np.asarray(t)) * np.log(1 - p)) * np.asarray(w)
    y = binary_cross_entropy_with_logits(x, t, w, pos_weight=pos)
    np.testing.assert_allclose(y.item(), each.mean())
    np.testing.assert_allclose(binary_cross_entropy(minidl.tensor(p), t, w, reduction="none").numpy(),
                               -(np.asarray(t) * np.log(p) + (1 - np.asarray(t)) * np.log(1 - p)) * np.asarray(w))
    check_gradients(lambda x: binary_cross_entropy_with_logits(x, t, w, pos_weight=pos), x)


def gradient(loss, x, t, **options):
    x = minidl.tensor(x, requires_grad=True)
    loss(x, minidl.tensor(t), reduction="sum", **options).backward()
    return x.grad.tolist()


def values(loss, x, t, **options):
    return loss(minidl.tensor(x), minidl.tensor(t), reduction="none", **options).tolist()


def test_huber_of_large_numbers_does_not_cancel():
    """In float32 the numbers near 1e8 are 8 apart: 1e8 - 1/2 is 1e8 itself, and d² must not be formed on the way."""
    assert values(huber_loss, [1e8, -1e30], [0.0, 0.0]) == [1e8, np.float32(1e30)]
    assert gradient(huber_loss, [1e8, -1e30, INF], [0.0, 0.0, 0.0]) == [1, -1, 1]
    assert values(huber_loss, [1e3], [0.0], delta=10.0) == [9950]


def test_edges_of_absolute_losses():
    x, zero = [-1.0, 0.0, 1.0, 2.0], [0.0] * 4
    assert gradient(l1_loss, x, zero) == [-1, 0, 1, 1]
    assert gradient(smooth_l1_loss, x, zero) == gradient(huber_loss, x, zero) == [-1, 0, 1, 1]
    assert gradient(smooth_l1_loss, x, zero, beta=0) == [-1, 0, 1, 1]
    assert values(smooth_l1_loss, x, zero) == [0.5, 0, 0.5, 1.5]


def test_binary_cross_entropy_at_0_and_1():
    assert values(binary_cross_entropy, [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0]) == [0, 100, 100, 0]
    slopes = gradient(binary_cross_entropy, [0.0, 1.0, 0.0, 1.0], [0.0, 0.0, 1.0, 1.0])
    assert slopes[0] == slopes[3] == 0 and slopes[1] == -slopes[2] and math.isclose(slopes[1], 1e12, rel_tol=1e-6)


def test_binary_cross_entropy_with_extreme_logits():
    x, t = [1e4, -1e4, 1e4, -1e4], [1.0, 0.0, 0.0, 1.0]
    assert values(binary_cross_entropy_with_logits, x, t) == [0, 0, 1e4, 1e4]
    assert gradient(binary_cross_entropy_with_logits, x, t) == [0, 0, 1, -1]
    small = values(binary_cross_entropy_with_logits, [-30.0, 30.0], [0.0, 1.0])
    np.testing.assert_allclose(small, math.exp(-30), rtol=1e-6)  # log(1 + e^x) - x would give 0


def test_divergence_where_the_target_is_0():
    assert values(kl_div, [-1.0, -INF, -0.5], [0.0, 0.0, 1.0]) == [0, 0, 0.5]
    assert gradient(kl_div, [-1.0, -INF, -0.5], [0.0, 0.0, 1.0]) == [0, 0, -1]
    assert values(kl_div, [-1.0, -INF], [-INF, -INF], log_target=True) == [0, 0]
    assert gradient(kl_div, [-1.0, -INF], [-INF, -INF], log_target=True) == [0, 0]
    t = minidl.tensor([0.0, 1.0], requires_grad=True)
    kl_div(minidl.tensor([-INF, -0.5]), t, reduction="sum").backward()
    assert t.grad.tolist() == [0, 1.5]


def test_hinge_at_the_margin():
    """As clamp, the gradient passes at the edge."""
    assert gradient(hinge_embedding_loss, [0.5, 1.0, 2.0, 0.5], [-1.0, -1.0, -1.0, 1.0]) == [-1, -1, 0, 1]


LOSSES = {name: case[0] for name, case in CASES.items()} | {"hinge": hinge_embedding_loss}


@pytest.mark.parametrize("name", LOSSES)
def test_nan_shows(name):
    found = values(LOSSES[name], [NAN, 0.5], [1.0, 1.0])
    assert math.isnan(found[0]) and not math.isnan(found[1])


@pytest.mark.parametrize("name", LOSSES)
def test_batch_of_nothing(name):
    loss, x, t = LOSSES[name], minidl.zeros(0, 3, requires_grad=True), minidl.zeros(0, 3)
    assert math.isnan(loss(x, t).item()) and loss(x, t, reduction="sum").item() == 0
    assert loss(x, t, reduction="none").shape == (0, 3)
    loss(x, t, reduction="sum").backward()
    assert x.grad.shape == (0, 3)


@pytest.mark.parametrize("dtype", [minidl.float16, minidl.float32, minidl.float64])
@pytest.mark.parametrize("name", LOSSES)
def test_dtype_stays(name, dtype):
    x, t = minidl.tensor([0.2, 0.5], dtype=dtype, requires_grad=True), minidl.tensor([1, 0], dtype=dtype)
    for reduction in ("mean", "sum", "none"):
        x.grad = None
        y = LOSSES[name](x, t, reduction=reduction)
        y.sum().backward()
        assert y.dtype == x.grad.dtype == dtype


def test_integer_targets_count_as_numbers():
    assert mse_loss(minidl.tensor([0.5, 2.0]), minidl.tensor([1, 2])).dtype == minidl.float32
    assert abs(binary_cross_entropy_with_logits(minidl.tensor([0.0]), minidl.tensor([1])).item() - math.log(2)) < 1e-6


@pytest.mark.parametrize("loss", [mse_loss, l1_loss, smooth_l1_loss, huber_loss, kl_div])
def test_broadcasting_is_warned_of(loss):
    with pytest.warns(UserWarning, match="they are broadcast") as caught:
        y = loss(minidl.ones(2, 3), minidl.ones(3), reduction="none")
    assert y.shape == (2, 3) and caught[0].filename == __file__


@pytest.mark.parametrize("loss", [binary_cross_entropy, binary_cross_entropy_with_logits])
def test_binary_losses_do_not_broadcast(loss):
    with pytest.raises(ShapeError, match=r"the same shape, got \(2, 3\) and \(3,\)"):
        loss(minidl.ones(2, 3), minidl.ones(3))


@pytest.mark.parametrize("call, error, words", [
    (lambda: binary_cross_entropy(minidl.tensor([1.5]), minidl.tensor([1.0])), ValueError, "from 0 to 1"),
    (lambda: binary_cross_entropy(minidl.tensor([-0.1]), minidl.tensor([1.0])), ValueError, "from 0 to 1"),
    (lambda: huber_loss(minidl.ones(2), minidl.ones(2), delta=0), ValueError, "positive delta"),
    (lambda: smooth_l1_loss(minidl.ones(2), minidl.ones(2), beta=-1), ValueError, "beta of 0 or more"),
    (lambda: mse_loss(minidl.ones(2), minidl.ones(2), reduction="batchmean"), ValueError, "got 'batchmean'"),
    (lambda: kl_div(minidl.ones(2), minidl.ones(2), reduction="average"), ValueError, "'batchmean'"),
])
def test_mistakes(call, error, words):
    with pytest.raises(error, match=words):
        call()
