"""Initialisers: the scale they promise, within what chance allows, and that they change the tensor itself, unrecorded."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from minidl.nn import Parameter, init
from minidl.random import Generator

SHAPE = 60, 50, 3, 5  # 45,000 weights
FAN_IN, FAN_OUT = 50 * 3 * 5, 60 * 3 * 5


def weight(*shape, dtype=minidl.float32):
    return Parameter(minidl.zeros(*shape, dtype=dtype))


def within(bound):
    return -bound, bound


UNIFORM = {
    "uniform_": (lambda w, g: init.uniform_(w, -0.2, 0.6, generator=g), -0.2, 0.6),
    "xavier": (lambda w, g: init.xavier_uniform_(w, gain=2, generator=g), *within(2 * math.sqrt(6 / (FAN_IN + FAN_OUT)))),
    "kaiming": (lambda w, g: init.kaiming_uniform_(w, generator=g), *within(math.sqrt(6 / FAN_IN))),
    "kaiming, a": (lambda w, g: init.kaiming_uniform_(w, a=math.sqrt(5), generator=g), *within(1 / math.sqrt(FAN_IN))),
    "kaiming, fan_out": (lambda w, g: init.kaiming_uniform_(w, mode="fan_out", nonlinearity="tanh", generator=g),
                         *within(5 / 3 * math.sqrt(3 / FAN_OUT))),
}
NORMAL = {
    "normal_": (lambda w, g: init.normal_(w, 3, 0.5, generator=g), 3, 0.5),
    "xavier": (lambda w, g: init.xavier_normal_(w, generator=g), 0, math.sqrt(2 / (FAN_IN + FAN_OUT))),
    "kaiming": (lambda w, g: init.kaiming_normal_(w, nonlinearity="relu", generator=g), 0, math.sqrt(2 / FAN_IN)),
    "kaiming, fan_out": (lambda w, g: init.kaiming_normal_(w, mode="fan_out", nonlinearity="linear", generator=g),
                         0, math.sqrt(1 / FAN_OUT)),
}


def check_in_place(fill, tensor):
    array, before = tensor.array, tensor.requires_grad
    assert fill(tensor, Generator(0)) is tensor
    assert tensor.array is array and tensor.requires_grad == before and tensor.is_leaf
    first = np.array(tensor)
    fill(tensor, Generator(0))
    np.testing.assert_array_equal(tensor, first)
    minidl.manual_seed(0)
    fill(tensor, None)
    np.testing.assert_array_equal(tensor, first)
    return first.astype(np.float64)


@pytest.mark.parametrize("name", UNIFORM)
def test_uniform(name):
    fill, low, high = UNIFORM[name]
    w = check_in_place(fill, weight(*SHAPE))
    assert low <= w.min() < low + 0.001 * (high - low) and high - 0.001 * (high - low) < w.max() <= high
    assert abs(w.mean() - (low + high) / 2) < 4 * (high - low) / math.sqrt(12 * w.size)


@pytest.mark.parametrize("name", NORMAL)
def test_normal(name):
    fill, mean, std = NORMAL[name]
    w = check_in_place(fill, weight(*SHAPE))
    assert abs(w.mean() - mean) < 4 * std / math.sqrt(w.size) and abs(w.std() / std - 1) < 4 / math.sqrt(2 * w.size)


def test_truncated_normal():
    w = check_in_place(lambda w, g: init.trunc_normal_(w, 1.0, 2.0, 0.0, 4.0, generator=g), weight(200, 100))
    assert 0 <= w.min() < 0.01 and 3.99 < w.max() <= 4
    a, b = -0.5, 1.5  # in standard deviations; moments of the truncated normal distribution
    def density(z):
        return math.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    mass = (math.erf(b / math.sqrt(2)) - math.erf(a / math.sqrt(2))) / 2
    mean = (density(a) - density(b)) / mass
    variance = 1 + (a * density(a) - b * density(b)) / mass - mean**2
    assert abs((w.mean() - 1) / 2 - mean) < 4 * math.sqrt(variance / w.size)
    assert abs(w.var() / 4 / variance - 1) < 4 * math.sqrt(2 / w.size)
    with pytest.raises(ValueError, match="almost never"):
        init.trunc_normal_(weight(2, 2), 0, 1, 5, 6)


def test_constants():
    assert (init.constant_(weight(2, 3), 0.3) == np.float32(0.3)).all()
    assert (init.ones_(weight(2, 3)) == 1).all() and (init.zeros_(init.ones_(weight(2, 3))) == 0).all()
    assert init.eye_(weight(2, 3)).tolist() == [[1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize("shape", [(5, 5), (3, 7), (7, 3), (4, 2, 3, 1), (2, 3, 2, 2)])
def test_orthogonal(shape):
    w = check_in_place(lambda w, g: init.orthogonal_(w, gain=3, generator=g), weight(*shape, dtype=minidl.float64))
    flat = w.reshape(shape[0], -1)
    gram = flat @ flat.T if flat.shape[0] <= flat.shape[1] else flat.T @ flat
    np.testing.assert_allclose(gram, 9 * np.eye(min(flat.shape)), atol=1e-12)


def test_orthogonal_signs_are_not_those_of_the_decomposition():
    """LAPACK's Q has a diagonal of one sign; a uniform draw has both."""
    signs = {np.sign(init.orthogonal_(weight(1, 1), generator=Generator(seed)).item()) for seed in range(20)}
    assert signs == {-1, 1}


@pytest.mark.parametrize("groups", [1, 2])
def test_dirac_hands_channels_on(groups):
    w = np.asarray(init.dirac_(weight(10, 4, 3, 6), groups=groups))
    outputs = 10 // groups
    for o, c, i, j in np.ndindex(w.shape):
        assert w[o, c, i, j] == (o % outputs == c and (i, j) == (1, 3))


def test_gains():
    assert init.calculate_gain("leaky_relu", 0.2) == math.sqrt(2 / 1.04)
    assert init.calculate_gain("leaky_relu") == math.sqrt(2 / 1.0001)
    assert [init.calculate_gain(n) for n in ("linear", "conv_transpose3d", "tanh", "selu")] == [1, 1, 5 / 3, 0.75]
    with pytest.raises(ValueError, match="choose one of linear"):
        init.calculate_gain("swish")


def test_filling_is_a_write():
    w = weight(2, 2)
    y = (w * w).sum()
    init.ones_(w)
    with pytest.raises(minidl.errors.GraphError, match="changed in place"):
        y.backward()


def test_weights_without_elements():
    assert init.kaiming_uniform_(weight(0, 3)).shape == (0, 3) and init.kaiming_uniform_(weight(3, 0)).shape == (3, 0)


@pytest.mark.parametrize("call, error", [
    (lambda: init.xavier_uniform_(weight(3)), ShapeError),
    (lambda: init.orthogonal_(weight(3)), ShapeError),
    (lambda: init.eye_(weight(3, 3, 3)), ShapeError),
    (lambda: init.dirac_(weight(3, 3)), ShapeError),
    (lambda: init.dirac_(weight(3, 2, 1, 1), groups=2), ShapeError),
    (lambda: init.kaiming_normal_(weight(3, 3), mode="fan"), ValueError),
    (lambda: init.normal_(weight(3, 3), std=-1), ValueError),
    (lambda: init.uniform_(minidl.zeros(3).long()), DtypeError),
])
def test_mistakes(call, error):
    with pytest.raises(error):
        call()
