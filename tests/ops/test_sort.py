"""Sorting and selecting against loops, with ties and NaN, and finite differences."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from tests.checks import check_gradients, gradients_of, leaf


def naive_order(line, descending):
    """The stable order of a list, NaN counting as the largest."""
    def rank(i):
        value = line[i]
        return (math.isnan(value), 0 if math.isnan(value) else value)
    ranks = [rank(i) for i in range(len(line))]
    return sorted(range(len(line)), key=lambda i: tuple(-r for r in ranks[i]) if descending else ranks[i])


def naive(array, axis, descending):
    lines = np.moveaxis(array, axis, -1)
    order = np.array([naive_order(line.tolist(), descending) for line in lines.reshape(-1, lines.shape[-1])], np.int64)
    return np.moveaxis(order.reshape(lines.shape), -1, axis)


def with_ties(seed=0):
    """Few different values, NaN and both infinities among them; every axis of another length."""
    return np.random.default_rng(seed).choice([-np.inf, -1.0, 0.0, 2.0, np.inf, np.nan], (3, 4, 9))


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool", "uint8"])
def test_sort(dtype, dim, descending):
    array = with_ties()
    if not dtype.startswith("float"):
        array = np.nan_to_num(np.clip(array, 0, 2))
    array = array.astype(dtype)
    values, indices = minidl.tensor(array).sort(dim, descending)
    order = naive(array, dim, descending)
    assert np.array_equal(indices, order) and indices.dtype == minidl.int64
    assert np.array_equal(values, np.take_along_axis(array, order, dim), equal_nan=dtype[0] == "f")
    assert values.dtype == array.dtype
    assert np.array_equal(minidl.argsort(minidl.tensor(array), dim=dim, descending=descending, stable=True), order)


@pytest.mark.parametrize("largest", [True, False])
@pytest.mark.parametrize("dim", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "int64", "bool", "uint8"])
def test_topk(dtype, dim, largest):
    for seed in range(5):
        array = with_ties(seed)
        if not dtype.startswith("float"):
            array = np.nan_to_num(np.clip(array, 0, 2))
        array = array.astype(dtype)
        order = naive(array, dim, largest)
        for k in range(array.shape[dim] + 1):
            values, indices = minidl.tensor(array).topk(k, dim, largest)
            expected = order.take(range(k), dim)
            assert np.array_equal(indices, expected) and indices.dtype == minidl.int64
            assert np.array_equal(values, np.take_along_axis(array, expected, dim), equal_nan=dtype[0] == "f")


@pytest.mark.parametrize("keepdim", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_kthvalue(dim, keepdim):
    array = with_ties()
    for k in range(1, array.shape[dim] + 1):
        values, indices = minidl.tensor(array).kthvalue(k, dim, keepdim)
        expected = naive(array, dim, False).take([k - 1], dim)
        value = np.take_along_axis(array, expected, dim)
        assert np.array_equal(indices, expected if keepdim else expected.squeeze(dim))
        assert np.array_equal(values, value if keepdim else value.squeeze(dim), equal_nan=True)


@pytest.mark.parametrize("strided", [False, True])
def test_gradients(strided):
    x = leaf(3, 4, 5, strided=strided)
    for dim in (0, 1, -1):
        check_gradients(lambda x, dim=dim: minidl.sort(x, dim, descending=True).values, x, second=False)
        check_gradients(lambda x, dim=dim: minidl.topk(x, 2, dim).values, x, second=False)
        check_gradients(lambda x, dim=dim: minidl.kthvalue(x, 2, dim).values, x, second=False)
    check_gradients(minidl.msort, leaf(4, 3))
    check_gradients(lambda x: x.topk(2).values, leaf(2, 3))


def test_ties_give_the_gradient_to_the_first():
    x = minidl.tensor([1.0, 2.0, 2.0, 2.0], requires_grad=True)
    assert gradients_of(lambda x: x.topk(2).values, x)[0].tolist() == [0, 1, 1, 0]
    values, indices = x.topk(2)
    assert values.requires_grad and not indices.requires_grad


def test_results_have_names():
    values, indices = result = minidl.tensor([3.0, 1.0]).sort()
    assert result.values is values and result.indices is indices and result[1] is indices
    x = minidl.tensor([[3, 1], [2, 5]])
    assert minidl.msort(x).tolist() == [[2, 1], [3, 5]] and x.tolist() == [[3, 1], [2, 5]]


def test_zero_dimensions_and_empty():
    x = minidl.tensor(5.0, requires_grad=True)
    for result in (x.sort(), x.topk(1), x.kthvalue(1), x.sort(-1, True)):
        assert result.values.item() == 5 and result.indices.item() == 0 and result.values.shape == result.indices.shape == ()
    x.sort().values.backward()
    assert x.grad.item() == 1
    none = minidl.ones(0, 3)
    assert none.sort(0).values.shape == none.sort(1).indices.shape == (0, 3) and none.topk(2).values.shape == (0, 2)
    assert minidl.ones(3, 0).topk(0).values.shape == (3, 0)


@pytest.mark.parametrize("call, error, message", [
    (lambda x: x.sort(2), IndexError, "dim=2"),
    (lambda x: x.topk(4), ShapeError, r"k=4 is out of range for dim -1 of shape \(2, 3\)"),
    (lambda x: x.topk(-1), ShapeError, "k=-1"),
    (lambda x: x.kthvalue(0), ShapeError, "k=0"),
    (lambda x: x.kthvalue(3, 0), ShapeError, "k=3"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(minidl.ones(2, 3))
