"""Activations against PyTorch: values and gradients of both orders, also at kinks, infinities and NaN."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional

CALLS = [("relu", {}), ("relu6", {}), ("leaky_relu", {}), ("leaky_relu", {"negative_slope": 0.3}), ("elu", {}),
         ("elu", {"alpha": 1.5}), ("selu", {}), ("gelu", {}), ("gelu", {"approximate": "tanh"}), ("silu", {}), ("softplus", {}),
         ("softplus", {"beta": 3, "threshold": 4}), ("logsigmoid", {}), ("hardtanh", {}),
         ("hardtanh", {"min_val": -0.5, "max_val": 2.0}), ("hardsigmoid", {}), ("hardswish", {})]
POINTS = [-math.inf, -50.0, -20.5, -3.0, -1.0, -0.5, 0.0, 0.3, 1.0, 2.0, 3.0, 4.0, 6.0, 20.5, 50.0, math.inf, math.nan]


@pytest.mark.parametrize("name, options", CALLS)
def test_values_and_gradients(name, options):
    finite = [v for v in POINTS if math.isfinite(v)]
    x = minidl.tensor(finite, dtype="float64", requires_grad=True)
    t = torch.tensor(finite, dtype=torch.float64, requires_grad=True)
    y, ty = getattr(minidl, name)(x, **options), getattr(F, name)(t, **options)
    np.testing.assert_allclose(y.detach().numpy(), ty.detach().numpy(), rtol=1e-12, atol=1e-15)
    second = name != "hardsigmoid"  # of which PyTorch has no second derivative
    (g,) = minidl.autograd.grad((y * y).sum(), x, create_graph=second)
    (tg,) = torch.autograd.grad((ty * ty).sum(), t, create_graph=second)
    tolerance = 1e-7 if name == "hardsigmoid" else 1e-11  # PyTorch rounds the slope 1/6 to float32
    np.testing.assert_allclose(g.detach().numpy(), tg.detach().numpy(), rtol=tolerance, atol=1e-14)
    if second:
        g.sum().backward()
        tg.sum().backward()
        np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name, options", CALLS)
def test_infinities_and_nan(name, options):
    array = np.array(POINTS)  # float64: in float32 PyTorch's gelu(inf) is NaN
    y, ty = getattr(minidl, name)(minidl.tensor(array), **options), getattr(F, name)(torch.tensor(array), **options)
    np.testing.assert_allclose(y.numpy(), ty.numpy(), rtol=1e-12, atol=1e-15, equal_nan=True)


@pytest.mark.parametrize("name, options", CALLS)
def test_half_precision(name, options):
    array = np.linspace(-8, 8, 101).astype(np.float16)
    y, ty = getattr(minidl, name)(minidl.tensor(array), **options), getattr(F, name)(torch.tensor(array), **options)
    assert y.dtype == minidl.float16
    np.testing.assert_allclose(y.numpy(), ty.numpy(), rtol=3e-3, atol=1e-3)


@pytest.mark.parametrize("shape, channels", [((4, 3), 3), ((2, 3, 4), 3), ((2, 3, 4), 1), ((5,), 1), ((), 1)])
def test_prelu(shape, channels):
    random = np.random.default_rng(0)
    array, slopes = random.standard_normal(shape), random.standard_normal(channels)
    array = np.where(array > 1, 0, array)
    x, w = minidl.tensor(array, requires_grad=True), minidl.tensor(slopes, requires_grad=True)
    t, tw = torch.tensor(array, requires_grad=True), torch.tensor(slopes, requires_grad=True)
    y, ty = minidl.prelu(x, w), F.prelu(t, tw)
    np.testing.assert_array_equal(y.detach().numpy(), ty.detach().numpy())
    y.sum().backward()
    ty.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), t.grad.numpy(), rtol=1e-12)
    np.testing.assert_allclose(w.grad.numpy(), tw.grad.numpy(), rtol=1e-12)


LAYERS = [("ReLU", ()), ("ReLU", (True,)), ("LeakyReLU", ()), ("LeakyReLU", (0.2, True)), ("ELU", ()), ("SELU", ()), ("GELU", ()),
          ("SiLU", ()), ("Sigmoid", ()), ("Tanh", ()), ("Softplus", ()), ("Hardtanh", ()), ("Hardtanh", (-2, 0.5, True)),
          ("ReLU6", ()), ("PReLU", ()), ("PReLU", (3, 0.1)), ("LogSigmoid", ()), ("Softmax", (1,)), ("LogSoftmax", (0,)),
          ("Hardsigmoid", ()), ("Hardswish", ())]


@pytest.mark.parametrize("name, args", LAYERS)
def test_layers(name, args):
    layer, peer = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    assert repr(layer) == repr(peer) and list(layer.state_dict()) == list(peer.state_dict())
    array = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    ours, theirs = layer(minidl.tensor(array)).detach().numpy(), peer(torch.tensor(array)).detach().numpy()
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)
