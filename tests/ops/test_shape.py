"""Shape ops against NumPy and finite differences, on views and copies alike."""

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from tests.checks import check_gradients, gradients_of, leaf, share_memory

OPS = {
    "reshape": (lambda x: x.reshape(6, -1), lambda a: a.reshape(6, 4)),
    "reshape by list": (lambda x: minidl.reshape(x, shape=[4, 6]), lambda a: a.reshape(4, 6)),
    "view": (lambda x: x.view(-1), lambda a: a.reshape(-1)),
    "flatten": (lambda x: x.flatten(), lambda a: a.reshape(-1)),
    "flatten from 1": (lambda x: x.flatten(1), lambda a: a.reshape(2, 12)),
    "flatten to -2": (lambda x: minidl.flatten(x, 0, -2), lambda a: a.reshape(6, 4)),
    "unflatten": (lambda x: x.unflatten(-1, (-1, 2)), lambda a: a.reshape(2, 3, 2, 2)),
    "unsqueeze": (lambda x: x.unsqueeze(1), lambda a: a[:, None]),
    "unsqueeze last": (lambda x: minidl.unsqueeze(x, -1), lambda a: a[..., None]),
    "squeeze": (lambda x: x.reshape(1, 2, 1, 12).squeeze(), lambda a: a.reshape(2, 12)),
    "squeeze one": (lambda x: x.reshape(1, 2, 1, 12).squeeze(-2), lambda a: a.reshape(1, 2, 12)),
    "squeeze some": (lambda x: x.reshape(1, 2, 1, 12).squeeze((0, 1)), lambda a: a.reshape(2, 1, 12)),
    "permute": (lambda x: x.permute(2, 0, -2), lambda a: a.transpose(2, 0, 1)),
    "permute by list": (lambda x: minidl.permute(x, dims=[1, 2, 0]), lambda a: a.transpose(1, 2, 0)),
    "transpose": (lambda x: x.transpose(0, -1), lambda a: a.swapaxes(0, 2)),
    "T": (lambda x: x.T, lambda a: a.T),
    "mT": (lambda x: x.mT, lambda a: a.swapaxes(1, 2)),
    "t": (lambda x: x.flatten(1).t(), lambda a: a.reshape(2, 12).T),
    "movedim": (lambda x: x.movedim(0, -1), lambda a: np.moveaxis(a, 0, -1)),
    "movedim of two": (lambda x: minidl.movedim(x, (0, 1), (-1, 0)), lambda a: np.moveaxis(a, (0, 1), (-1, 0))),
    "expand": (lambda x: x.unsqueeze(1).expand(-1, 5, 3, -1), lambda a: np.broadcast_to(a[:, None], (2, 5, 3, 4))),
    "expand in front": (lambda x: x.expand(5, 2, -1, 4), lambda a: np.broadcast_to(a, (5, 2, 3, 4))),
    "broadcast_to": (lambda x: minidl.broadcast_to(x, (5, 2, 3, 4)), lambda a: np.broadcast_to(a, (5, 2, 3, 4))),
    "expand_as": (lambda x: x.expand_as(minidl.ones(5, 2, 3, 4)), lambda a: np.broadcast_to(a, (5, 2, 3, 4))),
    "contiguous": (lambda x: x.permute(2, 1, 0).contiguous(), lambda a: a.transpose(2, 1, 0)),
}


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("name", OPS)
def test_values_and_gradients(name, strided):
    function, oracle = OPS[name]
    x = leaf(2, 3, 4, strided=strided)
    assert np.array_equal(function(x), oracle(np.asarray(x)))
    check_gradients(function, x)


@pytest.mark.parametrize("name", [name for name in OPS if name not in ("contiguous",)])
def test_views_where_the_layout_allows(name):
    x = minidl.tensor(np.zeros((2, 3, 4), np.float32))
    y = OPS[name][0](x)
    assert share_memory(x.array, y.array) and y.dtype == minidl.float32


def test_contiguous():
    x = minidl.arange(6).reshape(2, 3)
    assert x.contiguous() is x and x.T.contiguous().is_contiguous() and not x.T.is_contiguous()


@pytest.mark.parametrize("shape", [(0,), (2, 0, 3), (1, 1, 1)])
def test_empty_and_single(shape):
    x = minidl.tensor(np.ones(shape, np.float32), requires_grad=True)
    for function in (lambda x: x.flatten(), lambda x: x.T, lambda x: x.unsqueeze(0).squeeze(), lambda x: x.expand(4, *shape)):
        y = function(x)
        (g,) = gradients_of(function, x)
        assert g.shape == shape and g.dtype == np.float32 and np.all(g == y.numel() / max(x.numel(), 1))


def test_zero_dimensions():
    x = minidl.tensor(5.0, requires_grad=True)
    for y, shape in ((x.flatten(), (1,)), (x.squeeze(), ()), (x.squeeze(0), ()), (x.unsqueeze(0), (1,)), (x.T, ()),
                     (x.reshape(1, 1), (1, 1)), (x.t(), ()), (x.permute(()), ()), (x.transpose(0, -1), ()), (x.movedim(0, 0), ()),
                     (x.expand(2, 3), (2, 3)), (x.expand(()), ()), (x.unflatten(0, (1, 1)), (1, 1))):
        assert y.shape == shape and np.all(np.asarray(y) == 5)


def test_integers_and_bools_pass_through():
    x = minidl.tensor([[1, 2, 3]], dtype="uint8")
    assert x.T.dtype == x.reshape(-1).dtype == x.expand(2, 3).dtype == minidl.uint8
    assert (x > 1).flatten().dtype == minidl.bool


def test_broadcast_tensors():
    x, y = leaf(3, 1), leaf(2)
    a, b = minidl.broadcast_tensors(x, y)
    assert a.shape == b.shape == (3, 2)
    check_gradients(lambda x, y: minidl.broadcast_tensors(x, y)[0] * y, x, y)
    with pytest.raises(ShapeError, match=r"shapes \(3,\), \(2,\) do not broadcast"):
        minidl.broadcast_tensors(minidl.ones(3), minidl.ones(2))


@pytest.mark.parametrize("call, error, message", [
    (lambda x: x.reshape(5, 5), ShapeError, r"cannot reshape a tensor of shape \(2, 3, 4\), 24 elements, to \(5, 5\)"),
    (lambda x: x.reshape(-1, -1), ShapeError, "cannot reshape"),
    (lambda x: x.view(7), ShapeError, "cannot reshape"),
    (lambda x: x.flatten(2, 1), ShapeError, "start_dim=2 comes after end_dim=1"),
    (lambda x: x.flatten(3), IndexError, r"dim=3 is out of range for a tensor with 3 axes, shape \(2, 3, 4\)"),
    (lambda x: x.unflatten(2, (3, 2)), ShapeError, r"sizes \(3, 2\) do not multiply to 4"),
    (lambda x: x.unflatten(2, (3, -1)), ShapeError, "do not multiply to 4"),
    (lambda x: x.squeeze(3), IndexError, "dim=3"),
    (lambda x: x.unsqueeze(4), IndexError, "dim=4"),
    (lambda x: x.unsqueeze(-5), IndexError, "dim=-5"),
    (lambda x: x.permute(0, 1), ShapeError, "each of the 3 axes"),
    (lambda x: x.permute(0, 1, 1), ShapeError, r"dims \(0, 1, 1\) name an axis of shape \(2, 3, 4\) twice"),
    (lambda x: x.permute(0, 1, 3), IndexError, "dim=3"),
    (lambda x: x.transpose(0, 3), IndexError, "dim=3"),
    (lambda x: x.t(), ShapeError, "at most 2 axes"),
    (lambda x: x[0, 0].mT, ShapeError, "at least 2 axes"),
    (lambda x: x.movedim((0, 1), 2), ShapeError, "as many destinations as sources, got 1 and 2"),
    (lambda x: x.movedim((0, 0), (1, 2)), ShapeError, "twice"),
    (lambda x: x.expand(2, 3), ShapeError, r"cannot expand shape \(2, 3, 4\) to \(2, 3\)"),
    (lambda x: x.expand(2, 6, 4), ShapeError, "cannot expand"),
    (lambda x: x.expand(-1, 2, 3, 4), ShapeError, "cannot expand"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(minidl.ones(2, 3, 4))
