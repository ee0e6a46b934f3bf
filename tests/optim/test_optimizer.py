"""Optimizers: known values, groups, state, what is left untouched, errors. Their kernels: tests/kernels/test_optim.py."""

import copy
import math
import pickle

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.errors import CheckpointError, GraphError, ShapeError, UsageError
from tests.checks import share_memory

BUILDERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9), "Adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1), "RMSprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.5),
    "Adadelta": lambda p: optim.Adadelta(p),
}
every_optimizer = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def leaf(values, dtype="float64"):
    return minidl.tensor(values, dtype=dtype, requires_grad=True)


def descend(optimizer, p, gradients):
    for g in gradients:
        p.grad = minidl.tensor(g, dtype=p.dtype)
        optimizer.step()


def test_placement_of_eps():
    p = leaf([1.0])
    p.grad = minidl.tensor([1e-3], dtype="float64")
    optim.Adam([p], lr=0.1, eps=1e-2).step()
    assert p.item() == pytest.approx(0.990909, abs=1e-6)


@pytest.mark.parametrize("kind, expected", [(optim.Adam, 0.9), (optim.AdamW, 0.99)])
def test_weight_decay_with_zero_gradient(kind, expected):
    p = leaf([1.0])
    p.grad = minidl.zeros(1, dtype="float64")
    kind([p], lr=0.1, weight_decay=0.1).step()
    assert p.item() == pytest.approx(expected, abs=1e-6)


def test_momentum_that_is_set_later_begins_then():
    p = leaf([0.0])
    optimizer = optim.SGD([p], lr=1.0)
    descend(optimizer, p, [[1.0]])
    optimizer.param_groups[0]["momentum"] = 0.5
    descend(optimizer, p, [[1.0], [1.0]])
    assert p.item() == -(1 + 1 + 1.5)


@every_optimizer
def test_what_has_no_gradient_or_belongs_to_the_user_is_left_alone(build):
    p, q = leaf([[1.0, -2.0]], "float32"), leaf([5.0], "float32")
    array = p.array
    optimizer = build([p, q])
    p.grad = minidl.tensor([[0.5, 0.25]])
    optimizer.step()
    assert p.array is array and p.dtype == minidl.float32 and p.grad.tolist() == [[0.5, 0.25]]
    assert q.item() == 5 and q not in optimizer.state
    assert all(v.dtype == np.float32 for v in optimizer.state[p].values() if hasattr(v, "dtype"))


def test_half_precision_keeps_its_state_in_float32():
    p = leaf([1.0, 1.0], "float16")
    p.grad = minidl.tensor([300.0, 1e-4], dtype="float16")
    optimizer = optim.Adam([p], lr=0.1)
    optimizer.step()
    assert p.dtype == minidl.float16 and np.allclose(p, 0.9, atol=1e-3)
    assert optimizer.state[p]["exp_avg_sq"].dtype == np.float32


def test_groups():
    a, b = leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    a.grad = b.grad = minidl.tensor([1.0], dtype="float64")
    optimizer.step()
    assert (a.item(), b.item()) == (0.9, 0.5)
    optimizer.add_param_group({"params": [leaf([0.0])], "momentum": 0.9})
    assert [group["momentum"] for group in optimizer.param_groups] == [0, 0, 0.9] and optimizer.param_groups[2]["lr"] == 0.1
    assert repr(optimizer).count("momentum=0.9") == 1


def test_zero_grad():
    p = leaf([1.0])
    optimizer = optim.SGD([p])
    p.grad = minidl.tensor([math.nan], dtype="float64")
    optimizer.zero_grad(set_to_none=False)
    assert p.grad.tolist() == [0] and p.grad.dtype == minidl.float64
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.RMSprop, optim.Adadelta])
def test_a_rule_derived_from_another(kind):
    """Twice the gradient for one of two parameters, and what the optimizer would do with it."""

    class Derived(kind):
        def update(self, p, g, group, state):
            super().update(p, g if p.size > 1 else 2 * g, group, state)

    def trained(build, factor):
        a, b = leaf([1.0, 2.0]), leaf([1.0])
        optimizer = build([a, b], lr=0.1)
        for g in (0.5, -3.0):
            a.grad, b.grad = minidl.full((2,), g, dtype="float64"), minidl.full((1,), g * factor, dtype="float64")
            optimizer.step()
        return a.tolist() + b.tolist()

    assert trained(Derived, 1) == trained(kind, 2) != trained(kind, 1)


def test_closure():
    p = leaf([3.0])
    optimizer = optim.SGD([p], lr=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with minidl.no_grad():
        assert optimizer.step(closure).item() == 9
    assert p.item() == pytest.approx(2.4)


def test_a_step_is_a_write():
    p = leaf([3.0])
    optimizer = optim.SGD([p], lr=0.1)
    loss = (p * p).sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()


# State


@every_optimizer
def test_state_dict_round_trip(build):
    gradients = np.random.default_rng(0).standard_normal((6, 2))
    a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    first, second = build([a]), build([b])
    descend(first, a, gradients[:3])
    with minidl.no_grad():
        b.copy_(a)
    second.load_state_dict(first.state_dict())
    descend(first, a, gradients[3:])
    descend(second, b, gradients[3:])
    assert np.array_equal(a, b)
    arrays = [v for v in first.state[a].values() if hasattr(v, "ndim")]
    assert not any(share_memory(v, w) for v in arrays for w in second.state[b].values() if hasattr(w, "ndim"))


def test_state_dict_has_pytorchs_structure():
    a, b, c = leaf([1.0]), leaf([1.0, 2.0]), leaf([[1.0]])
    optimizer = optim.Adam([{"params": [a, b]}, {"params": [c], "lr": 0.5}])
    c.grad = minidl.tensor([[1.0]], dtype="float64")
    optimizer.step()
    state = optimizer.state_dict()
    assert [group["params"] for group in state["param_groups"]] == [[0, 1], [2]] and state["param_groups"][1]["lr"] == 0.5
    assert list(state["state"]) == [2] and state["state"][2]["step"] == 1
    assert isinstance(state["state"][2]["exp_avg"], minidl.Tensor)


def test_loading_takes_options_and_layouts_over():
    a, b = leaf(np.ones((2, 3))), leaf(np.ones((2, 3)))
    first, second = optim.SGD([a], lr=0.5, momentum=0.9), optim.SGD([b], lr=0.1)
    a.grad = minidl.ones(2, 3, dtype="float64")
    first.step()
    state = first.state_dict()
    state["state"][0]["momentum_buffer"] = np.asfortranarray(np.asarray(state["state"][0]["momentum_buffer"]))
    second.load_state_dict(state)
    assert second.param_groups[0]["lr"] == 0.5 and second.param_groups[0]["params"] == [b]
    assert second.state[b]["momentum_buffer"].flags.c_contiguous


def test_state_follows_the_parameters_of_a_copy():
    """State belongs to parameters, not to their addresses: it survives deepcopy and pickle together with the model."""
    model = nn.Linear(2, 1)
    optimizer = optim.Adam(model.parameters())
    model(minidl.ones(3, 2)).sum().backward()
    optimizer.step()
    for copied in (copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))):
        twin, other = copied((model, optimizer))
        assert set(other.state) == set(twin.parameters()) and twin.weight is not model.weight
        before = np.array(model.weight)
        for net, its_optimizer in ((model, optimizer), (twin, other)):
            its_optimizer.zero_grad()
            (net(minidl.ones(3, 2)) ** 2).sum().backward()
            its_optimizer.step()
        assert np.array_equal(model.weight, twin.weight) and not np.array_equal(model.weight, before)


def test_state_of_another_model_or_optimizer_is_refused_whole():
    a, b = leaf([1.0]), leaf([1.0, 2.0])
    optimizer = optim.SGD([a], lr=0.1, momentum=0.9)
    descend(optimizer, a, [[1.0]])
    state = optimizer.state_dict()
    for other, message in [(optim.SGD([b], lr=0.5, momentum=0.9), r"shape \(1,\), its parameter \(2,\)"),
                           (optim.SGD([a, b], lr=0.5), r"groups of \[1\] parameters, this one of \[2\]"),
                           (optim.Adam([leaf([1.0])], lr=0.5), "Adam needs exp_avg, exp_avg_sq, step")]:
        with pytest.raises(CheckpointError, match=message):
            other.load_state_dict(state)
        assert not other.state and other.param_groups[0]["lr"] == 0.5
    state["param_groups"][0]["lr"] = -1
    with pytest.raises(UsageError, match="lr"):
        optimizer.load_state_dict(state)
    assert optimizer.param_groups[0]["lr"] == 0.1


# Mistakes


@pytest.mark.parametrize("build, message", [
    (lambda p: optim.SGD([p], lr=-1), "lr must be finite and at least 0, got -1"),
    (lambda p: optim.SGD([{"params": [p], "momentum": -1}]), "momentum"),
    (lambda p: optim.SGD([p], nesterov=True), "momentum above 0"),
    (lambda p: optim.SGD([p], nesterov=True, momentum=0.9, dampening=0.1), "dampening of 0"),
    (lambda p: optim.Adam([p], betas=(1.0, 0.9)), r"betas must be two numbers in \[0, 1\)"),
    (lambda p: optim.AdamW([p], eps=-1e-8), "eps"),
    (lambda p: optim.RMSprop([p], lr=math.nan), "lr"),
    (lambda p: optim.Adadelta([p], rho=2), "rho must be at most 1"),
    (lambda p: optim.SGD([]), "empty list"),
    (lambda p: optim.SGD([p, p]), r"shape \(1,\) stands in two groups"),
    (lambda p: optim.SGD([{"params": [p]}, {"params": [p]}]), "two groups"),
    (lambda p: optim.SGD([p * 2]), "leaves"),
    (lambda p: optim.SGD(p), "got one tensor"),
    (lambda p: optim.SGD(nn.Linear(1, 1).named_parameters()), r"model.parameters\(\) gives them, got tuple"),
])
def test_mistakes_are_told(build, message):
    with pytest.raises(UsageError, match=message):
        build(leaf([1.0]))


@every_optimizer
def test_a_gradient_that_does_not_fit_never_reaches_a_kernel(build):
    p = leaf([1.0, 2.0])
    optimizer = build([p])
    for g in (minidl.ones(1, dtype="float64"), minidl.ones(3, dtype="float64"), minidl.ones(2, dtype="float32")):
        p.grad = g
        with pytest.raises(ShapeError, match="gradient of shape"):
            optimizer.step()
    assert p.tolist() == [1, 2]
