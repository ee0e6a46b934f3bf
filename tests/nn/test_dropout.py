"""Dropout as layers."""

import pytest

import minidl
from minidl import nn


@pytest.mark.parametrize("layer, function", [(nn.Dropout, minidl.dropout), (nn.Dropout2d, minidl.dropout2d)])
def test_layers_act_in_training_only(layer, function):
    x, drop = minidl.randn(3, 4, 5, 2), layer(0.3)
    minidl.manual_seed(0)
    y = drop(x)
    minidl.manual_seed(0)
    assert (y == function(x, 0.3)).all() and not (y == x).all()
    assert drop.eval()(x) is x
    assert repr(layer(p=0.3, inplace=True)) == f"{layer.__name__}(p=0.3, inplace=True)"
    assert not (layer(inplace=True)(x) == x).all() and not list(drop.parameters()) and not drop.state_dict()


@pytest.mark.parametrize("layer", [nn.Dropout, nn.Dropout2d])
def test_probability_is_checked_at_construction(layer):
    with pytest.raises(ValueError, match="from 0 to 1, got 1.5"):
        layer(1.5)
