"""Dropout: the mask, its use in both directions and orders, and what must stay as it is."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from minidl.ops.dropout import Mask
from minidl.random import Generator
from tests.checks import check_gradients, leaf


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("dtype", [minidl.float32, minidl.float64])
def test_elements_are_zero_or_scaled(backend, dtype):
    x = minidl.tensor(np.arange(1, 100_001).reshape(4, 250, 100).astype(dtype))
    with minidl.use_backend(backend):
        y = minidl.dropout(x, 0.3, generator=Generator(0))
    kept = y.numpy() != 0
    np.testing.assert_array_equal(y.numpy(), np.where(kept, x.numpy() * dtype.type(1 / 0.7), 0))
    assert y.dtype == dtype
    assert abs(kept.mean() - 0.7) < 4 * math.sqrt(0.21 / kept.size)
    assert abs(minidl.dropout(minidl.ones(100_000), 0.9, generator=Generator(1)).mean().item() - 1) < 4 * 3 / math.sqrt(1e5)


def test_mask_comes_from_the_generator():
    x = minidl.ones(50)
    minidl.manual_seed(3)
    first, second = minidl.dropout(x), minidl.dropout(x)
    assert not (first == second).all()
    assert (minidl.dropout(x, generator=Generator(3)) == first).all()


@pytest.mark.parametrize("function, shape, mask_shape", [
    (minidl.dropout, (3, 4, 5, 2), (3, 4, 5, 2)), (minidl.dropout2d, (3, 4, 5, 2), (3, 4, 1, 1)),
    (minidl.dropout2d, (3, 4, 5), (3, 4, 1)), (minidl.dropout, (), ()), (minidl.dropout, (0, 3), (0, 3)),
])
def test_backward_uses_the_same_mask(function, shape, mask_shape):
    x, gy = leaf(*shape, low=1, strided=len(shape) > 1), np.random.default_rng(0).standard_normal(shape)
    y = function(x, 0.4, generator=Generator(1))
    y.backward(minidl.tensor(gy))
    factor = y.detach().numpy() / np.asarray(x)
    assert np.allclose(np.where(factor == 0, 0, 1 / 0.6), factor)
    np.testing.assert_allclose(x.grad.numpy(), gy * factor, rtol=1e-15)
    assert y.op.mask.dtype == bool and y.op.mask.shape == mask_shape  # one byte an element, or one a channel


def test_channels_fall_as_a_whole():
    y = minidl.dropout2d(minidl.ones(40, 25, 3, 2), 0.25, generator=Generator(0)).numpy().reshape(1000, 6)
    assert (y == y[:, :1]).all()
    assert abs((y[:, 0] == 0).mean() - 0.25) < 4 * math.sqrt(0.1875 / 1000)


def test_p_of_one_gives_zeros_and_zero_gradient():
    x = leaf(3, 4)
    y = minidl.dropout(x, 1.0)
    y.sum().backward()
    assert (y.detach() == 0).all() and (x.grad == 0).all()


@pytest.mark.parametrize("function", [minidl.dropout, minidl.dropout2d])
def test_nothing_falls_in_evaluation_or_for_p_of_zero(function):
    x, state = minidl.ones(2, 3, 4), minidl.get_rng_state()
    assert function(x, 0.5, training=False) is x and function(x, 0.0) is x
    assert minidl.get_rng_state() == state


@pytest.mark.parametrize("mask_shape", [(3, 4), (3, 1)])
def test_derivatives_at_a_fixed_mask(mask_shape):
    mask = minidl.tensor(np.random.default_rng(0).random(mask_shape) < 0.5).array
    check_gradients(lambda x: Mask(mask, 2.0)(x * x), leaf(3, 4))


def test_second_backward_draws_no_new_mask():
    x = leaf(100)
    y = minidl.dropout(x * x, 0.5)
    state = minidl.get_rng_state()
    (gx,) = minidl.autograd.grad(y.sum(), x, create_graph=True)
    (ggx,) = minidl.autograd.grad(gx.sum(), x)
    assert minidl.get_rng_state() == state
    np.testing.assert_array_equal(ggx.numpy() != 0, y.detach().numpy() != 0)


def test_half_precision():
    y = minidl.dropout(minidl.ones(1000, dtype=minidl.float16), 0.1)
    assert y.dtype == minidl.float16 and set(y.tolist()) == {0.0, float(np.float16(1 / 0.9))}


@pytest.mark.parametrize("call, error", [
    (lambda: minidl.dropout(minidl.ones(2), 1.1), ValueError),
    (lambda: minidl.dropout(minidl.ones(2), -0.1, training=False), ValueError),
    (lambda: minidl.dropout(minidl.ones(2), math.nan), ValueError),
    (lambda: minidl.dropout(minidl.tensor([1, 2])), DtypeError),
    (lambda: minidl.dropout2d(minidl.ones(2, 3)), ShapeError),
])
def test_mistakes(call, error):
    with pytest.raises(error):
        call()
