"""Normalisation layers: modes, running statistics, state, errors. Their arithmetic is tested with the ops."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import DeviceError, ShapeError
from tests.checks import check_gradients, leaf


def images(*shape, seed=0):
    return minidl.tensor(np.random.default_rng(seed).standard_normal(shape).astype(np.float32))


@pytest.mark.parametrize("layer, shape", [(nn.BatchNorm1d, (4, 3)), (nn.BatchNorm1d, (4, 3, 5)), (nn.BatchNorm2d, (2, 3, 4, 5))])
def test_batch_norm_in_training_and_after(layer, shape):
    x, norm = images(*shape), layer(3)
    axes = (0, *range(2, len(shape)))
    y = np.asarray(norm(x))
    np.testing.assert_allclose(y.mean(axes), 0, atol=1e-6)
    np.testing.assert_allclose(y.var(axes), 1, rtol=1e-4)
    np.testing.assert_allclose(norm.running_mean, 0.1 * np.asarray(x).mean(axes), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, 0.9 + 0.1 * np.asarray(x).var(axes, ddof=1), rtol=1e-5)
    before = {name: value.tolist() for name, value in norm.state_dict().items()}
    y = np.asarray(norm.eval()(x))
    place = (slice(None), *[None] * (len(shape) - 2))
    expected = (np.asarray(x) - np.asarray(norm.running_mean)[place]) / np.sqrt(np.asarray(norm.running_var)[place] + 1e-5)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert {name: value.tolist() for name, value in norm.state_dict().items()} == before


def test_state_dict():
    norm = nn.BatchNorm2d(3)
    assert list(norm.state_dict()) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert norm.num_batches_tracked.dtype == minidl.int64 and norm.num_batches_tracked.shape == ()
    norm(images(2, 3, 4, 5))
    other = nn.BatchNorm2d(3)
    other.load_state_dict(norm.state_dict())
    assert other.num_batches_tracked.item() == 1 and other.running_mean.tolist() == norm.running_mean.tolist()
    other.reset_parameters()
    assert other.num_batches_tracked.item() == 0 and other.running_var.tolist() == [1, 1, 1]
    assert norm.num_batches_tracked.item() == 1
    assert list(nn.BatchNorm1d(3, affine=False).state_dict()) == ["running_mean", "running_var", "num_batches_tracked"]
    assert list(nn.BatchNorm1d(3, bias=False, track_running_stats=False).state_dict()) == ["weight"]
    assert list(nn.LayerNorm((2, 3), bias=False).state_dict()) == ["weight"] and nn.LayerNorm((2, 3)).bias.shape == (2, 3)
    assert not nn.GroupNorm(2, 4, affine=False).state_dict() and nn.GroupNorm(2, 4).weight.shape == (4,)


def test_cumulative_average():
    norm, batches = nn.BatchNorm1d(2, momentum=None), [images(5, 2, seed=seed) for seed in range(3)]
    for batch in batches:
        norm(batch)
    np.testing.assert_allclose(norm.running_mean, np.mean([np.asarray(b).mean(0) for b in batches], 0), rtol=1e-5)
    np.testing.assert_allclose(norm.running_var, np.mean([np.asarray(b).var(0, ddof=1) for b in batches], 0), rtol=1e-5)
    assert norm.num_batches_tracked.item() == 3


def test_without_running_statistics():
    norm, x = nn.BatchNorm1d(2, track_running_stats=False), images(5, 2)
    assert norm(x).tolist() == norm.eval()(x).tolist()
    assert norm.running_mean is None and norm.num_batches_tracked is None


def test_rejected_batch_changes_nothing():
    norm = nn.BatchNorm2d(3)
    with pytest.raises(ShapeError, match="more than one value per channel"):
        norm(images(1, 3, 1, 1))
    assert norm.num_batches_tracked.item() == 0
    assert norm.eval()(images(1, 3, 1, 1)).shape == (1, 3, 1, 1)


def test_errors():
    with pytest.raises(ShapeError, match=r"BatchNorm2d: expected an input \(N, C, H, W\) with C=3, got shape \(2, 3\)"):
        nn.BatchNorm2d(3)(images(2, 3))
    with pytest.raises(ShapeError, match="C=3, got shape"):
        nn.BatchNorm2d(3)(images(2, 4, 3, 3))
    with pytest.raises(ShapeError, match=r"\(N, C\) or \(N, C, L\)"):
        nn.BatchNorm1d(3)(images(2, 3, 4, 5))
    with pytest.raises(ShapeError, match="must divide num_channels=4"):
        nn.GroupNorm(3, 4)


def test_with_relu():
    plain, layer, x = nn.BatchNorm2d(3), nn.BNReLU2d(3), images(2, 3, 4, 5)
    for _ in range(2):  # in training, and after
        np.testing.assert_array_equal(layer(x), plain(x).relu())
        np.testing.assert_array_equal(layer.running_var, plain.running_var)
        layer.eval(), plain.eval()


LAYERS = [(nn.BatchNorm1d(3, dtype="float64"), (4, 3)), (nn.BatchNorm2d(3, affine=False).eval().double(), (2, 3, 1, 2)),
          (nn.GroupNorm(2, 4, dtype="float64"), (2, 4, 3)), (nn.LayerNorm((3, 2), dtype="float64"), (2, 3, 2)),
          (nn.LocalResponseNorm(3, alpha=1.5), (2, 4, 3))]


@pytest.mark.parametrize("layer, shape", LAYERS, ids=lambda value: type(value).__name__)
def test_gradients(layer, shape):
    check_gradients(layer, leaf(*shape))


def test_representation():
    assert repr(nn.BatchNorm2d(3)) == "BatchNorm2d(3, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)"
    assert repr(nn.LocalResponseNorm(5)) == "LocalResponseNorm(5, alpha=0.0001, beta=0.75, k=1.0)"


@pytest.mark.skipif(not minidl.cuda.is_available(), reason="run with --device pretend, or cuda")
@pytest.mark.parametrize("training", [True, False])
def test_running_statistics_on_another_device(training):
    x, mean, var = minidl.ones(2, 3, device="cuda"), minidl.zeros(3, device="cpu"), minidl.ones(3, device="cpu")
    with pytest.raises(DeviceError, match=r"different devices, float32 \(2, 3\) on cuda:0 and float32 \(3,\) on cpu"):
        minidl.batch_norm(x, mean, var, training=training)
    assert mean.tolist() == [0, 0, 0]
