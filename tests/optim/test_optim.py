"""Optimizers against naive loops and known values; groups, state, errors."""

import copy
import math

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.errors import CheckpointError, UsageError

BUILDERS = {
    "SGD": lambda p: optim.SGD(p, lr=0.1, momentum=0.9), "Adam": lambda p: optim.Adam(p, lr=0.1, amsgrad=True),
    "AdamW": lambda p: optim.AdamW(p, lr=0.1), "RMSprop": lambda p: optim.RMSprop(p, centered=True, momentum=0.5),
    "Adadelta": lambda p: optim.Adadelta(p),
}


def leaf(values, dtype="float64"):
    return minidl.tensor(values, dtype=dtype, requires_grad=True)


def naive(name, p, gradients):
    """Each rule for one number, as its paper states it."""
    m = v = top = buffer = mean = delta = 0.0
    for t, g in enumerate(gradients, 1):
        if name == "SGD":
            buffer = g if t == 1 else 0.9 * buffer + g
            p -= 0.1 * buffer
        elif name in ("Adam", "AdamW"):
            if name == "AdamW":
                p -= 0.1 * 0.01 * p
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
            top = max(top, v) if name == "Adam" else v
            p -= 0.1 * (m / (1 - 0.9**t)) / (math.sqrt(top / (1 - 0.999**t)) + 1e-8)
        elif name == "RMSprop":
            v, mean = 0.99 * v + 0.01 * g * g, 0.99 * mean + 0.01 * g
            buffer = 0.5 * buffer + g / (math.sqrt(v - mean * mean) + 1e-8)
            p -= 0.01 * buffer
        else:
            v = 0.9 * v + 0.1 * g * g
            change = math.sqrt(delta + 1e-6) / math.sqrt(v + 1e-6) * g
            delta = 0.9 * delta + 0.1 * change * change
            p -= change
    return p


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("name", BUILDERS)
@pytest.mark.parametrize("layout", ["contiguous", "transposed", "large"])
def test_updates(name, backend, layout):
    random = np.random.default_rng(0)
    shape = (3, 2) if layout != "large" else (300_000, 1)
    start = random.standard_normal(shape)
    p = leaf(start)
    if layout == "transposed":
        p = minidl.Tensor(np.asfortranarray(start), requires_grad=True)
    optimizer = BUILDERS[name]([p])
    gradients = [random.standard_normal(shape) for _ in range(4)]
    with minidl.use_backend(backend):
        for g in gradients:
            p.grad = minidl.tensor(g)
            optimizer.step()
    for at in [(0, 0), (2, shape[1] - 1), (shape[0] - 1, 0)]:
        assert p.array[at] == pytest.approx(naive(name, start[at], [g[at] for g in gradients]), rel=1e-10)


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


def test_half_precision_does_not_overflow():
    p = leaf([1.0, 1.0], "float16")
    p.grad = minidl.tensor([300.0, 1e-4], dtype="float16")
    optim.Adam([p], lr=0.1).step()
    assert p.dtype == minidl.float16 and np.isfinite(p.array).all()


@pytest.mark.parametrize("name", BUILDERS)
def test_dtype_shape_and_gradient_are_kept(name):
    p = leaf([[1.0, -2.0]], "float32")
    q = leaf([5.0], "float32")
    optimizer = BUILDERS[name]([p, q])
    p.grad = minidl.tensor([[0.5, 0.25]])
    optimizer.step()
    assert p.dtype == minidl.float32 and p.shape == (1, 2) and p.grad.tolist() == [[0.5, 0.25]]
    assert q.item() == 5  # no gradient, no change
    assert all(v.dtype == np.float32 for v in optimizer.state[p].values() if hasattr(v, "dtype"))


@pytest.mark.parametrize("name", BUILDERS)
def test_state_dict_round_trip(name):
    random = np.random.default_rng(0)
    a, b = leaf([1.0, 2.0]), leaf([1.0, 2.0])
    first, second = BUILDERS[name]([a]), BUILDERS[name]([b])
    gradients = random.standard_normal((6, 2))
    for g in gradients[:3]:
        a.grad = minidl.tensor(g)
        first.step()
    with minidl.no_grad():
        b.copy_(a)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for g in gradients[3:]:
        a.grad, b.grad = minidl.tensor(g), minidl.tensor(g)
        first.step()
        second.step()
    assert np.array_equal(a.array, b.array)


def test_groups():
    a, b = leaf([1.0]), leaf([1.0])
    optimizer = optim.SGD([{"params": [a]}, {"params": b, "lr": 0.5}], lr=0.1)
    a.grad = b.grad = minidl.tensor([1.0], dtype="float64")
    optimizer.step()
    assert (a.item(), b.item()) == (0.9, 0.5)
    c = leaf([0.0])
    optimizer.add_param_group({"params": [c], "momentum": 0.9})
    assert optimizer.param_groups[2]["lr"] == 0.1
    optimizer.zero_grad()
    assert a.grad is None


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
    with pytest.raises(minidl.errors.GraphError, match="changed in place"):
        loss.backward()


def test_state_survives_a_copy_of_the_model():
    model = nn.Linear(2, 1)
    twin = copy.deepcopy(model)
    optimizer, other = optim.Adam(model.parameters()), optim.Adam(twin.parameters())
    model(minidl.ones(3, 2)).sum().backward()
    optimizer.step()
    other.load_state_dict(optimizer.state_dict())
    assert set(other.state) == set(twin.parameters())


@pytest.mark.parametrize("build", [
    lambda p: optim.SGD([p], lr=-1), lambda p: optim.SGD([p], nesterov=True), lambda p: optim.Adam([p], betas=(1.0, 0.9)),
    lambda p: optim.SGD([]), lambda p: optim.SGD([p, p]), lambda p: optim.SGD([p * 2]), lambda p: optim.SGD(p),
    lambda p: optim.SGD(["p"]), lambda p: optim.Adadelta([p], rho=2), lambda p: optim.RMSprop([p], lr=math.nan),
    lambda p: optim.lr_scheduler.StepLR(p, 3),
])
def test_mistakes_are_told(build):
    with pytest.raises(UsageError):
        build(leaf([1.0]))


def test_state_of_another_model_is_refused():
    a, b = leaf([1.0]), leaf([1.0, 2.0])
    optimizer = optim.SGD([a], lr=0.1, momentum=0.9)
    a.grad = minidl.tensor([1.0], dtype="float64")
    optimizer.step()
    with pytest.raises(CheckpointError, match="shape"):
        optim.SGD([b], lr=0.1, momentum=0.9).load_state_dict(optimizer.state_dict())
    with pytest.raises(CheckpointError, match="groups"):
        optim.SGD([a, b], lr=0.1).load_state_dict(optimizer.state_dict())


@pytest.mark.parametrize("build", [
    lambda o: optim.lr_scheduler.StepLR(o, 2), lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 5),
    lambda o: optim.lr_scheduler.LambdaLR(o, lambda e: 0.5**e),
    lambda o: optim.lr_scheduler.SequentialLR(o, [optim.lr_scheduler.LinearLR(o), optim.lr_scheduler.ExponentialLR(o, 0.9)], [3]),
])
def test_schedules_resume(build):
    def rates(schedule, n):
        found = []
        for _ in range(n):
            schedule.step()
            found += schedule.get_last_lr()
        return found

    whole = rates(build(optim.SGD([leaf([1.0])], lr=1.0)), 8)
    optimizer = optim.SGD([leaf([1.0])], lr=1.0)
    schedule = build(optimizer)
    start = rates(schedule, 4)
    again = optim.SGD([leaf([1.0])], lr=1.0)
    resumed = build(again)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert start + rates(resumed, 4) == whole
