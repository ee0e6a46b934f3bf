"""Joining and splitting against NumPy and finite differences."""

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from tests.checks import check_gradients, gradients_of, leaf, share_memory


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_cat(dim, strided):
    shapes = [[2, 3, 4] for _ in range(3)]
    for extra, shape in enumerate(shapes):
        shape[dim] += extra
    xs = [leaf(*shape, strided=strided) for shape in shapes]
    y = minidl.cat(xs, dim)
    assert np.array_equal(y, np.concatenate([np.asarray(x) for x in xs], dim))
    check_gradients(lambda *xs: minidl.cat(xs, dim), *xs)


def test_cat_of_one_tensor_twice_adds_its_gradients():
    x = leaf(2)
    weights = minidl.tensor(np.array([1.0, 2, 3, 4]))
    assert gradients_of(lambda x: minidl.cat([x, x]) * weights, x)[0].tolist() == [4, 6]


def test_cat_promotes_and_drops_nothing():
    y = minidl.cat([minidl.tensor([1, 2], dtype="uint8"), minidl.tensor([0.5])])
    assert y.dtype == minidl.float32 and y.tolist() == [1, 2, 0.5]
    x = minidl.ones(2, 3, requires_grad=True)
    assert minidl.cat([minidl.empty(0), x], 1).shape == (2, 3) and minidl.cat([minidl.empty(0), minidl.empty(0)]).shape == (0,)
    assert minidl.cat([x, minidl.ones(2, 0)], 1).shape == (2, 3)
    assert minidl.cat([x]).tolist() == x.tolist() and not share_memory(minidl.cat([x]).array, x.array)


@pytest.mark.parametrize("dim", [0, 1, 2, -1, -3])
def test_stack(dim):
    xs = [leaf(2, 3, seed=seed) for seed in range(4)]
    assert np.array_equal(minidl.stack(xs, dim), np.stack([np.asarray(x) for x in xs], dim))
    check_gradients(lambda *xs: minidl.stack(xs, dim), *xs)


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_split_chunk_unbind(dim, strided):
    x = leaf(5, 7, 6, strided=strided)
    size = x.shape[dim]
    sizes = [2, 0, size - 2]
    for parts, ends in ((x.split(3, dim), [3, 6][: -(-size // 3) - 1]), (x.split(sizes, dim), [2, 2]),
                        (x.chunk(2, dim), [-(-size // 2)])):
        expected = np.split(np.asarray(x), ends, dim)
        assert len(parts) == len(expected)
        assert all(np.array_equal(p, e) and share_memory(p.array, x.array) or not p.numel()
                   for p, e in zip(parts, expected, strict=True))
    rows = x.unbind(dim)
    assert isinstance(rows, tuple) and all(np.array_equal(row, np.asarray(x).take(i, dim)) for i, row in enumerate(rows))
    small = leaf(2, 3, 4)
    check_gradients(lambda x: minidl.split(x, 2, dim), small)
    check_gradients(lambda x: minidl.chunk(x, 2, dim)[-1], small)
    check_gradients(lambda x: minidl.unbind(x, dim)[1], small)


def test_unused_parts_have_gradient_zero():
    x = leaf(5)
    assert gradients_of(lambda x: x.split(2)[1], x)[0].tolist() == [0, 0, 1, 1, 0]


def test_empty():
    x = minidl.ones(0, 3)
    assert [p.shape for p in x.split(2)] == [(0, 3)] and [p.shape for p in x.chunk(2)] == [(0, 3)] * 2 and x.unbind() == ()
    assert x.unbind(1)[2].shape == (0,)
    integers = minidl.arange(6).split(4)
    assert integers[0].dtype == minidl.int64 and integers[1].tolist() == [4, 5]


@pytest.mark.parametrize("call, error, message", [
    (lambda x: minidl.cat([]), ShapeError, "at least one"),
    (lambda x: minidl.cat([x, minidl.ones(2, 4)]), ShapeError, r"cat along dim 0 .* got \(2, 3\), \(2, 4\)"),
    (lambda x: minidl.cat([x, minidl.ones(2)]), ShapeError, "agree on all but"),
    (lambda x: minidl.cat([x, x], 2), IndexError, "dim=2"),
    (lambda x: minidl.cat([x.sum(), x.sum()]), ShapeError, "cat"),
    (lambda x: minidl.stack([]), ShapeError, "got none"),
    (lambda x: minidl.stack([x, x.T]), ShapeError, r"one shape, got \(2, 3\), \(3, 2\)"),
    (lambda x: x.split(0), ShapeError, "at least 1"),
    (lambda x: x.split([1, 2]), ShapeError, r"\[1, 2\] do not add up to 2, the size of dim 0"),
    (lambda x: x.split([3, -1]), ShapeError, "do not add up"),
    (lambda x: x.split(1, 2), IndexError, "dim=2"),
    (lambda x: x.sum().split(1), ShapeError, "0-d"),
    (lambda x: x.chunk(0), ShapeError, "at least 1 chunk"),
    (lambda x: x.unbind(-3), IndexError, "dim=-3"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(minidl.ones(2, 3))
