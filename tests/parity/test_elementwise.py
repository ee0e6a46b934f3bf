"""Elementwise ops and reductions against PyTorch: dtypes of every pair, values and gradients at the edges."""

import itertools
import math

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")

DTYPES = ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
NUMBERS = [True, 2, 0.5]
EDGES = [-math.inf, -1e30, -2.5, -1.0, -0.0, 0.0, 0.5, 1.0, 2.5, 1e30, math.inf, math.nan]


def name(dtype) -> str:
    return str(dtype).replace("torch.", "")


def pair(values, dtype, dims):
    array = np.array(values).astype(dtype)
    array = array if dims else array.reshape(-1)[0]
    return minidl.tensor(array), torch.tensor(array)


@pytest.mark.parametrize("left, right", list(itertools.product(DTYPES, DTYPES)))
def test_promotion_of_tensors(left, right):
    for left_dims, right_dims in itertools.product((0, 1), (0, 1)):
        a, ta = pair([1, 2], left, left_dims)
        b, tb = pair([1, 1], right, right_dims)
        for ours, theirs in ((a + b, ta + tb), (a * b, ta * tb), (a / b, ta / tb), (a > b, ta > tb),
                             (minidl.where(a > 0, a, b), torch.where(ta > 0, ta, tb))):
            assert name(ours.dtype) == name(theirs.dtype), (left_dims, right_dims)
        assert name(minidl.result_type(a.array, b.array)) == name(torch.result_type(ta, tb))


@pytest.mark.parametrize("dtype, number", list(itertools.product(DTYPES, NUMBERS)))
def test_promotion_with_numbers(dtype, number):
    for dims in (0, 1):
        a, ta = pair([1, 2], dtype, dims)
        for ours, theirs in ((a + number, ta + number), (number * a, number * ta), (a / number, ta / number),
                             (a == number, ta == number)):
            assert name(ours.dtype) == name(theirs.dtype), dims


UNARY = ["exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "sin", "cos", "tanh", "sigmoid", "erf", "abs", "sign",
         "square", "reciprocal", "neg", "floor", "ceil", "trunc", "round"]


@pytest.mark.parametrize("function", UNARY)
def test_unary_edges(function):
    values = [v for v in EDGES if abs(v) < 1e3 or not function.startswith(("sin", "cos"))]
    if function in ("abs", "sign"):  # PyTorch's sign(NaN) is 0; here NaN propagates
        values = values[:-1]
    x = minidl.tensor(values, dtype="float64", requires_grad=True)
    t = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    y, ty = getattr(minidl, function)(x), getattr(torch, function)(t)
    assert np.allclose(y.detach().array, ty.detach().numpy(), rtol=1e-12, atol=0, equal_nan=True)
    y.sum().backward()
    ty.sum().backward()
    assert np.allclose(x.grad.array, t.grad.numpy(), rtol=1e-10, atol=1e-300, equal_nan=True)


BINARY = ["add", "sub", "mul", "div", "pow", "maximum", "minimum", "remainder", "floor_divide"]


@pytest.mark.parametrize("function", BINARY)
def test_binary_edges(function):
    finite = [v for v in EDGES if abs(v) < 100] if function in ("remainder", "floor_divide", "pow") else EDGES
    x = minidl.tensor(finite, dtype="float64", requires_grad=True)
    t = torch.tensor(finite, dtype=torch.float64, requires_grad=True)
    y, ty = x.reshape(-1, 1).detach().requires_grad_(), t.reshape(-1, 1).detach().requires_grad_()
    z, tz = getattr(minidl, function)(x, y), getattr(torch, function)(t, ty)
    ours, theirs = z.detach().array, tz.detach().numpy()
    if function in ("remainder", "floor_divide"):  # PyTorch and NumPy differ in the quotient by zero only
        ours, theirs = ours[y.array[:, 0] != 0], theirs[y.array[:, 0] != 0]
    assert np.allclose(ours, theirs, rtol=1e-12, atol=0, equal_nan=True)


@pytest.mark.parametrize("function", ["sum", "mean", "var", "std", "prod", "amax", "amin", "logsumexp", "norm"])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_reductions(function, dim):
    array = np.random.default_rng(0).standard_normal((3, 4, 5))
    array[1, 2] = 0
    x, t = minidl.Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y, ty = getattr(x, function)(dim=dim), getattr(t, function)(dim=dim)
    assert np.allclose(y.detach().array, ty.detach().numpy(), rtol=1e-12)
    seed = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(minidl.Tensor(seed))
    ty.backward(torch.tensor(seed))
    assert np.allclose(x.grad.array, t.grad.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("function", ["max", "min"])
def test_extremes_with_ties(function):
    array = np.random.default_rng(0).integers(0, 3, (4, 6)).astype(np.float64)
    x, t = minidl.Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    (getattr(x, function)() * 2).backward()
    (getattr(t, function)() * 2).backward()
    assert np.allclose(x.grad.array, t.grad.numpy())
    ours, theirs = getattr(x, function)(1), getattr(t, function)(1)
    assert np.array_equal(ours.values.detach().array, theirs.values.detach().numpy())
