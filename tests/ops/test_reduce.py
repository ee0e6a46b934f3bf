"""Reductions against NumPy, finite differences, and the values that other frameworks got wrong."""

import itertools
import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from tests.checks import check_gradients, gradients_of, leaf

REDUCTIONS = {
    "sum": np.sum, "mean": np.mean, "amax": np.max, "amin": np.min,
    "var": lambda x, **k: np.var(x, ddof=1, **k), "std": lambda x, **k: np.std(x, ddof=1, **k),
    "norm": lambda x, **k: np.sqrt((x * x).sum(**k)),
}
DIMS = [None, 0, -1, (0, 2), (1, 2), (-3, 1)]


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", DIMS)
@pytest.mark.parametrize("name", REDUCTIONS)
def test_reductions(name, dim, keepdim, backend):
    x = leaf(2, 3, 4, strided=keepdim)
    with minidl.use_backend(backend):
        y = getattr(minidl, name)(x, dim=dim, keepdim=keepdim)
        assert np.allclose(y, REDUCTIONS[name](np.asarray(x), axis=dim, keepdims=keepdim))
        check_gradients(lambda x: getattr(x, name)(dim=dim, keepdim=keepdim), x)


@pytest.mark.parametrize("axes", [axes for n in range(1, 4) for axes in itertools.combinations(range(3), n)])
def test_sum_kernels_on_large_arrays(axes):
    x = np.random.default_rng(0).standard_normal((40, 7, 90)).astype(np.float32)
    for keepdim in (False, True):
        y = minidl.tensor(x).sum(axes, keepdim)
        expected = x.astype(np.float64).sum(axes, keepdims=keepdim)
        assert y.dtype == minidl.float32 and y.shape == expected.shape
        assert np.allclose(y, expected, rtol=1e-6, atol=1e-5)


def test_long_sums_stay_accurate():
    x = np.random.default_rng(0).uniform(0, 1, (10_000_000, 1)).astype(np.float32)
    exact = math.fsum(x[:, 0].tolist())
    for backend in ("portable", None):
        with minidl.use_backend(backend):
            assert abs(minidl.tensor(x).sum(0).item() / exact - 1) < 1e-6
            assert abs(minidl.tensor(x).mean().item() * len(x) / exact - 1) < 1e-6


def test_ties():
    x = minidl.tensor([1.0, 2.0, 2.0], requires_grad=True)
    assert gradients_of(minidl.amax, x)[0].tolist() == [0, 0.5, 0.5]
    assert gradients_of(minidl.max, x)[0].tolist() == [0, 0.5, 0.5]
    assert gradients_of(lambda x: x.max(0).values, x)[0].tolist() == [0, 1, 0]


def test_max_and_min_along_a_dim():
    x = leaf(2, 3, 4)
    for name in ("max", "min"):
        values, indices = getattr(x, name)(1)
        assert np.array_equal(values, getattr(np.asarray(x), name)(1))
        assert np.array_equal(indices, getattr(np, f"arg{name}")(np.asarray(x), 1)) and indices.dtype == minidl.int64
        check_gradients(lambda x, name=name: getattr(x, name)(dim=-1, keepdim=True).values, x)
    assert minidl.max(minidl.tensor([1, 5]), minidl.tensor([3, 2])).tolist() == [3, 5]


def test_arg_of_negatives_and_nan():
    assert minidl.argmax(minidl.tensor([-3.0, -1.0, -2.0])).item() == 1
    assert minidl.argmax(minidl.tensor([1.0, math.nan, 3.0])).item() == 1
    assert minidl.argmin(minidl.tensor([[1, 0], [2, 3]]), dim=1, keepdim=True).tolist() == [[1], [0]]
    assert minidl.argmax(minidl.tensor(3.0)).item() == 0
    assert math.isnan(minidl.amax(minidl.tensor([1.0, math.nan])).item())


@pytest.mark.parametrize("values, gradient", [([0, 2, 3], [6, 0, 0]), ([0, 0, 3], [0, 0, 0]), ([1, 2, 3], [6, 3, 2])])
def test_prod_with_zeros(values, gradient):
    x = minidl.tensor(values, dtype="float64", requires_grad=True)
    assert gradients_of(minidl.prod, x)[0].tolist() == gradient
    check_gradients(minidl.prod, x)


@pytest.mark.parametrize("zeros", [[], [(0, 1)], [(0, 1), (0, 2)], [(1, 0)]])
def test_prod_and_cumprod_along_a_dim(zeros):
    x = leaf(2, 3, low=0.5)
    for at in zeros:
        x.array[at] = 0
    for dim in (0, 1, -1):
        assert np.allclose(x.prod(dim), np.asarray(x).prod(dim))
        assert np.allclose(x.cumprod(dim), np.asarray(x).cumprod(dim))
        check_gradients(lambda x, dim=dim: x.prod(dim, keepdim=True), x)
        check_gradients(lambda x, dim=dim: x.cumprod(dim), x)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cumsum(dim):
    x = leaf(2, 3, 4)
    assert np.allclose(x.cumsum(dim), np.asarray(x).cumsum(dim))
    check_gradients(lambda x: x.cumsum(dim), x)


def test_flat_places_have_gradient_zero():
    x = minidl.tensor([2.0, 2.0], requires_grad=True)
    assert gradients_of(minidl.std, x)[0].tolist() == [0, 0]
    zero = minidl.tensor([0.0, 0.0], requires_grad=True)
    assert gradients_of(minidl.norm, zero)[0].tolist() == [0, 0]


@pytest.mark.parametrize("p", [1, 2, 3, 0.5, math.inf, -math.inf, "fro", 0])
def test_norms(p):
    x = leaf(3, 4, low=0.2)
    expected = np.linalg.norm(np.asarray(x).reshape(-1), 2 if p == "fro" else p)
    assert x.norm(p).item() == pytest.approx(expected)
    check_gradients(lambda x: x.norm(p, dim=1), x)
    with pytest.raises(ValueError, match="norm needs p"):
        x.norm("nuc")


def test_half_precision():
    assert minidl.tensor(np.full(100, 60000, np.float16)).var().item() == 0
    assert minidl.tensor(np.ones(70_000, np.float16)).mean().item() == 1
    assert minidl.ones(3, dtype="float16").sum().dtype == minidl.float16


def test_dtypes():
    assert minidl.tensor([True, True]).sum().item() == 2 and minidl.tensor([1, 2], dtype="uint8").sum().dtype == minidl.int64
    assert minidl.tensor([1, 2]).sum(dtype="float64").dtype == minidl.float64
    with pytest.raises(DtypeError, match="mean needs a floating-point"):
        minidl.tensor([1, 2]).mean()
    assert minidl.tensor([1, 2]).mean(dtype="float32").item() == 1.5


def test_empty():
    assert minidl.zeros(0).sum().item() == 0 and minidl.zeros(0).prod().item() == 1
    assert math.isnan(minidl.zeros(0).mean().item()) and math.isnan(minidl.zeros(1).var().item())
    assert minidl.zeros(0, 3).sum(0).tolist() == [0, 0, 0] and minidl.zeros(0, 3).sum(1).shape == (0,)
    for function in (minidl.amax, minidl.argmax):
        with pytest.raises(ShapeError, match="over no elements"):
            function(minidl.zeros(0))


def test_wrong_dims():
    x = minidl.ones(2, 3)
    with pytest.raises(IndexError, match="dim=2 is out of range"):
        x.sum(2)
    with pytest.raises(ShapeError, match="twice"):
        x.sum((0, -2))


def test_logic():
    x = minidl.tensor([[True, False], [True, True]])
    assert x.all(1).tolist() == [False, True] and x.any().item() and minidl.count_nonzero(x, 0).tolist() == [2, 1]


@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin", "prod", "logsumexp", "norm", "any", "all", "argmax", "cumsum"])
@pytest.mark.parametrize("dim", [0, -1])
def test_a_single_number_has_one_axis(name, dim):
    function = getattr(minidl.tensor(3.0), name)
    found = function(dim=dim)
    assert found.shape == () and found.item() == {"any": True, "all": True, "argmax": 0}.get(name, 3.0)
    with pytest.raises(IndexError):
        function(dim=1)


@pytest.mark.parametrize("name", ["var", "std"])
def test_deviation_of_a_single_number(name):
    assert getattr(minidl.tensor(3.0), name)(dim=0, correction=0).item() == 0


@pytest.mark.parametrize("name", ["sum", "cumsum", "cumprod", "prod"])
def test_in_another_dtype(name):
    x = minidl.tensor([200, 100], dtype=minidl.uint8)
    assert getattr(x, name)(0).dtype == minidl.int64
    assert getattr(x, name)(0, dtype=minidl.float64).dtype == minidl.float64
    y = minidl.ones(2, requires_grad=True)
    getattr(y, name)(0, dtype=minidl.float64).sum().backward()
    assert y.grad.dtype == minidl.float32
