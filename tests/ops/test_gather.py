"""Gather, scatter, embedding and masks against loops and finite differences."""

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from tests.checks import check_gradients, gradients_of, leaf


def index_for(shape, dim, sizes, seed=0):
    """Random indices into ``dim`` of ``shape``; ``sizes`` is their own shape."""
    return np.random.default_rng(seed).integers(0, shape[dim], sizes)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dim, sizes", [(0, (5, 3, 4)), (1, (2, 7, 4)), (-1, (2, 3, 6)), (1, (1, 2, 3)), (2, (2, 3, 1))])
def test_gather_scatter_add_and_scatter(dim, sizes, strided):
    x, src = leaf(2, 3, 4, strided=strided), leaf(*sizes, seed=1, strided=strided)
    index = index_for(x.shape, dim, sizes)
    gathered, added, written = np.zeros(sizes), np.array(x), np.array(x)
    for at in np.ndindex(*sizes):
        place = list(at)
        place[dim] = index[at]
        gathered[at] = np.asarray(x)[tuple(place)]
        added[tuple(place)] += np.asarray(src)[at]
        written[tuple(place)] = np.asarray(src)[at]
    index = minidl.tensor(index)
    assert np.array_equal(x.gather(dim, index), gathered)
    assert np.allclose(x.scatter_add(dim, index, src), added)
    assert np.array_equal(x.scatter(dim, index, src), written)
    check_gradients(lambda x: minidl.gather(x, dim, index), x)
    check_gradients(lambda x, src: minidl.scatter_add(x, dim, index, src), x, src)
    check_gradients(lambda x, src: minidl.scatter(x, dim, index, src), x, src)


def test_scatter_of_a_number():
    x = leaf(2, 3)
    index = minidl.tensor([[1], [0]])
    for y in (x.scatter(1, index, 9), x.scatter(1, index, value=9.0)):
        assert np.asarray(y)[0, 1] == np.asarray(y)[1, 0] == 9 and y.dtype == minidl.float64
    check_gradients(lambda x: x.scatter(1, index, 9), x)
    assert minidl.zeros(3, dtype="int64").scatter(0, minidl.tensor([1]), 2).tolist() == [0, 2, 0]


def test_scatter_takes_the_covered_part_of_a_larger_source():
    x, src = leaf(2, 3), leaf(4, 5, seed=1)
    index = minidl.tensor([[1, 0, 1]])
    expected = np.array(x)
    np.add.at(expected, ([1, 0, 1], [0, 1, 2]), np.asarray(src)[0, :3])
    assert np.allclose(x.scatter_add(0, index, src), expected)
    check_gradients(lambda x, src: x.scatter_add(0, index, src), x, src)
    check_gradients(lambda x, src: x.scatter(0, index, src), x, src)


def test_gather_beside_inf_stays_finite():
    x = minidl.tensor([[1.0, np.inf], [np.nan, 2.0]], requires_grad=True)
    y = x.gather(1, minidl.tensor([[0], [1]]))
    y.sum().backward()
    assert y.tolist() == [[1], [2]] and x.grad.tolist() == [[1, 0], [0, 1]]


def test_small_index_dtypes_do_not_wrap():
    x = leaf(200, 3)
    index = minidl.tensor(np.full((1, 3), 120, np.int8))
    assert gradients_of(lambda x: x.gather(0, index), x)[0][120].tolist() == [1, 1, 1]


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_index_select(dim):
    x = leaf(3, 4, 5)
    index = minidl.tensor([2, 0, 2])
    assert np.array_equal(x.index_select(dim, index), np.asarray(x).take([2, 0, 2], dim))
    check_gradients(lambda x: minidl.index_select(x, dim, index), x)


@pytest.mark.parametrize("dim", [0, 1, -1])
def test_take_along_dim(dim):
    x, index = leaf(3, 1, 4), np.random.default_rng(0).integers(0, 1, (1, 5, 4))
    if dim != 1:
        shape = [3, 5, 4]
        shape[dim] = 2
        index = index_for(x.shape, dim, shape)
    wide = [3, 5, 4]
    wide[dim] = x.shape[dim]
    tall = [3, 5, 4]
    tall[dim] = index.shape[dim]
    expected = np.take_along_axis(np.broadcast_to(np.asarray(x), wide), np.broadcast_to(index, tall), dim)
    assert np.array_equal(x.take_along_dim(minidl.tensor(index), dim), expected)
    check_gradients(lambda x: minidl.take_along_dim(x, minidl.tensor(index), dim=dim), x)


def test_take_along_the_flattened_tensor():
    x = leaf(2, 3)
    assert np.array_equal(x.take_along_dim(minidl.tensor([[5, 0]])), np.asarray(x).reshape(-1)[[5, 0]])


def test_masks():
    x, mask = leaf(2, 3), minidl.tensor([True, False, True])
    assert np.array_equal(x.masked_fill(mask, 5), np.where([True, False, True], 5, np.asarray(x)))
    assert np.array_equal(x.masked_select(mask), np.asarray(x)[:, [0, 2]].reshape(-1))
    check_gradients(lambda x: minidl.masked_fill(x, mask, 5), x)
    check_gradients(lambda x, v: minidl.masked_fill(x, mask, v), x, leaf())
    check_gradients(lambda x: minidl.masked_select(x, mask), x)
    assert minidl.ones(2, dtype="int32").masked_fill(minidl.tensor([True, False]), 3.7).tolist() == [3, 1]
    assert leaf(1).masked_select(minidl.tensor([[True], [False]])).shape == (1,)
    hidden = minidl.tensor([np.nan, 1.0]).masked_fill(minidl.tensor([True, False]), 0)
    assert hidden.tolist() == [0, 1]


def test_nonzero():
    array = np.array([[0, 2, 0], [np.nan, 0, -1]])
    x = minidl.tensor(array)
    assert x.nonzero().tolist() == minidl.argwhere(x).tolist() == np.argwhere(array).tolist()
    assert [axis.tolist() for axis in minidl.nonzero(x, as_tuple=True)] == [axis.tolist() for axis in array.nonzero()]
    assert x.nonzero().dtype == minidl.int64 and minidl.zeros(2, 3).nonzero().shape == (0, 2)
    assert minidl.tensor(3.0).nonzero().shape == (1, 0) and minidl.tensor(0.0).nonzero().shape == (0, 0)


def test_one_hot():
    classes = minidl.tensor([[0, 2], [1, 1]])
    assert np.array_equal(minidl.one_hot(classes), np.eye(3, dtype=np.int64)[np.asarray(classes)])
    assert minidl.one_hot(classes, 5).shape == (2, 2, 5) and minidl.one_hot(classes).dtype == minidl.int64
    assert minidl.one_hot(minidl.zeros(0, dtype="int64"), 4).shape == (0, 4)
    assert minidl.one_hot(minidl.tensor(1), 3).tolist() == [0, 1, 0]


def test_embedding():
    weight, index = leaf(5, 3), minidl.tensor([[1, 4], [1, 0]])
    assert np.array_equal(minidl.embedding(index, weight), np.asarray(weight)[np.asarray(index)])
    check_gradients(lambda w: minidl.embedding(index, w), weight)
    for padding in (1, -4):
        g = gradients_of(lambda w, padding=padding: minidl.embedding(index, w, padding_idx=padding), weight)[0]
        assert g.tolist() == [[1] * 3, [0] * 3, [0] * 3, [0] * 3, [1] * 3]
    assert minidl.embedding(minidl.zeros(0, 2, dtype="int64"), weight).shape == (0, 2, 3)


def test_zero_dimensions_and_empty():
    x = minidl.tensor(5.0, requires_grad=True)
    assert x.gather(0, minidl.tensor([0, 0])).tolist() == [5, 5] and x.index_select(0, minidl.tensor([0])).item() == 5
    none = minidl.zeros(2, 0, dtype="int64")
    assert minidl.ones(2, 3).gather(1, none).shape == (2, 0)
    assert minidl.ones(0, 3).gather(1, minidl.zeros(0, 2).long()).shape == (0, 2)
    assert minidl.ones(2, 3).scatter(1, none, minidl.ones(2, 0)).tolist() == minidl.ones(2, 3).tolist()
    assert minidl.ones(2, 3).scatter_add(1, none, minidl.ones(2, 0)).tolist() == minidl.ones(2, 3).tolist()


one = minidl.tensor([[1]])


@pytest.mark.parametrize("call, error, message", [
    (lambda x: x.gather(1, one * 3), IndexError, r"gather, dim 1 of shape \(2, 3\): index 3 is out of range for size 3"),
    (lambda x: x.gather(1, -one), IndexError, "index -1 is out of range for size 3"),
    (lambda x: x.gather(0, minidl.tensor([1])), ShapeError, "as many axes"),
    (lambda x: x.gather(1, minidl.zeros(3, 1).long()), ShapeError, "no larger on any but dim 1"),
    (lambda x: x.gather(1, minidl.ones(1, 1)), DtypeError, "indices must be integers, got float32"),
    (lambda x: x.gather(2, one), IndexError, "dim=2"),
    (lambda x: x.scatter_add(1, one * 3, x), IndexError, "scatter_add, dim 1"),
    (lambda x: x.scatter_add(1, minidl.tensor([[0, 1]]), minidl.ones(1, 1)), ShapeError, "larger than src"),
    (lambda x: x.scatter_add(1, one, x.double()), DtypeError, "one dtype"),
    (lambda x: x.scatter(1, one, x.double()), DtypeError, "one dtype"),
    (lambda x: x.scatter(1, one * 3, 1), IndexError, "scatter, dim 1"),
    (lambda x: x.index_select(0, one), ShapeError, "vector of indices"),
    (lambda x: x.index_select(0, minidl.tensor([0, 2])), IndexError, "index 2 is out of range for size 2"),
    (lambda x: x.index_select(0, minidl.tensor([-1])), IndexError, "index -1"),
    (lambda x: x.take_along_dim(minidl.tensor([0]), 1), ShapeError, "as many axes"),
    (lambda x: x.masked_fill(minidl.ones(3), 0), DtypeError, "bool"),
    (lambda x: x.masked_fill(x > 0, x), ShapeError, "one value"),
    (lambda x: x.masked_fill(minidl.ones(4).bool(), 0), ShapeError, "do not broadcast"),
    (lambda x: x.masked_select(minidl.ones(3)), DtypeError, "bool"),
    (lambda x: minidl.one_hot(minidl.tensor([0, 3]), 3), IndexError, "one_hot: index 3 is out of range for size 3"),
    (lambda x: minidl.one_hot(minidl.tensor([-1]), 3), IndexError, "index -1"),
    (lambda x: minidl.one_hot(x), DtypeError, "integers"),
    (lambda x: minidl.one_hot(minidl.zeros(0).long()), ShapeError, "num_classes"),
    (lambda x: minidl.embedding(minidl.tensor([2]), x), IndexError, r"weight of shape \(2, 3\): index 2"),
    (lambda x: minidl.embedding(x, x), DtypeError, "integers"),
    (lambda x: minidl.embedding(one, x, 2), IndexError, "padding_idx=2"),
    (lambda x: minidl.embedding(one, x[0]), ShapeError, r"weight \(V, D\)"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(minidl.ones(2, 3))
