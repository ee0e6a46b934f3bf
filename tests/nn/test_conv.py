"""Convolution layers: they hold the right parameters and hand their options on."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ShapeError
from minidl.ops import conv


def test_conv2d_hands_its_options_on():
    layer = nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
    assert layer.weight.shape == (6, 2, 3, 2) and layer.bias.shape == (6,)
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    x = minidl.randn(2, 4, 7, 8)
    want = conv.conv2d(x, layer.weight, layer.bias, (2, 1), (1, 0), (1, 2), 2)
    assert np.array_equal(layer(x), want)
    layer(x).sum().backward()
    assert np.asarray(layer.weight.grad).any() and np.asarray(layer.bias.grad).any()


def test_conv_transpose2d_hands_its_options_on():
    layer = nn.ConvTranspose2d(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), output_padding=(1, 2), groups=2, dilation=(1, 2))
    assert layer.weight.shape == (4, 3, 3, 2) and layer.bias.shape == (6,)
    x = minidl.randn(2, 4, 7, 8)
    want = conv.conv_transpose2d(x, layer.weight, layer.bias, (2, 3), (1, 0), (1, 2), 2, (1, 2))
    assert np.array_equal(layer(x), want)


def test_output_size():
    down, up = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.ConvTranspose2d(4, 3, 3, stride=2, padding=1)
    for size in ((7, 10), (8, 9)):
        x = minidl.randn(2, 3, *size)
        assert up(down(x), output_size=size).shape == x.shape == up(down(x), output_size=x.shape).shape
    with pytest.raises(ShapeError, match=r"between \(7, 9\) and \(8, 10\), got \(9, 9\)"):
        up(down(x), output_size=(9, 9))


def test_unfold_and_fold_hand_their_options_on():
    x, options = minidl.randn(2, 3, 7, 8), dict(kernel_size=(3, 2), dilation=(1, 2), padding=(1, 0), stride=(2, 1))
    cols = nn.Unfold(**options)(x)
    assert np.array_equal(cols, conv.unfold(x, **options))
    assert np.array_equal(nn.Fold((7, 8), **options)(cols), conv.fold(cols, (7, 8), **options))


@pytest.mark.parametrize("layer, fan", [(lambda: nn.Conv2d(8, 64, (5, 3), groups=2), 4 * 15),
                                        (lambda: nn.ConvTranspose2d(64, 8, (5, 3), groups=2), 4 * 15)])
def test_initial_values_fill_the_interval(layer, fan):
    minidl.manual_seed(0)
    layer, bound = layer(), 1 / math.sqrt(fan)
    for parameter in (layer.weight, layer.bias):
        values = np.asarray(parameter)
        assert abs(values).max() <= bound
        assert values.min() < -0.5 * bound and values.max() > 0.5 * bound
    assert np.asarray(layer.weight).std() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    before = np.array(layer.weight)
    layer.reset_parameters()
    assert not np.array_equal(before, layer.weight)


def test_no_bias_and_dtype():
    layer = nn.Conv2d(2, 3, 2, bias=False, dtype=minidl.float64)
    assert layer.bias is None and list(layer.state_dict()) == ["weight"] and layer.weight.dtype == minidl.float64
    assert layer(minidl.ones(1, 2, 3, 3, dtype="float64")).shape == (1, 3, 2, 2)


@pytest.mark.parametrize("layer, text", [
    (lambda: nn.Conv2d(1, 6, 5), "Conv2d(1, 6, kernel_size=(5, 5), stride=(1, 1))"),
    (lambda: nn.Conv2d(4, 6, (3, 1), 2, "valid", 2, 2, bias=False),
     "Conv2d(4, 6, kernel_size=(3, 1), stride=(2, 2), padding='valid', dilation=(2, 2), groups=2, bias=False)"),
    (lambda: nn.ConvTranspose2d(4, 6, 3, 2, 1, 1),
     "ConvTranspose2d(4, 6, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1), output_padding=(1, 1))"),
    (lambda: nn.Unfold(2, stride=2), "Unfold(kernel_size=2, dilation=1, padding=0, stride=2)"),
    (lambda: nn.Fold((4, 5), 2), "Fold(output_size=(4, 5), kernel_size=2, dilation=1, padding=0, stride=1)"),
])
def test_repr(layer, text):
    assert repr(layer()) == text


def test_mistakes():
    with pytest.raises(ShapeError, match="groups=3 must divide in_channels=4"):
        nn.Conv2d(4, 6, 3, groups=3)
    with pytest.raises(ValueError, match="'zeros' only, got 'circular'"):
        nn.Conv2d(4, 6, 3, padding_mode="circular")
    with pytest.raises(TypeError, match="kernel_size"):
        nn.Conv2d(4, 6, "3")
