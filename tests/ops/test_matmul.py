"""Matrix products of all ranks, and the linear layer, against loops and finite differences."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from tests.checks import check_gradients, gradients_of, leaf


def naive(x, y):
    """Matrix product by definition, with vectors as a row or a column and leading axes that broadcast."""
    a, b = x if x.ndim > 1 else x[None], y if y.ndim > 1 else y[:, None]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = np.broadcast_to(a, lead + a.shape[-2:]), np.broadcast_to(b, lead + b.shape[-2:])
    z = np.zeros(lead + (a.shape[-2], b.shape[-1]))
    for *at, i, j in np.ndindex(z.shape):
        z[(*at, i, j)] = math.fsum(a[(*at, i, k)] * b[(*at, k, j)] for k in range(a.shape[-1]))
    z = z if x.ndim > 1 else z[..., 0, :]
    return z if y.ndim > 1 else z[..., 0]


SHAPES = [((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)),
          ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)), ((1, 2, 3), (5, 3, 4)),
          ((5, 1, 2, 3), (6, 3, 4)), ((6, 2, 3), (5, 1, 3, 4)), ((5, 6, 2, 3), (3, 4)), ((2, 1), (1, 4)),
          ((1, 3), (3, 1)), ((5, 6, 2, 3), (3,))]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("left, right", SHAPES)
def test_matmul(left, right, strided):
    x, y = leaf(*left, strided=strided), leaf(*right, seed=1, strided=strided)
    z = x @ y
    expected = naive(np.asarray(x), np.asarray(y))
    assert z.shape == expected.shape and np.allclose(z, expected, rtol=1e-12)
    assert np.array_equal(minidl.matmul(x, y), z)
    check_gradients(lambda x, y: x @ y, x, y, second=x.numel() + y.numel() < 80)


def test_family():
    a, b, v, w = leaf(2, 3), leaf(3, 4, seed=1), leaf(3, seed=2), leaf(4, seed=3)
    batch, other = leaf(5, 2, 3), leaf(5, 3, 4)
    for y, left, right in ((a.mm(b), a, b), (minidl.mv(a, v), a, v), (minidl.dot(v, v), v, v), (batch.bmm(other), batch, other),
                           (minidl.outer(v, w), v.unsqueeze(1), w.unsqueeze(0)), (b.T @ v, b.T, v)):
        expected = naive(np.asarray(left), np.asarray(right))
        assert y.shape == expected.shape and np.allclose(y, expected)
    check_gradients(lambda v, w: minidl.outer(v, w), v, w)
    check_gradients(lambda v: minidl.dot(v, v), v)
    check_gradients(lambda a: a @ a.T, a)


@pytest.mark.parametrize("shape", [(2, 4), (4,), (2, 1), ()])
def test_addmm(shape):
    x, a, b = leaf(*shape), leaf(2, 3, seed=1), leaf(3, 4, seed=2)
    y = minidl.addmm(x, a, b, beta=0.5, alpha=2)
    assert np.allclose(y, 0.5 * np.asarray(x) + 2 * naive(np.asarray(a), np.asarray(b)))
    check_gradients(lambda x, a, b: x.addmm(a, b, beta=0.5, alpha=2), x, a, b)
    unused = minidl.tensor(np.full(shape, np.nan))
    assert np.allclose(unused.addmm(a, b, beta=0), naive(np.asarray(a), np.asarray(b)))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("lead", [(5,), (), (5, 2), (0,), (2, 0), (1,)])
def test_linear(lead, bias):
    x, w, b = leaf(*lead, 3), leaf(4, 3, seed=1), leaf(4, seed=2)
    parameters = (w, b) if bias else (w,)
    expected = naive(np.asarray(x).reshape(-1, 3), np.asarray(w).T).reshape(*lead, 4) + (np.asarray(b) if bias else 0)
    y = minidl.linear(x, *parameters)
    assert y.shape == expected.shape and np.allclose(y, expected)
    check_gradients(minidl.linear, x, *parameters)
    for only in range(len(parameters)):
        inputs = [t if i == only + 1 else t.detach() for i, t in enumerate((x, *parameters))]
        found, = gradients_of(lambda t, inputs=inputs, only=only: minidl.linear(*inputs[: only + 1], t, *inputs[only + 2:]),
                              inputs[only + 1])
        assert found.shape == parameters[only].shape


def test_bias_gradient_over_many_rows():
    gy = np.random.default_rng(0).uniform(0, 1, (10_000_000, 1)).astype(np.float32)
    bias = minidl.zeros(1, requires_grad=True)
    minidl.linear(minidl.zeros(len(gy), 0), minidl.zeros(1, 0), bias).backward(minidl.tensor(gy))
    assert abs(bias.grad.item() / math.fsum(gy[:, 0].tolist()) - 1) < 1e-6


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int32", "int64"])
def test_dtypes_stay(dtype):
    x = minidl.tensor(np.ones((2, 3)), dtype=dtype)
    assert (x @ x.T).dtype == (x @ x[0]).dtype == minidl.linear(x, x, x[:, 0]).dtype == x.dtype
    assert (x @ x.T).tolist() == [[3, 3], [3, 3]]


def test_float16_is_summed_in_float32():
    x = minidl.ones(1, 3000, dtype="float16")
    assert (x @ x.T).item() == 3000  # in float16 a sum of ones stops at 2048


def test_nan_propagates():
    x = minidl.tensor([[1.0, np.nan], [2.0, 3.0]])
    assert np.isnan(np.asarray(x @ minidl.ones(2, 2))).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("left, right", [((0, 3), (3, 4)), ((2, 0), (0, 4)), ((2, 3), (3, 0)), ((0, 2, 3), (0, 3, 4)),
                                         ((0,), (0,))])
def test_empty(left, right):
    x, y = minidl.ones(*left, requires_grad=True), minidl.ones(*right, requires_grad=True)
    z = x @ y
    assert z.shape == np.zeros(left).__matmul__(np.zeros(right)).shape and not np.asarray(z).any()
    z.sum().backward()
    assert x.grad.shape == left and y.grad.shape == right


@pytest.mark.parametrize("call, error, message", [
    (lambda x: x @ x, ShapeError, r"matmul: shapes \(2, 3\) and \(2, 3\) do not fit"),
    (lambda x: x @ minidl.ones(2), ShapeError, r"\(2, 3\) and \(2,\)"),
    (lambda x: x @ minidl.tensor(1.0), ShapeError, "do not fit"),
    (lambda x: minidl.ones(4, 2, 3) @ minidl.ones(5, 3, 2), ShapeError, r"leading axes of \(4, 2, 3\) and \(5, 3, 2\)"),
    (lambda x: x @ x.T.double(), DtypeError, "float32 and float64: convert"),
    (lambda x: x.mm(x[0]), ShapeError, r"mm needs tensors with 2 and 2 axes, got shapes \(2, 3\) and \(3,\)"),
    (lambda x: x.bmm(x), ShapeError, "bmm needs tensors with 3 and 3"),
    (lambda x: minidl.ones(1, 2, 3).bmm(minidl.ones(2, 3, 2)), ShapeError, "batches of one size"),
    (lambda x: x.mv(x), ShapeError, "mv"),
    (lambda x: x.dot(x), ShapeError, "dot"),
    (lambda x: x.outer(x[0]), ShapeError, "outer"),
    (lambda x: minidl.ones(5).addmm(x, x.T), ShapeError, "broadcast"),
    (lambda x: minidl.ones(5, 2, 2).addmm(x, x.T), ShapeError, "addmm"),
    (lambda x: minidl.linear(x, minidl.ones(4, 2)), ShapeError, r"input \(\*, I\), weight \(O, I\)"),
    (lambda x: minidl.linear(x, x, minidl.ones(3)), ShapeError, r"\(2, 3\), \(2, 3\) and \(3,\)"),
    (lambda x: minidl.linear(x.double(), x), DtypeError, "one dtype"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(minidl.ones(2, 3))
