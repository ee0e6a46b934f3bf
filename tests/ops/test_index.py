"""Reading and writing by keys, against NumPy (whose order of axes differs where integers and index arrays meet)."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import GraphError, ShapeError
from minidl.ops.index import Put, Take
from tests.checks import check_gradients, gradients_of, leaf, share_memory

rows, columns = np.array([1, 0, 1]), np.array([[3, -1, 0], [0, 0, -4]])
mask = np.arange(6).reshape(2, 3) % 2 == 0

BASIC = {
    "integer": 1, "negative": -1, "slice": slice(1, None), "all": ..., "none": None, "integers": (1, 2, -1),
    "reversed": slice(None, None, -1), "steps": (slice(None), slice(None, None, 2), slice(3, 0, -2)), "empty": slice(2, 1),
    "dots": (..., 0), "dots between": (1, ..., slice(1, 3)), "dots for nothing": (1, 2, ..., 3), "new": (None, 1, ..., None),
    "beyond": slice(-9, 9), "0-d tensor": (minidl.tensor(1), slice(None), minidl.tensor(-2)), "int64": np.int64(1), "tuple": (),
}
ADVANCED = {
    "list": [1, 0, 1], "nested": [[0, 1], [1, 1]], "array": rows, "matrix": np.array([[0, 1], [1, 0], [1, 1]]),
    "second axis": (slice(None), [2, 0]), "last axis": (..., columns), "two": (rows, np.array([2, 1, 1])),
    "broadcast": (rows, columns[:, None, :] // 2), "apart": (rows, slice(None), rows), "with new": (rows, None, rows),
    "neighbours": (slice(None), rows, columns), "after new": (None, slice(None), rows, rows),
    "strided": (slice(None, None, -1), rows), "empty list": [],
    "no rows": np.zeros((0, 2), int), "int8": np.array([1, -1], np.int8), "range": range(2),
    "mask": np.arange(24).reshape(2, 3, 4) % 5 == 0, "row mask": np.array([False, True]), "matrix mask": mask,
    "mask and slice": (mask, slice(1, 3)), "mask of last": (..., np.array([True, False, False, True])),
    "masks": (np.array([True, True]), np.array([False, True, True])),
    "nothing": np.zeros((2, 3, 4), bool), "true": True, "false": False,
    "mask and index": (np.array([True, True]), np.array([2, 0])), "inner mask": (slice(None), mask.T[:, :1].repeat(4, 1)),
}


def as_tensors(key):
    parts = key if isinstance(key, tuple) else (key,)
    parts = tuple(minidl.tensor(p) if isinstance(p, np.ndarray) else p for p in parts)
    return parts if isinstance(key, tuple) else parts[0]


def for_numpy(key):
    parts = key if isinstance(key, tuple) else (key,)
    return tuple(np.asarray(p).item() if isinstance(p, minidl.Tensor) else p for p in parts) if isinstance(key, tuple) else key


@pytest.mark.parametrize("name", [*BASIC, *ADVANCED])
def test_reading(name):
    key = {**BASIC, **ADVANCED}[name]
    x = leaf(2, 3, 4, strided=name in ("array", "steps", "neighbours"))
    expected = np.asarray(x)[for_numpy(key)]
    y = x[as_tensors(key)]
    assert y.shape == expected.shape and np.array_equal(y, expected)
    assert np.array_equal(x[key], expected)
    if expected.size:
        assert share_memory(y.array, x.array) == (name in BASIC)
        check_gradients(lambda x: x[as_tensors(key)], x)
    else:
        assert not gradients_of(lambda x: x[as_tensors(key)], x)[0].any()


@pytest.mark.parametrize("name", [*BASIC, *ADVANCED])
def test_writing(name):
    key = {**BASIC, **ADVANCED}[name]
    x = minidl.tensor(np.zeros((2, 3, 4), np.float32))
    expected = np.array(x)
    value = np.arange(1, 1 + expected[for_numpy(key)].size).reshape(expected[for_numpy(key)].shape)
    expected[for_numpy(key)] = value
    x[as_tensors(key)] = minidl.tensor(value)
    assert np.array_equal(x, expected) and x.dtype == minidl.float32
    x[as_tensors(key)] = 7
    expected[for_numpy(key)] = 7
    assert np.array_equal(x, expected)


def test_of_several_values_for_one_place_the_last_stays():
    x, rows = minidl.zeros(2, 3), minidl.tensor([1, 0, 1, 1])
    x[rows] = minidl.arange(12.0).reshape(1, 4, 3)  # axes of size 1 in front count for nothing
    assert x.tolist() == [[3, 4, 5], [9, 10, 11]]
    x[:, minidl.tensor([2, 2])] = minidl.tensor([7.0, 8.0])
    assert x.tolist() == [[3, 4, 8], [9, 10, 8]]
    many = minidl.zeros(3)
    many[minidl.arange(3000) % 3] = minidl.arange(3000.0)
    assert many.tolist() == [2997, 2998, 2999]


def test_integers_come_before_index_tensors():
    x = leaf(2, 3, 4, 5)
    i, array = [1, 0, 1], np.asarray(x)
    for key, expected in (((0, slice(None), i), array[0][:, i]), ((i, 0), array[:, 0][i]),
                          ((1, slice(None), slice(None), i), array[1][:, :, i]),
                          ((slice(None), i, 0, i), array[:, :, 0][:, i, i])):
        assert np.array_equal(x[key], expected)
        check_gradients(lambda x, key=key: x[key], x, second=False)


def test_repeated_places_add_up():
    x = minidl.zeros(3, requires_grad=True)
    assert gradients_of(lambda x: x[[0, 2, 2, 2]], x)[0].tolist() == [1, 0, 3]
    assert gradients_of(lambda x: x[minidl.tensor([0, -3])], x)[0].tolist() == [2, 0, 0]


def test_long_sums_stay_accurate():
    gy = np.random.default_rng(0).uniform(0, 1, 10_000_000).astype(np.float32)
    y = np.asarray(Put((2,), minidl.ones(len(gy), dtype=int).array)(minidl.tensor(gy)))
    assert y.dtype == np.float32 and y[0] == 0 and abs(y[1] / math.fsum(gy.tolist()) - 1) < 1e-6


@pytest.mark.parametrize("indices", [(rows,), (rows, rows), (rows, columns % 3), (np.array([[1], [0]]), np.array([2, 0]))])
def test_take_and_put_are_adjoint(indices):
    random = np.random.default_rng(0)
    x = random.standard_normal((2, 3, 4))
    on_device = [minidl.tensor(index).array for index in indices]
    y = np.asarray(Take(*on_device)(minidl.tensor(x)))
    g = random.standard_normal(y.shape)
    back = np.asarray(Put(x.shape, *on_device)(minidl.tensor(g)))
    expected = np.zeros_like(x)
    for at in np.ndindex(np.broadcast_shapes(*(i.shape for i in indices))):
        expected[tuple(int(np.broadcast_to(i, np.broadcast_shapes(*(i.shape for i in indices)))[at]) for i in indices)] += g[at]
    assert np.allclose(back, expected) and np.isclose((y * g).sum(), (x * back).sum())


def test_integers_of_any_kind_of_tensor():
    x = minidl.arange(6, dtype="uint8").reshape(2, 3)
    assert x[[1]].dtype == minidl.uint8 and (x > 2)[:, 1].tolist() == [False, True]
    assert [row.tolist() for row in x] == [[0, 1, 2], [3, 4, 5]]


def test_float16():
    x = minidl.ones(2, dtype="float16", requires_grad=True)
    (g,) = gradients_of(lambda x: x[np.zeros(3000, int)], x)
    assert g.dtype == np.float16 and g.tolist() == [3000, 0]  # added one by one in float16 it would stop at 2048


def test_writes_that_backward_would_miss():
    x = minidl.ones(2, requires_grad=True)
    with pytest.raises(GraphError, match="item assignment changes in place"):
        x[0] = 5
    with pytest.raises(GraphError, match="would cut the gradient of the value"):
        minidl.zeros(2)[0] = x[0]
    with minidl.no_grad():
        x[0] = x[1] * 5
    assert x.tolist() == [5, 1]
    y = x * x
    with minidl.no_grad():
        x[1:][0] = 3
    with pytest.raises(GraphError, match="changed in place"):
        y.sum().backward()


def test_an_index_changed_after_use_is_noticed():
    x, index = minidl.ones(2, requires_grad=True), minidl.tensor([1, 1])
    y = x.gather(0, index)
    index[0] = 0
    with pytest.raises(GraphError, match="changed in place"):
        y.sum().backward()


def test_writing_into_a_view_of_one_element():
    x = minidl.zeros(2, 3)
    x[1, 2].fill_(5)
    x[0][1].add_(7)
    assert x.tolist() == [[0, 7, 0], [0, 0, 5]]


def test_narrow():
    x = leaf(2, 5)
    assert np.array_equal(x.narrow(1, 1, 3), np.asarray(x)[:, 1:4])
    assert np.array_equal(minidl.narrow(x, -1, -2, 2), np.asarray(x)[:, -2:])
    check_gradients(lambda x: x.narrow(1, 2, 2), x)


@pytest.mark.parametrize("key, message", [
    (2, r"dim 0 of shape \(2, 3\): index 2 is out of range for size 2"), (-3, "index -3 is out of range for size 2"),
    ((0, -4), r"dim 1 of shape \(2, 3\): index -4 is out of range for size 3"),
    ((..., np.int64(3)), "dim 1 .* index 3 is out of range"),
    ((slice(None), [0, 3]), r"dim 1 of shape \(2, 3\): index 3 is out of range for size 3"),
    ([0, -3], r"dim 0 of shape \(2, 3\): index -3 is out of range for size 2"),
    ((0, 0, 0), r"too many indices: 3 for shape \(2, 3\)"),
    ((..., 0, ...), "only one ellipsis"),
    (minidl.tensor([0.5]), "indices are bools or integers .* float32"),
    (minidl.tensor([1], dtype="uint8"), "uint8"),
    (minidl.tensor([True, False, True]), r"mask of shape \(3,\) does not fit shape \(2, 3\) at dim 0"),
    ((slice(None), minidl.tensor([True, False])), r"mask of shape \(2,\) does not fit shape \(2, 3\) at dim 1"),
    (([0, 1], [0, 1, 2]), r"index tensors of shapes \(2,\), \(3,\) do not broadcast"),
    (1.0, "a key is made of integers, slices, .* got 1.0"), ((0, "a"), "got 'a'"), ({}, "got {}"),
])
def test_bad_keys(key, message):
    x = minidl.ones(2, 3)
    with pytest.raises(IndexError, match=message):
        x[key]
    with pytest.raises(IndexError, match=message):
        x[key] = 1
    assert np.asarray(x).all()


def test_other_mistakes():
    x = minidl.ones(2, 3)
    with pytest.raises(ShapeError, match=r"item assignment to a tensor of shape \(2, 3\)"):
        x[0] = minidl.ones(2)
    with pytest.raises(ShapeError, match="read-only"):
        minidl.ones(1).expand(3)[0] = 1
    with pytest.raises(IndexError, match=r"3 slices from 1 do not fit into dim 1 of shape \(2, 3\)"):
        x.narrow(1, 1, 3)
    with pytest.raises(TypeError):
        len(minidl.tensor(1.0))
    with pytest.raises(IndexError, match="too many indices"):
        minidl.tensor(1.0)[0]
