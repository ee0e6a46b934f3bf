"""Elementwise ops against their formulas in NumPy, finite differences, and the values that other frameworks got wrong."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from tests.checks import check_gradients, gradients_of, leaf

UNARY = {
    "exp": (np.exp, -2, 2), "expm1": (np.expm1, -2, 2), "log": (np.log, 0.2, 3), "log1p": (np.log1p, -0.7, 2),
    "log2": (np.log2, 0.2, 3), "log10": (np.log10, 0.2, 3), "sqrt": (np.sqrt, 0.2, 3),
    "rsqrt": (lambda x: x**-0.5, 0.2, 3), "sin": (np.sin, -3, 3), "cos": (np.cos, -3, 3), "tanh": (np.tanh, -2, 2),
    "sigmoid": (lambda x: 1 / (1 + np.exp(-x)), -3, 3), "erf": (np.vectorize(math.erf, otypes=[float]), -4, 4),
    "abs": (np.abs, 0.1, 2), "square": (np.square, -2, 2), "reciprocal": (np.reciprocal, 0.3, 2), "neg": (np.negative, -2, 2),
}
BINARY = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "pow": np.power, "maximum": np.maximum,
    "minimum": np.minimum, "remainder": np.remainder,
}


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("name", UNARY)
def test_unary(name, strided):
    oracle, low, high = UNARY[name]
    x = leaf(2, 3, low=low, high=high, strided=strided)
    function = getattr(minidl, name)
    assert np.allclose(function(x), oracle(np.asarray(x)), rtol=1e-12)
    assert np.array_equal(getattr(x, name)(), function(x))
    check_gradients(function, x)


@pytest.mark.parametrize("name", UNARY)
@pytest.mark.parametrize("shape", [(), (0,), (1, 3), (2, 0, 3)])
def test_unary_shapes_and_dtypes(name, shape):
    x = minidl.tensor(np.full(shape, 0.5, np.float32), requires_grad=True)
    y = getattr(minidl, name)(x)
    assert y.shape == shape and y.dtype == minidl.float32
    y.sum().backward()
    assert x.grad.shape == shape and x.grad.dtype == minidl.float32


@pytest.mark.parametrize("name", [name for name in UNARY if name not in ("abs", "square", "neg")])
def test_unary_of_integers_is_the_default_float(name):
    assert getattr(minidl, name)(minidl.tensor([1, 2])).dtype == minidl.float32


@pytest.mark.parametrize("name", UNARY)
def test_nan_propagates(name):
    assert np.isnan(np.asarray(getattr(minidl, name)(minidl.tensor([float("nan"), 0.5])))).tolist() == [True, False]


@pytest.mark.parametrize("backend", ["portable", None])
def test_erf_everywhere(backend):
    x = np.concatenate([np.linspace(-7, 7, 3001), [np.inf, -np.inf, 1e-300, 0.0]])
    with minidl.use_backend(backend):
        y = np.asarray(minidl.erf(minidl.tensor(x)))
    assert np.abs(y - [math.erf(v) for v in x]).max() < 1e-15
    assert y[-4:-2].tolist() == [1, -1]


SHAPES = [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 1), (1, 3)), ((4, 1, 3), (2, 1)), ((), (2, 3)), ((1,), (2, 3)),
          ((3,), ()), ((1, 1), (1,)), ((2, 1, 4), (2, 3, 1))]


@pytest.mark.parametrize("left, right", SHAPES)
@pytest.mark.parametrize("name", BINARY)
def test_binary_broadcasting(name, left, right):
    x, y = leaf(*left, low=0.5, high=2), leaf(*right, low=0.6, high=2.1, seed=1)
    function = getattr(minidl, name)
    assert np.allclose(function(x, y), BINARY[name](np.asarray(x), np.asarray(y)), rtol=1e-12)
    check_gradients(function, x, y, second=name != "remainder")


def test_shapes_that_do_not_broadcast():
    with pytest.raises(ShapeError, match=r"Add: shapes \(2, 3\) and \(2,\) do not broadcast"):
        minidl.ones(2, 3) + minidl.ones(2)


@pytest.mark.parametrize("operator", ["+", "-", "*", "/", "**", "//", "%"])
def test_numbers_on_both_sides(operator):
    x = np.array([1.5, 2.0, 3.0])
    for expression in (f"x {operator} 2.0", f"2.0 {operator} x", f"x {operator} 2"):
        ours = np.asarray(eval(expression, {"x": minidl.tensor(x)}))  # noqa: S307
        assert np.allclose(ours, eval(expression, {"x": x})), expression  # noqa: S307


DTYPES = ["bool", "uint8", "int32", "int64", "float16", "float32", "float64"]


def test_dtypes_of_division_and_power():
    i = minidl.tensor([7, -7])
    assert (i / 2).dtype == minidl.float32 and (i // 2).tolist() == [3, -4] and (i % 4).tolist() == [3, 1]
    assert minidl.div(i, 2, rounding_mode="trunc").tolist() == [3, -3]
    assert (i**2).dtype == minidl.int64 and (i**0.5).dtype == minidl.float32 and (2.0 ** i).dtype == minidl.float32
    with pytest.raises(DtypeError, match="negative"):
        i ** -1
    with pytest.raises(DtypeError, match="expected a tensor or a number"):
        i + object()
    with pytest.raises(ValueError, match="rounding_mode"):
        minidl.div(i, 2, rounding_mode="up")


def test_uint8_wraps():
    assert (minidl.tensor([250], dtype="uint8") + 10).tolist() == [4]


def test_maximum_tie_shares_and_nan_wins():
    x = minidl.tensor([2.0, float("nan")], requires_grad=True)
    y = minidl.tensor([2.0, 1.0], requires_grad=True)
    z = minidl.maximum(x, y)
    assert np.isnan(np.asarray(z)[1])
    z.sum().backward()
    assert x.grad.tolist() == [0.5, 1] and y.grad.tolist() == [0.5, 0]


def test_clamp():
    x = minidl.tensor([-2.0, -1.0, 0.5, 1.0, 2.0, float("nan")], requires_grad=True)
    y = minidl.clamp(x, -1, 1)
    assert y.tolist()[:5] == [-1, -1, 0.5, 1, 1] and math.isnan(y.tolist()[5])
    y.sum().backward()
    assert x.grad.tolist()[:5] == [0, 1, 1, 1, 0]  # the gradient passes at the edges
    assert minidl.clamp(minidl.tensor([1, 5]), max=3).tolist() == [1, 3]
    assert minidl.clamp(minidl.tensor([1, 5]), min=0.5).dtype == minidl.float32
    assert minidl.clamp(minidl.tensor([1.0, 5.0]), minidl.tensor([2.0, 2.0])).tolist() == [2, 5]
    with pytest.raises(ValueError):
        minidl.clamp(x)
    check_gradients(lambda x: minidl.clamp(x, -0.7, 0.9), leaf(7))


def test_derivatives_at_kinks():
    zero = minidl.tensor([0.0], requires_grad=True)
    assert gradients_of(minidl.abs, zero)[0].item() == 0
    assert gradients_of(minidl.sqrt, zero)[0].item() == math.inf


@pytest.mark.parametrize("x, y, gx, gy", [
    (0.0, 0.0, 0.0, 0.0), (-3.0, 2.0, -6.0, math.nan), (0.0, 2.0, 0.0, 0.0), (0.0, 1.0, 1.0, 0.0), (2.0, 0.0, 0.0, math.log(2)),
])
def test_gradients_of_pow(x, y, gx, gy):
    """Values of PyTorch."""
    a = minidl.tensor(x, dtype="float64", requires_grad=True)
    b = minidl.tensor(y, dtype="float64", requires_grad=True)
    ga, gb = gradients_of(minidl.pow, a, b)
    assert ga == pytest.approx(gx) and gb == pytest.approx(gy, nan_ok=True)
    (gs,) = gradients_of(lambda a: a**y, a)
    assert gs == pytest.approx(gx)


def test_pow_with_huge_exponents_stays_finite():
    x = minidl.tensor([0.5, 1.0], requires_grad=True)
    (g,) = gradients_of(lambda x: x**1000, x)
    assert g.tolist() == [0, 1000]


def test_sigmoid_does_not_overflow():
    assert minidl.sigmoid(minidl.tensor([-1e3, 1e3])).tolist() == [0, 1]
    assert minidl.sigmoid(minidl.tensor([-20.0], dtype="float64")).item() == pytest.approx(math.exp(-20) / (1 + math.exp(-20)))


def test_where():
    condition = minidl.tensor([[True, False, True]])
    check_gradients(lambda x, y: minidl.where(condition, x, y), leaf(2, 3), leaf(2, 1, seed=1))
    x = minidl.tensor([1.0, -1.0], requires_grad=True)
    safe = minidl.where(x > 0, x, 1.0)
    y = minidl.where(x > 0, safe.log(), 0.0)
    y.sum().backward()
    assert y.tolist() == [0, 0] and x.grad.tolist() == [1, 0]
    assert [t.tolist() for t in minidl.where(minidl.tensor([False, True]))] == [[1]]
    with pytest.raises(DtypeError, match="bool"):
        minidl.where(x, x, x)


def test_comparisons_and_logic():
    x = minidl.tensor([1.0, 2.0, float("nan")])
    assert (x == 1).tolist() == [True, False, False] and (x != 1).tolist() == [False, True, True]
    assert (x < 2).tolist() == [True, False, False] and (2 <= x).tolist() == [False, True, False]
    assert (x == None) is False  # noqa: E711
    a, b = minidl.tensor([True, True, False]), minidl.tensor([True, False, False])
    assert (a & b).tolist() == [True, False, False] and (a | b).tolist() == [True, True, False]
    assert (a ^ b).tolist() == [False, True, False] and (~a).tolist() == [False, False, True]
    assert minidl.logical_not(x).tolist() == [False] * 3
    with pytest.raises(DtypeError, match="bool or integer"):
        x & 1
    assert minidl.isfinite(minidl.tensor([1.0, math.inf, math.nan])).tolist() == [True, False, False]
    assert minidl.allclose(x[:2], x[:2] + 1e-9) and not minidl.equal(x, x)


def test_rounding_has_gradient_zero():
    for name in ("floor", "ceil", "trunc", "round", "sign"):
        x = minidl.tensor([-1.5, 0.5, 2.5], requires_grad=True)
        y = getattr(minidl, name)(x)
        assert np.array_equal(y, getattr(np, name)(np.asarray(x)))
        y.sum().backward()
        assert x.grad.tolist() == [0, 0, 0]


def test_untouched_inputs():
    x, y = leaf(2, 3, low=0.5), leaf(2, 3, low=0.5, seed=1)
    before = np.array(x), np.array(y)
    for name in BINARY:
        getattr(minidl, name)(x, y).sum().backward()
    for name in UNARY:
        getattr(minidl, name)(x).sum().backward()
    assert np.array_equal(x, before[0]) and np.array_equal(y, before[1])


def test_in_place_changes():
    x = minidl.tensor([1.0, 2.0])
    x.add_(1).mul_(2).clamp_(0, 5).sub_(1).div_(2)
    assert x.tolist() == [1.5, 2]
    assert x.copy_([7, 8]).dtype == minidl.float32 and x.tolist() == [7, 8]
    with pytest.raises(ShapeError):
        x.copy_(minidl.ones(3))
    with pytest.raises(ShapeError):
        x += minidl.ones(3, 2)
    counts = minidl.tensor([1, 2])
    with pytest.raises(DtypeError, match="fit in place"):
        counts += 0.5
    for change in (lambda: counts.add_(0.5), lambda: counts.mul_(2.5), lambda: minidl.tensor([1], dtype=minidl.uint8).fill_(300)):
        with pytest.raises(DtypeError):
            change()
    with pytest.raises(ShapeError, match="fit in place"):
        counts.add_(minidl.ones(3, 2, dtype=minidl.int64))
    assert counts.tolist() == [1, 2]


def test_negative_numbers_beside_unsigned_integers():
    bytes_ = minidl.tensor([214, 2], dtype=minidl.uint8)
    assert (bytes_ / -1).tolist() == [-214, -2] and (-1 / bytes_).tolist() == pytest.approx([-1 / 214, -0.5])
    with pytest.raises(DtypeError, match="negative powers"):
        bytes_**-1
