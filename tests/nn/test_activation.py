"""Activations as layers: the function, its options, and how they are shown."""

import pytest

import minidl
from minidl import nn
from tests.checks import check_gradients, leaf

LAYERS = [
    (nn.ReLU(), minidl.relu, "ReLU()"), (nn.ReLU(inplace=True), minidl.relu, "ReLU(inplace=True)"),
    (nn.ReLU6(True), minidl.relu6, "ReLU6(inplace=True)"), (nn.SELU(), minidl.selu, "SELU()"),
    (nn.SiLU(), minidl.silu, "SiLU()"), (nn.Hardswish(), minidl.hardswish, "Hardswish()"),
    (nn.Hardsigmoid(), minidl.hardsigmoid, "Hardsigmoid()"), (nn.Sigmoid(), minidl.sigmoid, "Sigmoid()"),
    (nn.Tanh(), minidl.tanh, "Tanh()"), (nn.LogSigmoid(), minidl.logsigmoid, "LogSigmoid()"),
    (nn.LeakyReLU(), minidl.leaky_relu, "LeakyReLU(negative_slope=0.01)"),
    (nn.LeakyReLU(0.3, True), lambda x: minidl.leaky_relu(x, 0.3), "LeakyReLU(negative_slope=0.3, inplace=True)"),
    (nn.ELU(1.5), lambda x: minidl.elu(x, 1.5), "ELU(alpha=1.5)"), (nn.GELU(), minidl.gelu, "GELU(approximate='none')"),
    (nn.GELU("tanh"), lambda x: minidl.gelu(x, approximate="tanh"), "GELU(approximate='tanh')"),
    (nn.Softplus(), minidl.softplus, "Softplus(beta=1.0, threshold=20.0)"),
    (nn.Softplus(2.0, 1.0), lambda x: minidl.softplus(x, 2, 1), "Softplus(beta=2.0, threshold=1.0)"),
    (nn.Hardtanh(), minidl.hardtanh, "Hardtanh(min_val=-1.0, max_val=1.0)"),
    (nn.Hardtanh(-0.5, 2), lambda x: minidl.hardtanh(x, -0.5, 2), "Hardtanh(min_val=-0.5, max_val=2)"),
    (nn.Softmax(1), lambda x: minidl.softmax(x, 1), "Softmax(dim=1)"),
    (nn.LogSoftmax(dim=0), lambda x: minidl.log_softmax(x, 0), "LogSoftmax(dim=0)"),
]


@pytest.mark.parametrize("layer, function, shown", LAYERS, ids=[shown for _, _, shown in LAYERS])
def test_layers(layer, function, shown):
    x = leaf(3, 4)
    assert layer(x).tolist() == function(x).tolist()
    assert repr(layer) == shown and not layer.state_dict()


@pytest.mark.parametrize("channels", [1, 3])
def test_prelu(channels):
    layer = nn.PReLU(channels, init=0.5, dtype="float64")
    assert list(layer.state_dict()) == ["weight"] and layer.weight.tolist() == [0.5] * channels
    x = leaf(2, 3, 4)
    assert layer(x).tolist() == minidl.leaky_relu(x, 0.5).tolist()
    check_gradients(layer, x)
    assert repr(nn.PReLU()) == "PReLU(num_parameters=1)" and nn.PReLU().weight.dtype == minidl.float32


def test_hardtanh_of_nothing():
    with pytest.raises(ValueError, match="min_val must be less than max_val"):
        nn.Hardtanh(1, 1)
