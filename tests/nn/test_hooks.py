"""Forward hooks, forward pre-hooks and full backward hooks."""

import copy
import gc
from typing import NamedTuple

import numpy as np
import pytest

import minidl
from minidl import nn


def test_forward_hooks():
    layer = nn.Identity()
    handles = [layer.register_forward_pre_hook(lambda m, args: (args[0] + 1,)),
               layer.register_forward_pre_hook(lambda m, args: args[0] * 2),  # not a tuple: the only input
               layer.register_forward_hook(lambda m, args, out: out * 10),
               layer.register_forward_hook(lambda m, args, out: None)]
    assert layer(minidl.tensor([1.0])).item() == 40
    handles[0].remove()
    handles[0].remove()
    assert layer(minidl.tensor([1.0])).item() == 20
    with handles[2]:
        handles[1].remove()
    assert layer(minidl.tensor([1.0])).item() == 1


def test_hooks_see_the_module_and_its_inputs_and_may_remove_themselves():
    seen = []

    def once(module, args, output):
        seen.append((module, len(args), output.shape))
        handle.remove()

    layer = nn.Linear(2, 3)
    handle = layer.register_forward_hook(once)
    for _ in range(2):
        layer(minidl.ones(4, 2))
    assert seen == [(layer, 1, (4, 3))]


class Affine(nn.Module):
    """Two outputs, three inputs, one of them no tensor."""

    def forward(self, x, scale, y, power=1):
        return x * scale + y, y**power


def watched(module, hook=None):
    seen = []

    def note(m, grad_inputs, grad_outputs):
        assert m is module
        seen.append([[None if g is None else g.tolist() for g in gs] for gs in (grad_inputs, grad_outputs)])
        return None if hook is None else hook(grad_inputs)

    module.handle = module.register_full_backward_hook(note)
    return seen


def test_backward_hooks_see_all_inputs_and_outputs():
    module = Affine()
    seen = watched(module)
    x, y = minidl.tensor([1.0, 2.0], requires_grad=True), minidl.tensor([3.0, 4.0], requires_grad=True)
    a, b = module(x, 5.0, y, power=2)
    (a * minidl.tensor([1.0, 10.0]) + b).sum().backward()
    assert seen == [[[[5, 50], None, [7, 18]], [[1, 10], [1, 1]]]]
    assert x.grad.tolist() == [5, 50] and y.grad.tolist() == [7, 18]
    module(x.detach(), 5.0, y)[1].sum().backward()
    assert seen[1] == [[None, None, [1, 1]], [[0, 0], [1, 1]]]


def test_each_call_has_gradients_of_its_own():
    """One leaf that goes into two calls: each hook sees the part of its call, not the sum."""
    layer = nn.Linear(1, 1, bias=False)
    seen = watched(layer)
    x = minidl.tensor([[1.0]], requires_grad=True)
    (layer(x) * 2 + layer(x) * 3).sum().backward()
    w = layer.weight.item()
    assert sorted(out for _, out in seen) == [[[[2.0]]], [[[3.0]]]]
    assert sum(gin[0][0][0] for gin, _ in seen) == pytest.approx(5 * w) and x.grad.item() == pytest.approx(5 * w)
    layer.handle.remove()
    layer(x).sum().backward()
    assert len(seen) == 2


def test_backward_hooks_without_an_input_that_wants_a_gradient():
    layer = nn.Linear(2, 1, bias=False)
    seen = watched(layer)
    (layer(minidl.ones(1, 2)) * 3).sum().backward()
    assert seen == [[[None], [[[3]]]]] and layer.weight.grad.tolist() == [[3, 3]]
    with minidl.no_grad():
        layer(minidl.ones(1, 2))
    assert len(seen) == 1


def test_backward_hooks_replace_gradients():
    layer = nn.Identity()
    watched(layer, lambda grads: (grads[0] * 10,))
    watched(layer, lambda grads: grads[0] + 1)
    x = minidl.tensor([1.0], requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.item() == 11
    watched(layer, lambda grads: (grads[0], grads[0]))
    with pytest.raises(ValueError, match="returned 2 gradients for 1 inputs"):
        layer(x).sum().backward()


def test_backward_hooks_are_differentiable():
    layer = nn.Identity()
    watched(layer, lambda grads: (grads[0] * 2,))
    x = minidl.tensor(3.0, requires_grad=True)
    (g,) = minidl.autograd.grad(layer(x) ** 3, x, create_graph=True)
    (h,) = minidl.autograd.grad(g, x)
    assert (g.item(), h.item()) == (2 * 27, 4 * 18)  # the hook doubles each passage: d(2 * 3 x²) = 2 * 2 * 6 x


class Pair(NamedTuple):
    main: minidl.Tensor
    aux: minidl.Tensor


def test_outputs_that_are_named_tuples_stay_so():
    class Two(nn.Module):
        def forward(self, x):
            return Pair(x * 2, minidl.tensor([1, 2]))

    module = Two()
    seen = watched(module)
    out = module(minidl.ones(2, requires_grad=True))
    out.main.sum().backward()
    assert isinstance(out, Pair) and seen == [[[[2, 2]], [[1, 1], None]]]


def test_outputs_that_hooks_cannot_watch():
    class Listed(nn.Module):
        def forward(self, x):
            return [x]

    module = Listed()
    watched(module)
    with pytest.raises(TypeError, match="Listed returned list"):
        module(minidl.ones(2))


def test_backward_hooks_keep_nothing_alive():
    layer = nn.Linear(2, 3)
    watched(layer)
    x = minidl.ones(4, 2, requires_grad=True)
    layer(x).sum().backward()
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(20):
            layer.handle.remove()
            layer.handle = layer.register_full_backward_hook(lambda m, gin, gout: None)
            layer(x).sum().backward()
        assert len(gc.get_objects()) - before < 20
    finally:
        gc.enable()


def test_hooks_are_copied_with_the_module():
    layer = nn.Identity()
    layer.register_forward_hook(lambda m, args, out: out + 1)
    twin = copy.deepcopy(layer)
    assert twin(minidl.zeros(1)).item() == 1
    twin._forward_hooks.clear()
    assert np.array_equal(layer(minidl.zeros(1)), [1])
