"""Flips, rolls, repeats, triangles and diagonals against NumPy and finite differences."""

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from tests.checks import check_gradients, leaf, share_memory

OPS = {
    "flip": (lambda x: x.flip(0), lambda a: a[::-1]),
    "flip of two": (lambda x: minidl.flip(x, dims=[-1, 0]), lambda a: a[::-1, :, ::-1]),
    "roll": (lambda x: x.roll(5, 1), lambda a: np.roll(a, 5, 1)),
    "roll of two": (lambda x: minidl.roll(x, (1, -2), (0, -1)), lambda a: np.roll(a, (1, -2), (0, 2))),
    "roll flat": (lambda x: x.roll(-5), lambda a: np.roll(a, -5)),
    "repeat": (lambda x: x.repeat(2, 1, 3), lambda a: np.tile(a, (2, 1, 3))),
    "repeat in front": (lambda x: x.repeat((2, 1, 1, 2)), lambda a: np.tile(a, (2, 1, 1, 2))),
    "repeat no times": (lambda x: x.repeat(1, 0, 2), lambda a: np.tile(a, (1, 0, 2))),
    "repeat once": (lambda x: x.repeat(1, 1, 1), lambda a: a),
    "tile": (lambda x: minidl.tile(x, dims=(2, 3)), lambda a: np.tile(a, (2, 3))),
    "tril": (lambda x: x.tril(), np.tril),
    "tril 1": (lambda x: minidl.tril(x, diagonal=1), lambda a: np.tril(a, 1)),
    "tril -2": (lambda x: x.tril(-2), lambda a: np.tril(a, -2)),
    "triu": (lambda x: x.triu(), np.triu),
    "triu 2": (lambda x: minidl.triu(x, diagonal=2), lambda a: np.triu(a, 2)),
    "triu -1": (lambda x: x.triu(-1), lambda a: np.triu(a, -1)),
    "diagonal": (lambda x: x.diagonal(), lambda a: a.diagonal()),
    "diagonal 1": (lambda x: minidl.diagonal(x, 1, dim1=-1, dim2=0), lambda a: a.diagonal(1, -1, 0)),
    "diagonal -2": (lambda x: x.diagonal(-2, 1, 2), lambda a: a.diagonal(-2, 1, 2)),
    "diagonal outside": (lambda x: x.diagonal(9), lambda a: a.diagonal(9)),
    "diag of matrix": (lambda x: x.flatten(1).diag(1), lambda a: np.diag(a.reshape(2, 12), 1)),
    "diag of vector": (lambda x: minidl.diag(x.flatten()[:3], -2), lambda a: np.diag(a.reshape(-1)[:3], -2)),
}


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("name", OPS)
def test_values_and_gradients(name, strided):
    function, oracle = OPS[name]
    x = leaf(2, 3, 4, strided=strided)
    assert np.array_equal(function(x), oracle(np.asarray(x)))
    if oracle(np.asarray(x)).size:
        check_gradients(function, x)


@pytest.mark.parametrize("name", [name for name in OPS if name.startswith(("flip", "roll", "repeat", "tile", "tri"))])
def test_copies(name):
    x = minidl.tensor(np.ones((2, 3, 4), np.float32))
    y = OPS[name][0](x)
    assert not share_memory(x.array, y.array) and y.dtype == minidl.float32


def test_a_diagonal_can_be_written():
    x = minidl.zeros(2, 3)
    x.diagonal(1).fill_(7)
    assert x.tolist() == [[0, 7, 0], [0, 0, 7]]


def test_triangles_hide_what_is_not_finite():
    x = minidl.tensor([[1.0, np.inf], [np.nan, 2.0]])
    assert x.tril().triu().tolist() == [[1, 0], [0, 2]]
    assert minidl.tensor([[True, True]]).tril().tolist() == [[True, False]]


def test_empty_and_zero_dimensions():
    x = minidl.ones(0, 3)
    assert x.flip(0, 1).shape == x.roll(1, 0).shape == x.tril().shape == (0, 3)
    assert x.repeat(2, 2).shape == (0, 6) and x.diagonal().shape == (0,)
    scalar = minidl.tensor(5.0)
    assert scalar.repeat(2, 1).tolist() == [[5], [5]] and scalar.roll(1).item() == scalar.flip(()).item() == 5
    assert scalar.tile(2).tolist() == [5, 5] and scalar.repeat(()).shape == ()


@pytest.mark.parametrize("call, error, message", [
    (lambda x: x.flip(2), IndexError, "dim=2"),
    (lambda x: x.flip(0, 0), ShapeError, "twice"),
    (lambda x: x.roll((1, 2), 0), ShapeError, "as many shifts as dims"),
    (lambda x: x.roll(1, 2), IndexError, "dim=2"),
    (lambda x: x.repeat(2), ShapeError, r"at least 2 numbers, none negative, for shape \(2, 3\), got \(2,\)"),
    (lambda x: x.repeat(2, -1), ShapeError, "none negative"),
    (lambda x: x[0].tril(), ShapeError, "at least 2 axes"),
    (lambda x: x.diagonal(0, 1, -1), ShapeError, "twice"),
    (lambda x: x[0].diagonal(), IndexError, "dim=1"),
    (lambda x: x.unsqueeze(0).diag(), ShapeError, "vector or a matrix"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(minidl.ones(2, 3))
