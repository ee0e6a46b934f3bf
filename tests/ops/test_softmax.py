"""Softmax, log_softmax and logsumexp: values at the extremes, gradients of both orders, axes, dtypes."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError
from tests.checks import check_gradients, leaf

INF, NAN = math.inf, math.nan
FUNCTIONS = [minidl.softmax, minidl.log_softmax]


def expected(name, x, dim):
    """By the definition, without any shift."""
    e = np.exp(x)
    total = e.sum(dim, keepdims=True)
    return {"softmax": e / total, "log_softmax": np.log(e / total), "logsumexp": np.log(total).squeeze(dim)}[name]


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_values_and_both_derivatives(name, dim, strided, backend):
    x = leaf(2, 3, 4, strided=strided)
    with minidl.use_backend(backend):
        y = getattr(minidl, name)(x, dim)
        np.testing.assert_allclose(y.detach().numpy(), expected(name, np.asarray(x), dim), rtol=1e-13, atol=1e-14)
        check_gradients(lambda x: getattr(x, name)(dim), x)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_composite_is_the_same_function(function):
    x = leaf(3, 4)
    y = function(x, 1)
    np.testing.assert_allclose(y.op.composite(x).detach().numpy(), y.detach().numpy(), rtol=1e-14)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_higher_order_where_the_input_is_used_twice(function):
    """F(x, g(x)) must not give total derivatives."""
    check_gradients(lambda x: function(x * x, 0) * x, leaf(4))


@pytest.mark.parametrize("dim, keepdim, shape", [((0, 2), False, (3,)), ((0, 2), True, (1, 3, 1)), (1, True, (2, 1, 4)),
                                                 (-1, False, (2, 3))])
def test_logsumexp_over_several_axes(dim, keepdim, shape):
    x = leaf(2, 3, 4)
    y = minidl.logsumexp(x, dim, keepdim)
    assert y.shape == shape
    np.testing.assert_allclose(y.detach().numpy(), np.log(np.exp(np.asarray(x)).sum(dim, keepdims=keepdim)))
    check_gradients(lambda x: x.logsumexp(dim, keepdim), x)


def test_extremes():
    x = minidl.tensor([[1e4, 0.0, -1e4]])
    assert minidl.log_softmax(x, 1).tolist() == [[0, -1e4, -2e4]]
    assert minidl.softmax(x, 1).tolist() == [[1, 0, 0]]
    assert minidl.logsumexp(x, 1).tolist() == [1e4]
    assert minidl.logsumexp(minidl.tensor([-INF, -INF]), 0).item() == -INF
    assert minidl.logsumexp(minidl.tensor([INF, 1.0]), 0).item() == INF
    assert minidl.logsumexp(minidl.tensor([-INF, 1.0]), 0).item() == 1
    assert math.isnan(minidl.logsumexp(minidl.tensor([NAN, 1.0, 2.0]), 0).item())
    assert minidl.logsumexp(minidl.tensor([1000.0, 1000.0]), 0, keepdim=True).shape == (1,)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_each_row_has_its_own_maximum(function):
    rows = minidl.tensor([[1e4, 0.0], [-1e4, 0.0]])
    together = function(rows, 1)
    assert together.tolist() == [function(rows[i], 0).tolist() for i in range(2)]


def test_masked_scores_get_no_gradient():
    x = minidl.tensor([[1.0, -INF, 2.0]], requires_grad=True)
    minidl.softmax(x, 1)[0, 2].backward()
    p = 1 / (1 + math.e)
    np.testing.assert_allclose(x.grad.numpy(), [[-p * (1 - p), 0, p * (1 - p)]], rtol=1e-6)
    x = minidl.tensor([-INF, 1.0], requires_grad=True)
    minidl.logsumexp(x, 0).backward()
    assert x.grad.tolist() == [0, 1]


@pytest.mark.parametrize("dtype", [minidl.float16, minidl.float32, minidl.float64])
@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_dtypes(name, dtype):
    x = minidl.tensor([[1.0, 2.0], [3.0, 5.0]], dtype=dtype, requires_grad=True)
    y = getattr(minidl, name)(x, 1)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    if name != "logsumexp":
        assert getattr(minidl, name)(x, 1, dtype=minidl.float64).dtype == minidl.float64


def test_sizes_of_one_and_nothing():
    single = minidl.tensor(3.0, requires_grad=True)
    for function, value in ((minidl.softmax, 1), (minidl.log_softmax, 0), (minidl.logsumexp, 3)):
        y = function(single, 0)
        assert y.shape == () and y.item() == value
        y.backward()
    assert minidl.softmax(minidl.zeros(3, 1), 1).tolist() == [[1], [1], [1]]
    assert minidl.softmax(minidl.zeros(0, 3), 1).shape == (0, 3)
    assert minidl.softmax(minidl.zeros(3, 0), 1).shape == (3, 0)
    assert minidl.logsumexp(minidl.zeros(2, 0), 1).tolist() == [-INF, -INF]


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "logsumexp"])
def test_mistakes(name):
    with pytest.raises(IndexError, match="out of range"):
        getattr(minidl, name)(minidl.ones(2, 3), 2)
    with pytest.raises(DtypeError, match="floating-point"):
        getattr(minidl, name)(minidl.tensor([1, 2]), 0)
