"""Normalisation against PyTorch: values, gradients of both orders, running statistics over several steps, edges."""

import numpy as np
import pytest

import minidl
from minidl import nn

torch = pytest.importorskip("torch")
F = torch.nn.functional


def numbers(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(dtype)


def both(*arrays):
    """The arrays as leaves of minidl and of PyTorch."""
    return [minidl.tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def close(ours, theirs, tolerance=1e-10):
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def compare(ours, theirs, *arrays, second=True):
    """Values, gradients, and gradients of the squared gradients."""
    xs, ts = both(*arrays)
    y, ty = ours(*xs), theirs(*ts)
    close(y, ty)
    gy = numbers(*y.shape, seed=9)
    gs = minidl.autograd.grad(y, xs, minidl.tensor(gy), create_graph=second)
    tgs = torch.autograd.grad(ty, ts, torch.tensor(gy), create_graph=second)
    for g, tg in zip(gs, tgs, strict=True):
        close(g, tg)
    if second:
        sum((g * g).sum() for g in gs).backward()
        sum((g * g).sum() for g in tgs).backward()
        for x, t in zip(xs, ts, strict=True):  # first derivatives do not depend on the bias
            close(x.grad if x.grad is not None else x * 0, t.grad if t.grad is not None else t * 0, 1e-8)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("shape", [(5, 3), (4, 3, 5), (2, 3, 4, 5), (7, 1), (1, 2, 3, 1)])
def test_batch_norm(shape, training):
    mean, var = numbers(shape[1], seed=3), np.abs(numbers(shape[1], seed=4)) + 0.1

    def ours(x, weight, bias):
        return minidl.batch_norm(x, minidl.tensor(mean), minidl.tensor(var), weight, bias, training, eps=1e-3)

    def theirs(x, weight, bias):
        return F.batch_norm(x, torch.tensor(mean), torch.tensor(var), weight, bias, training, eps=1e-3)

    compare(ours, theirs, numbers(*shape), numbers(shape[1], seed=1), numbers(shape[1], seed=2))


@pytest.mark.parametrize("shape, groups", [((5, 6), 2), ((2, 6, 5), 3), ((2, 4, 3, 5), 4), ((1, 4, 3, 5), 1)])
def test_group_norm(shape, groups):
    compare(lambda x, w, b: minidl.group_norm(x, groups, w, b), lambda x, w, b: F.group_norm(x, groups, w, b),
            numbers(*shape), numbers(shape[1], seed=1), numbers(shape[1], seed=2))


@pytest.mark.parametrize("shape, normalized", [((5, 3), (3,)), ((2, 3, 4), (3, 4)), ((2, 3, 4), (4,)), ((6,), (6,))])
def test_layer_norm(shape, normalized):
    compare(lambda x, w, b: minidl.layer_norm(x, normalized, w, b), lambda x, w, b: F.layer_norm(x, normalized, w, b),
            numbers(*shape), numbers(*normalized, seed=1), numbers(*normalized, seed=2))


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 9])
@pytest.mark.parametrize("shape", [(2, 7, 3), (3, 6, 2, 5), (1, 1, 2, 3)])
def test_local_response_norm(shape, size):
    settings = size, 1.5, 0.75, 2.0
    compare(lambda x: minidl.local_response_norm(x, *settings), lambda x: F.local_response_norm(x, *settings), numbers(*shape))


@pytest.mark.parametrize("p", [1, 2, 3])
@pytest.mark.parametrize("dim", [0, 1, -1])
def test_normalize(p, dim):
    compare(lambda x: minidl.normalize(x, p, dim), lambda x: F.normalize(x, p, dim), numbers(3, 4, 5))


LAYERS = [("BatchNorm1d", (3,), {}, (6, 3)), ("BatchNorm1d", (3,), {"momentum": None}, (4, 3, 5)),
          ("BatchNorm2d", (3,), {"eps": 1e-3, "momentum": 0.3}, (2, 3, 4, 5)),
          ("BatchNorm2d", (3,), {"affine": False}, (2, 3, 4, 5)),
          ("BatchNorm2d", (3,), {"track_running_stats": False}, (2, 3, 4, 5)),
          ("GroupNorm", (2, 6), {}, (3, 6, 4)), ("LayerNorm", ((4, 5),), {}, (3, 4, 5)),
          ("LayerNorm", (5,), {"bias": False}, (3, 4, 5)), ("LocalResponseNorm", (3,), {"alpha": 0.5}, (2, 6, 4))]


@pytest.mark.parametrize("name, args, options, shape", LAYERS)
def test_layers_over_several_steps(name, args, options, shape):
    """Five steps of descent in float32 on both sides: the same outputs, parameters and buffers, then the same in eval mode."""
    layer, peer = getattr(nn, name)(*args, **options), getattr(torch.nn, name)(*args, **options)
    assert repr(layer) == repr(peer) and list(layer.state_dict()) == list(peer.state_dict())
    for step in range(5):
        x, t = (pair[0] for pair in both(numbers(*shape, seed=step, dtype=np.float32)))
        y, ty = layer(x), peer(t)
        close(y, ty, 1e-5)
        (y**3).mean().backward()
        (ty**3).mean().backward()
        close(x.grad, t.grad, 1e-5)
        with minidl.no_grad(), torch.no_grad():
            for p, q in zip(layer.parameters(), peer.parameters(), strict=True):
                close(p.grad, q.grad, 1e-5)
                p -= p.grad * 0.1
                q -= q.grad * 0.1
        layer.zero_grad()
        peer.zero_grad()
    for value, theirs in zip(layer.state_dict().values(), peer.state_dict().values(), strict=True):
        assert str(value.dtype) == str(theirs.dtype).removeprefix("torch.")
        close(value, theirs, 1e-5)
    close(layer.eval()(x), peer.eval()(t), 1e-5)


@pytest.mark.parametrize("shape", [(0, 3), (0, 3, 2, 2), (2, 3, 0)])
def test_empty_batches(shape):
    name = "BatchNorm2d" if len(shape) == 4 else "BatchNorm1d"
    layer, peer = getattr(nn, name)(3), getattr(torch.nn, name)(3)
    (x,), (t,) = both(np.zeros(shape, np.float32))
    y, ty = layer(x), peer(t)
    y.sum().backward()
    ty.sum().backward()
    close(y, ty)
    close(layer.weight.grad, peer.weight.grad)
    for value, theirs in zip(layer.state_dict().values(), peer.state_dict().values(), strict=True):
        close(value, theirs)


@pytest.mark.parametrize("function, shape, options", [
    ("batch_norm", (1, 3), {"training": True}), ("batch_norm", (1, 3, 1, 1), {"training": True}), ("batch_norm", (2, 3), {}),
    ("group_norm", (1, 3), {"num_groups": 3}), ("group_norm", (2, 3), {"num_groups": 2}),
    ("local_response_norm", (2, 3), {"size": 3}), ("layer_norm", (2, 3), {"normalized_shape": (2,)}),
    ("layer_norm", (2, 3), {"normalized_shape": ()})])
def test_both_refuse(function, shape, options):
    arguments = (None, None) if function == "batch_norm" else ()
    with pytest.raises(ValueError):
        getattr(minidl, function)(minidl.ones(*shape), *arguments, **options)
    with pytest.raises((ValueError, RuntimeError)):
        getattr(F, function)(torch.ones(*shape), *arguments, **options)


def test_half_precision():
    array, weight = numbers(4, 3, 5, dtype=np.float16), np.ones(3, np.float32)
    (x, w), (t, tw) = both(array, weight)
    y, ty = (f(v, None, None, u, training=True) for f, v, u in ((minidl.batch_norm, x, w), (F.batch_norm, t, tw)))
    assert y.dtype == minidl.float16 and ty.dtype == torch.float16
    close(y, ty, 2e-3)


@pytest.mark.parametrize("eps", [1e-5, 0.0])
def test_frozen_batch_norm(eps):
    from tests.parity.vision import torchvision

    theirs = torchvision().ops.misc.FrozenBatchNorm2d(5, eps=eps)
    rng = np.random.default_rng(0)
    values = {name: rng.uniform(0.5, 1.5, 5).astype(np.float32) for name in ("weight", "bias", "running_mean", "running_var")}
    theirs.load_state_dict({name: torch.tensor(value) for name, value in values.items()})
    ours = minidl.nn.FrozenBatchNorm2d(5, eps=eps)
    ours.load_state_dict(values)
    x = rng.standard_normal((2, 5, 3, 4)).astype(np.float32)
    mine, other = minidl.tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, expected = ours(mine), theirs(other)
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-5, atol=1e-6)
    (y * y).sum().backward()
    (expected * expected).sum().backward()
    np.testing.assert_allclose(mine.grad.numpy(), other.grad.numpy(), rtol=1e-4, atol=1e-5)
