"""Gradient checkpointing: the same bits, less memory."""

import tracemalloc

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import GraphError
from minidl.utils.checkpoint import checkpoint, checkpoint_sequential


def gradients(block, x, run):
    block.zero_grad()
    x.grad = None
    minidl.manual_seed(4)
    y = run(block, x)
    (y * y).sum().backward()
    return [y.detach().numpy(), x.grad.numpy(), *(p.grad.numpy() for p in block.parameters())]


def test_the_same_bits_with_dropout():
    block = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))
    x = minidl.randn(5, 4, requires_grad=True)
    expected = gradients(block, x, lambda block, x: block(x))
    for run in (checkpoint, lambda block, x: checkpoint(lambda y: y, checkpoint(block.forward, x)),
                *(lambda block, x, n=n: checkpoint_sequential(block, n, x) for n in (1, 2, 3, 4))):
        assert all(np.array_equal(a, b) for a, b in zip(expected, gradients(block, x, run), strict=True))
        state = minidl.rand(1).item()
    gradients(block, x, lambda block, x: block(x))
    assert minidl.rand(1).item() == state  # backward leaves the random state alone


def test_frozen_parameters_and_plain_inputs():
    block, x = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), minidl.randn(3, 4)
    block[0].weight.requires_grad_(False)
    checkpoint(block, x).sum().backward()
    assert block[0].weight.grad is None and block[0].bias.grad is not None and block[1].weight.grad is not None


def test_several_inputs_and_outputs():
    x, y, unused = (minidl.randn(2, 3, requires_grad=True) for _ in range(3))
    a, b, c = checkpoint(lambda x, y, unused: (x * y, x.exp(), unused > 0), x, y, unused)
    (a.sum() + (b * b).sum()).backward()
    assert np.allclose(x.grad.numpy(), y.detach().numpy() + 2 * np.exp(2 * x.detach().numpy()), rtol=1e-5)
    assert np.array_equal(y.grad.numpy(), x.detach().numpy()) and not c.requires_grad
    assert unused.grad is None or not unused.grad.numpy().any()


def test_memory_falls():
    block, x = nn.Sequential(*[nn.ReLU() for _ in range(40)]), minidl.randn(500, 500, requires_grad=True)

    def kept(run):
        tracemalloc.start()
        y = run(block, x)
        current = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return current, y

    assert kept(lambda block, x: checkpoint_sequential(block, 5, x))[0] < 0.4 * kept(lambda block, x: block(x))[0]


def test_wrong_calls():
    x = minidl.ones(2, requires_grad=True)
    with pytest.raises(GraphError, match="cannot be differentiated twice"):
        minidl.autograd.grad(checkpoint(lambda x: x * x, x).sum(), x, create_graph=True)
    with pytest.raises(ValueError, match="segments must be from 1 to the number of modules, 2, got 3"):
        checkpoint_sequential(nn.Sequential(nn.ReLU(), nn.ReLU()), 3, x)
    written = checkpoint(lambda x: x * x, x)
    with minidl.no_grad():
        x += 1
    with pytest.raises(GraphError, match="changed in place"):
        written.sum().backward()
