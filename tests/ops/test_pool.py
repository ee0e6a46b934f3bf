"""Pooling ops: values that other frameworks got wrong, gradients of both orders, and mistakes."""

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from minidl.ops.pool import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d, max_unpool2d
from tests.checks import check_gradients, gradients_of, leaf

CASES = [
    lambda x: max_pool2d(x, 2), lambda x: max_pool2d(x, (3, 2), stride=(1, 2), padding=(1, 0)),
    lambda x: max_pool2d(x, 2, 1, dilation=(2, 1)), lambda x: max_pool2d(x, 3, 2, ceil_mode=True),
    lambda x: avg_pool2d(x, 2), lambda x: avg_pool2d(x, (3, 2), stride=(2, 1), padding=(1, 1), ceil_mode=True),
    lambda x: avg_pool2d(x, 3, 2, 1, count_include_pad=False), lambda x: avg_pool2d(x, 2, divisor_override=3),
    lambda x: adaptive_avg_pool2d(x, (3, 2)), lambda x: adaptive_max_pool2d(x, (None, 2)), lambda x: adaptive_avg_pool2d(x, 7),
]


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("function", CASES)
def test_gradients(function, backend):
    with minidl.use_backend(backend):
        check_gradients(function, leaf(2, 3, 4, 5))
        check_gradients(function, leaf(1, 4, 5, strided=True))


def test_padding_never_wins():
    assert np.asarray(max_pool2d(-minidl.ones(1, 1, 3, 3), 3, padding=1)).max() == -1


def test_ties_and_nan():
    x = minidl.tensor([[[2.0, 2.0], [2.0, 1.0]]], requires_grad=True)
    assert gradients_of(lambda x: max_pool2d(x, 2), x)[0].tolist() == [[[1, 0], [0, 0]]]
    y, at = max_pool2d(minidl.tensor([[[1.0, float("nan")], [5.0, 2.0]]]), 2, return_indices=True)
    assert np.isnan(y.item()) and at.item() == 1
    _, at = max_pool2d(minidl.full((1, 2, 2), float("-inf")), 2, return_indices=True)
    assert at.item() == 0


@pytest.mark.parametrize("size, kernel, stride, padding, expected", [(5, 2, 2, 1, 3), (4, 2, 2, 1, 3), (5, 1, 3, 0, 2)])
def test_sizes_in_ceil_mode(size, kernel, stride, padding, expected):
    assert max_pool2d(minidl.ones(1, size, size), kernel, stride, padding, ceil_mode=True).shape == (1, expected, expected)


def test_divisors():
    x = minidl.ones(1, 4, 4)
    assert np.asarray(avg_pool2d(x, 3, 2, ceil_mode=True)).min() == 1  # the overhang does not count
    assert np.asarray(avg_pool2d(x, 3, padding=1))[0, 0, 0] == pytest.approx(4 / 9)
    assert np.asarray(avg_pool2d(x, 3, padding=1, count_include_pad=False))[0, 0, 0] == 1


def test_unpooling():
    x = leaf(2, 3, 4, 6)
    y, at = max_pool2d(x, 2, return_indices=True)
    back = max_unpool2d(y, at, 2)
    assert back.shape == x.shape and np.allclose(np.asarray(back).sum(), np.asarray(y).sum())
    check_gradients(lambda y: max_unpool2d(y, at, 2), y.detach().requires_grad_())
    assert max_unpool2d(y, at, 2, output_size=(5, 7)).shape == (2, 3, 5, 7)
    with pytest.raises(IndexError, match="max_unpool2d"):
        max_unpool2d(y, at + 100, 2)
    with pytest.raises(ShapeError):
        max_unpool2d(y, at[0], 2)


def test_dtypes():
    assert max_pool2d(minidl.arange(16).reshape(1, 4, 4), 2).dtype == minidl.int64
    x = minidl.tensor([[[1.0, 1.0 + 1e-12]]], dtype="float64")
    assert max_pool2d(x, (1, 2)).item() == 1 + 1e-12
    y = avg_pool2d(minidl.ones(1, 2, 2, requires_grad=True), 2)
    assert y.dtype == minidl.float32
    with pytest.raises(DtypeError, match="floating-point"):
        avg_pool2d(minidl.arange(4).reshape(1, 2, 2), 2)


@pytest.mark.parametrize("call, message", [
    (lambda: max_pool2d(minidl.ones(1, 4, 4), 2, padding=2), "half the kernel"),
    (lambda: max_pool2d(minidl.ones(1, 4, 4), 5), "does not fit"),
    (lambda: max_pool2d(minidl.ones(4, 4), 2), r"\(N, C, H, W\)"),
    (lambda: avg_pool2d(minidl.ones(1, 4, 4), 0), "at least 1"),
    (lambda: avg_pool2d(minidl.ones(1, 0, 4), 1), "non-empty"),
    (lambda: adaptive_avg_pool2d(minidl.ones(1, 4, 4), (0, 1)), "positive output size"),
])
def test_mistakes(call, message):
    with pytest.raises(ShapeError, match=message):
        call()
    with pytest.raises(TypeError, match="kernel_size must be"):
        max_pool2d(minidl.ones(1, 4, 4), "2")


def test_empty_batch():
    x = minidl.zeros(0, 3, 4, 4, requires_grad=True)
    for function in (max_pool2d, avg_pool2d):
        function(x, 2).sum().backward()
    assert x.grad.shape == (0, 3, 4, 4)


def test_a_dilated_window_that_steps_over_the_image():
    with pytest.raises(ShapeError, match="nothing but padding"):
        max_pool2d(minidl.ones(1, 1, 1, 1), (1, 2), 1, (0, 1), (1, 2))
