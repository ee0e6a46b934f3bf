"""Activations against their formulas, finite differences, and the values at their edges."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from tests.checks import check_gradients, gradients_of, leaf

NAN, INF = math.nan, math.inf


def sigmoid(v):
    return 1 / (1 + math.exp(-v))


def elu(v, alpha):
    return v if v > 0 else alpha * math.expm1(v)


FUNCTIONS = {  # by name: the call, and the same of a Python float
    "relu": (minidl.relu, lambda v: max(v, 0)),
    "leaky_relu": (lambda x: minidl.leaky_relu(x, 0.3), lambda v: v if v > 0 else 0.3 * v),
    "elu": (lambda x: minidl.elu(x, 1.5), lambda v: elu(v, 1.5)),
    "selu": (minidl.selu, lambda v: 1.0507009873554805 * elu(v, 1.6732632423543772)),
    "gelu": (minidl.gelu, lambda v: v * (1 + math.erf(v / math.sqrt(2))) / 2),
    "gelu_tanh": (lambda x: minidl.gelu(x, approximate="tanh"),
                  lambda v: v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) / 2),
    "silu": (minidl.silu, lambda v: v * sigmoid(v)),
    "softplus": (lambda x: minidl.softplus(x, 3, 4), lambda v: v if 3 * v > 4 else math.log1p(math.exp(3 * v)) / 3),
    "logsigmoid": (minidl.logsigmoid, lambda v: -math.log1p(math.exp(-v))),
    "hardtanh": (lambda x: minidl.hardtanh(x, -0.7, 1.1), lambda v: min(max(v, -0.7), 1.1)),
    "relu6": (lambda x: minidl.relu6(x * 4), lambda v: min(max(4 * v, 0), 6)),
    "hardsigmoid": (lambda x: minidl.hardsigmoid(x * 2), lambda v: min(max(2 * v + 3, 0), 6) / 6),
    "hardswish": (lambda x: minidl.hardswish(x * 2), lambda v: 2 * v * min(max(2 * v + 3, 0), 6) / 6),
    "prelu": (lambda x: minidl.prelu(x, minidl.tensor(0.25, dtype=x.dtype)), lambda v: v if v > 0 else 0.25 * v),
}

every = pytest.mark.parametrize("name", FUNCTIONS)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", [(), (7,), (0, 3), (2, 1, 4), (2, 3, 4, 5)])
@every
def test_values_and_gradients(name, shape, strided, backend):
    function, formula = FUNCTIONS[name]
    x = leaf(*shape, strided=strided)
    before = np.array(x)
    with minidl.use_backend(backend):
        y = function(x)
        np.testing.assert_allclose(y, np.vectorize(formula, otypes=[float])(np.asarray(x)), rtol=1e-13, atol=1e-15)
        if x.numel() < 30:
            check_gradients(function, x)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("dtype, tolerance", [("float16", 2e-3), ("float32", 1e-6)])
@every
def test_dtypes_stay(name, dtype, tolerance):
    function, formula = FUNCTIONS[name]
    x = leaf(50, low=-6, high=6).detach().to(dtype).requires_grad_()
    y = function(x)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == x.dtype
    np.testing.assert_allclose(y, [formula(v) for v in x.tolist()], rtol=tolerance, atol=tolerance)


@every
def test_nan_and_infinities(name):
    function, _ = FUNCTIONS[name]
    y = function(minidl.tensor([NAN, INF, 1.0])).tolist()
    assert math.isnan(y[0]) and y[1] >= 0 and math.isfinite(y[2])


EDGES = [("relu", [0.0], [0]), ("leaky_relu", [0.0], [0.3]), ("elu", [0.0], [1.5]), ("gelu", [0.0], [0.5]),
         ("hardtanh", [-0.7, 1.1], [0, 0]), ("relu6", [0.0, 1.5], [0, 0]), ("hardsigmoid", [-1.5, 1.5], [0, 0]),
         ("logsigmoid", [0.0, -1e3, 1e3], [0.5, 1, 0]), ("softplus", [0.0, -1e3, 1e3], [0.5, 0, 1]), ("prelu", [0.0], [0.25])]


@pytest.mark.parametrize("name, places, gradients", EDGES)
def test_derivatives_at_the_edges(name, places, gradients):
    x = minidl.tensor(places, dtype="float64", requires_grad=True)
    assert gradients_of(FUNCTIONS[name][0], x)[0].tolist() == pytest.approx(gradients)


def test_large_arguments():
    assert minidl.softplus(minidl.tensor([1e3, -1e3])).tolist() == [1000, 0]
    assert minidl.logsigmoid(minidl.tensor([1e3, -1e3])).tolist() == [0, -1000]
    assert minidl.softplus(minidl.tensor([15.0], dtype="float16")).item() == 15  # e^15 exceeds float16
    assert minidl.gelu(minidl.tensor([100.0, -100.0], dtype="float16"), approximate="tanh").tolist() == [100, 0]
    assert minidl.relu(minidl.tensor([-INF])).item() == 0 and minidl.elu(minidl.tensor([-INF])).item() == -1


@pytest.mark.parametrize("shape, channels", [((4, 3), 3), ((2, 3, 4), 3), ((2, 3, 4, 5), 3), ((2, 3, 4), 1), ((5,), 1), ((), 1)])
def test_prelu_of_channels(shape, channels):
    x, weight = leaf(*shape), leaf(channels, seed=1)
    slopes = np.asarray(weight).reshape(-1, *[1] * (len(shape) - 2)) if channels > 1 else np.asarray(weight)[0]
    np.testing.assert_array_equal(minidl.prelu(x, weight), np.where(np.asarray(x) > 0, np.asarray(x), slopes * np.asarray(x)))
    check_gradients(minidl.prelu, x, weight)


def test_relu_of_integers():
    assert minidl.relu(minidl.tensor([-1, 0, 2])).tolist() == [0, 0, 2]


def test_relu_keeps_its_output_only():
    x = leaf(3)
    h = x * 1
    alive = np.asarray(h)
    y = minidl.relu(h)
    (kept,) = y.op.saved
    assert kept.array is y.array and kept.array is not alive


def test_inplace_has_no_effect():
    x = minidl.tensor([-1.0, 2.0], requires_grad=True)
    for function in (minidl.relu, minidl.leaky_relu, minidl.elu, minidl.selu, minidl.silu, minidl.hardtanh, minidl.relu6,
                     minidl.hardsigmoid, minidl.hardswish):
        function(x, inplace=True).sum().backward()
        assert x.tolist() == [-1, 2]


def test_errors():
    with pytest.raises(ValueError, match="'none' or 'tanh'"):
        minidl.gelu(minidl.ones(2), approximate="fast")
    with pytest.raises(ValueError, match="must not be greater"):
        minidl.hardtanh(minidl.ones(2), 2, 1)
    with pytest.raises(ShapeError, match="C=3"):
        minidl.prelu(minidl.ones(2, 3), minidl.ones(2))
    with pytest.raises(ShapeError, match="C=3"):
        minidl.prelu(minidl.ones(2, 3), minidl.ones(3, 1))
    for function in (minidl.leaky_relu, minidl.elu, minidl.selu, minidl.gelu, minidl.silu, minidl.softplus, minidl.logsigmoid,
                     minidl.hardtanh, minidl.relu6, minidl.hardsigmoid, minidl.hardswish):
        with pytest.raises(DtypeError, match="floating-point"):
            function(minidl.tensor([1, 2]))


@pytest.mark.parametrize("backend", ["portable", None])
def test_add_relu(backend):
    x, y = leaf(2, 3, 5), leaf(2, 3, 5)
    with minidl.use_backend(backend):
        assert minidl.equal(minidl.ops.add_relu(x, y), minidl.relu(x + y))
        check_gradients(minidl.ops.add_relu, x, y)
        row = leaf(5)
        assert minidl.equal(minidl.ops.add_relu(x, row), minidl.relu(x + row))
        check_gradients(minidl.ops.add_relu, x, row)
    twice = leaf(4)
    minidl.ops.add_relu(twice, twice).sum().backward()
    np.testing.assert_array_equal(twice.grad, 2.0 * (np.asarray(twice) > 0))
