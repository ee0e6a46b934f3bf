"""Pooling against PyTorch: values, indices, gradients."""

import itertools

import numpy as np
import pytest

import minidl
from minidl.ops import pool

torch = pytest.importorskip("torch")

CHOICES = [[(2, 3), (3, 2), (1, 1)], [(1, 2), (2, 1), None], [(0, 0), (1, 0), (0, 1)], [False, True]]
GEOMETRIES = [g for g in itertools.product(*CHOICES)
              if all(p <= k // 2 for p, k in zip(g[2], g[0], strict=True))]


def compare(name, x, *args, **options):
    ours, theirs = minidl.Tensor(x.copy(), requires_grad=True), torch.tensor(x, requires_grad=True)
    y, ty = getattr(pool, name)(ours, *args, **options), getattr(torch.nn.functional, name)(theirs, *args, **options)
    if isinstance(y, tuple):
        assert np.array_equal(y[1].array, ty[1].numpy())
        y, ty = y[0], ty[0]
    g = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(minidl.Tensor(g))
    ty.backward(torch.tensor(g))
    assert np.allclose(y.detach().array, ty.detach().numpy(), rtol=1e-12)
    assert np.allclose(ours.grad.array, theirs.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("kernel, stride, padding, ceil_mode", GEOMETRIES)
def test_pooling(kernel, stride, padding, ceil_mode, backend):
    x = np.round(np.random.default_rng(0).standard_normal((2, 3, 7, 8)), 1)  # with ties
    with minidl.use_backend(backend):
        for dilation in ((1, 1), (2, 1), (1, 2)):
            compare("max_pool2d", x, kernel, stride, padding, dilation, ceil_mode, return_indices=True)
        for options in ({}, {"count_include_pad": False}, {"divisor_override": 5}):
            compare("avg_pool2d", x, kernel, stride, padding, ceil_mode, **options)


@pytest.mark.parametrize("size", [1, 3, (2, 5), (None, 3), (7, 11)])
def test_adaptive_pooling(size):
    x = np.random.default_rng(0).standard_normal((2, 3, 7, 8))
    compare("adaptive_avg_pool2d", x, size)
    compare("adaptive_max_pool2d", x, size, return_indices=True)
