"""Clipping of gradients, and parameters as one vector. Norms of every type: tests/parity/test_optim.py."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import GraphError, ShapeError


def leaves(*gradients, dtype="float32"):
    found = [minidl.zeros(*np.shape(g), dtype=dtype, requires_grad=True) for g in gradients]
    for p, g in zip(found, gradients, strict=True):
        p.grad = minidl.tensor(g, dtype=dtype)
    return found


def test_clipping_by_norm():
    p = [*leaves([[3.0, 0.0]], [4.0]), minidl.zeros(1, requires_grad=True)]  # the last has no gradient
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == 5 and p[1].grad.item() == 4
    assert nn.utils.clip_grad_norm_(iter(p), 1.0).item() == 5
    assert p[0].grad[0, 0].item() == pytest.approx(0.6, rel=1e-6) and p[1].grad[0].item() == pytest.approx(0.8, rel=1e-6)
    assert p[0].grad.dtype == minidl.float32 and p[2].grad is None
    assert nn.utils.clip_grad_norm_(p[2], 1.0).item() == 0


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
def test_a_norm_that_is_not_finite(bad):
    p = leaves([3.0], [bad])
    with pytest.raises(GraphError, match=f"the norm of the gradients is {bad}"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    assert p[0].grad.item() == 3
    nn.utils.clip_grad_norm_(p, 1.0)
    assert p[0].grad.item() == 0 if bad == float("inf") else np.isnan(p[0].grad.item())
    assert np.isnan(p[1].grad.item())


def test_clipping_by_value():
    p = leaves([-3.0, 0.25, float("nan")], [[9.0]], dtype="float16")
    nn.utils.clip_grad_value_(p, 0.5)
    assert p[0].grad.tolist()[:2] == [-0.5, 0.25] and np.isnan(np.asarray(p[0].grad)[2]) and p[1].grad.item() == 0.5
    assert p[0].grad.dtype == minidl.float16


def test_clipping_is_a_write():
    p = leaves([3.0])[0]
    loss = (p.grad.requires_grad_() ** 2).sum()
    nn.utils.clip_grad_norm_(p, 1.0)
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


def test_vectors():
    net = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(net.parameters())
    assert np.array_equal(vector, np.concatenate([np.asarray(net.weight).ravel(), np.asarray(net.bias)]))
    (vector * minidl.arange(9)).sum().backward()
    assert net.weight.grad.tolist() == [[0, 1], [2, 3], [4, 5]] and net.bias.grad.tolist() == [6, 7, 8]
    array = net.weight.array
    nn.utils.vector_to_parameters(minidl.arange(9).float(), net.parameters())
    assert net.weight.array is array and net.weight.tolist() == [[0, 1], [2, 3], [4, 5]] and net.bias.tolist() == [6, 7, 8]
    for shape in ((8,), (10,), (9, 1)):
        with pytest.raises(ShapeError, match=r"a vector of shape \(9,\), got"):
            nn.utils.vector_to_parameters(minidl.zeros(*shape), net.parameters())
