"""Linear, Flatten, Unflatten, Identity."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ShapeError
from tests.checks import check_gradients, leaf


@pytest.mark.parametrize("bias", [True, False])
def test_linear_against_naive_loops(bias):
    layer = nn.Linear(3, 4, bias=bias, dtype="float64")
    x, w = leaf(2, 5, 3, strided=True), np.asarray(layer.weight)
    y = layer(x)
    for n in range(2):
        for m in range(5):
            for o in range(4):
                expected = sum(np.asarray(x)[n, m, i] * w[o, i] for i in range(3)) + (np.asarray(layer.bias)[o] if bias else 0)
                assert np.asarray(y)[n, m, o] == pytest.approx(expected, rel=1e-12)
    check_gradients(layer, x)
    layer(x).sum().backward()
    for i in range(3):
        expected = sum(np.asarray(x)[n, m, i] for n in range(2) for m in range(5))
        assert np.asarray(layer.weight.grad)[:, i] == pytest.approx(expected)
    if bias:
        assert layer.bias.grad.tolist() == [10] * 4


def test_leading_axes():
    layer = nn.Linear(3, 4)
    for lead in ((), (0,), (1,), (2, 0), (2, 1, 5)):
        y = layer(minidl.ones(*lead, 3))
        assert y.shape == (*lead, 4) and y.dtype == minidl.float32
    with pytest.raises(ShapeError, match=r"input \(\*, I\).*\(2, 4\), \(4, 3\)"):
        layer(minidl.ones(2, 4))


def test_linear_starts_uniform_within_its_bound():
    minidl.manual_seed(0)
    layer = nn.Linear(100, 300)
    for values in (np.asarray(layer.weight), np.asarray(layer.bias)):
        assert 0.09 < np.abs(values).max() <= 0.1
        assert values.std() == pytest.approx(0.1 / np.sqrt(3), rel=0.1) and abs(values.mean()) < 0.01
    before = np.array(layer.weight)
    layer.reset_parameters()
    assert not np.array_equal(before, layer.weight)


def test_linear_without_bias_has_a_place_for_one():
    layer = nn.Linear(2, 3, bias=False, dtype="float64")
    assert layer.bias is None and list(layer.state_dict()) == ["weight"] and layer.weight.dtype == minidl.float64
    layer.bias = nn.Parameter(minidl.ones(3, dtype="float64"))
    assert list(layer.state_dict()) == ["weight", "bias"]
    assert repr(layer) == "Linear(in_features=2, out_features=3, bias=True)"


def test_flatten_and_unflatten():
    x = leaf(2, 3, 4, 5)
    assert nn.Flatten()(x).shape == (2, 60) and nn.Flatten(0, 1)(x).shape == (6, 4, 5)
    assert nn.Flatten()(minidl.ones(0, 3, 4)).shape == (0, 12)
    y = nn.Unflatten(1, (3, 4, 5))(nn.Flatten()(x))
    assert np.array_equal(y, x)
    check_gradients(nn.Flatten(1, 2), x)
    check_gradients(nn.Unflatten(-1, [5, 1]), x)
    assert repr(nn.Unflatten(1, [2, 3])) == "Unflatten(dim=1, unflattened_size=(2, 3))"


def test_identity():
    x = leaf(2)
    assert nn.Identity(1, any=2)(x) is x
