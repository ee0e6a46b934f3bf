"""Optimizers and schedules against PyTorch: whole trajectories, every option."""

import itertools
import math

import numpy as np
import pytest

import minidl
from minidl import nn, optim

torch = pytest.importorskip("torch")

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}), ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "maximize": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.1}), ("Adam", {"lr": 0.1, "weight_decay": 0.1}), ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-2, "maximize": True}),
    ("AdamW", {"lr": 0.1}), ("AdamW", {"lr": 0.1, "weight_decay": 0.1, "amsgrad": True}),
    ("AdamW", {"lr": 0.1, "betas": (0.0, 0.0), "maximize": True}),
    ("RMSprop", {"lr": 0.01}), ("RMSprop", {"lr": 0.01, "centered": True, "alpha": 0.9}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "eps": 1e-3, "maximize": True}),
    ("Adadelta", {}), ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}), ("Adadelta", {"maximize": True}),
]


def descend(ours, theirs, p, t, steps, seed=0):
    random = np.random.default_rng(seed)
    for _ in range(steps):
        g = random.standard_normal(p.shape)
        p.grad, t.grad = minidl.Tensor(g.copy()), torch.tensor(g)
        ours.step()
        theirs.step()
    assert np.array_equal(p.grad.array, g)


def twins(shape=(5, 3)):
    start = np.random.default_rng(1).standard_normal(shape)
    return minidl.Tensor(start.copy(), requires_grad=True), torch.tensor(start, requires_grad=True)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_trajectories(name, options, backend):
    p, t = twins()
    ours, theirs = getattr(optim, name)([p], **options), getattr(torch.optim, name)([t], **options)
    with minidl.use_backend(backend):
        descend(ours, theirs, p, t, 100)
    assert np.abs(p.array - t.detach().numpy()).max() < 1e-12


@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_taking_over_pytorchs_state(name, options):
    p, t = twins()
    theirs = getattr(torch.optim, name)([t], **options)
    descend(optim.SGD([minidl.zeros(1, requires_grad=True)]), theirs, p, t, 10)
    with minidl.no_grad():
        p.copy_(t.detach().numpy())
    ours = getattr(optim, name)([p], **options)
    state = theirs.state_dict()
    state["state"] = {number: {key: value.numpy() if isinstance(value, torch.Tensor) else value
                               for key, value in values.items()} for number, values in state["state"].items()}
    ours.load_state_dict(state)
    descend(ours, theirs, p, t, 20, seed=2)
    assert np.abs(p.array - t.detach().numpy()).max() < 1e-12


@pytest.mark.parametrize("name, options, later", [
    ("SGD", {}, {"momentum": 0.9, "dampening": 0.3}), ("SGD", {"momentum": 0.9, "dampening": 0.3}, {"momentum": 0}),
    ("SGD", {"momentum": 0.9}, {"lr": 0.5, "weight_decay": 0.1, "nesterov": True}),
    ("RMSprop", {"centered": True, "momentum": 0.9}, {"centered": False, "momentum": 0}),
    ("Adam", {"amsgrad": True}, {"amsgrad": False, "betas": (0.5, 0.9)}), ("Adadelta", {}, {"rho": 0.5, "lr": 0.1})])
def test_options_changed_on_the_way(name, options, later):
    p, t = twins()
    ours, theirs = getattr(optim, name)([p], **options), getattr(torch.optim, name)([t], **options)
    descend(ours, theirs, p, t, 5)
    ours.param_groups[0].update(later)
    theirs.param_groups[0].update(later)
    descend(ours, theirs, p, t, 5, seed=2)
    assert np.abs(p.array - t.detach().numpy()).max() < 1e-12


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adadelta"])
def test_defaults(name):
    ours = getattr(optim, name)([minidl.zeros(1, requires_grad=True)]).defaults
    theirs = getattr(torch.optim, name)([torch.zeros(1, requires_grad=True)]).defaults
    assert ours == {key: theirs[key] for key in ours}


SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}), ("MultiStepLR", {"milestones": [2, 5, 5, 9]}),
    ("ExponentialLR", {"gamma": 0.9}), ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (epoch + 1)}),
    ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}), ("LinearLR", {"start_factor": 0.25, "total_iters": 6}),
    ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1}),
]
schedules = pytest.mark.parametrize("name, options", SCHEDULES)


def pairs(rates=(0.5, 0.1), **more):
    """An optimizer of ours and one of PyTorch, with two groups."""
    ours = [{"params": [minidl.zeros(1, requires_grad=True)], "lr": lr, **more} for lr in rates]
    theirs = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr, **more} for lr in rates]
    return optim.SGD(ours, lr=1.0), torch.optim.SGD(theirs, lr=1.0)


def of_both(name, options, optimizers):
    return [getattr(module, name)(optimizer, **options)
            for module, optimizer in zip((optim.lr_scheduler, torch.optim.lr_scheduler), optimizers, strict=True)]


def same_rates(ours, theirs):
    assert np.allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-12)
    assert np.allclose([g["lr"] for g in ours.optimizer.param_groups], [g["lr"] for g in theirs.optimizer.param_groups],
                       rtol=1e-12)


def follow(ours, theirs, epochs, metrics=None):
    same_rates(ours, theirs)
    for epoch in range(epochs):
        theirs.optimizer.step()
        metric = [] if metrics is None else [metrics[epoch]]
        ours.step(*metric)
        theirs.step(*metric)
        same_rates(ours, theirs)
        assert ours.last_epoch == theirs.last_epoch


@schedules
def test_schedules(name, options):
    follow(*of_both(name, options, pairs()), 30)


@schedules
def test_a_rate_that_is_set_by_hand_is_taken_up(name, options):
    ours, theirs = of_both(name, options, pairs())
    follow(ours, theirs, 4)
    ours.optimizer.param_groups[0]["lr"] = theirs.optimizer.param_groups[0]["lr"] = 0.7
    ours.step()
    theirs.step()
    follow(ours, theirs, 12)


@schedules
@pytest.mark.parametrize("last_epoch", [0, 2, 5, 7])
def test_taking_up_an_old_run_by_its_last_epoch(name, options, last_epoch):
    follow(*of_both(name, options | {"last_epoch": last_epoch}, pairs(initial_lr=1.0)), 12)


@pytest.mark.parametrize("name, options", [(n, o) for n, o in SCHEDULES if n not in ("MultiStepLR", "LambdaLR")])
def test_taking_over_the_state_of_pytorchs_schedule(name, options):
    """Except for its Counter of milestones, and functions."""
    ours, theirs = of_both(name, options, pairs())
    for _ in range(4):
        theirs.optimizer.step()
        theirs.step()
    ours.optimizer.load_state_dict(theirs.optimizer.state_dict())
    ours.load_state_dict(theirs.state_dict())
    follow(ours, theirs, 12)


@pytest.mark.parametrize("first, second", list(itertools.combinations(range(len(SCHEDULES)), 2)))
def test_two_at_once(first, second):
    optimizers = pairs()
    one, other = of_both(*SCHEDULES[first], optimizers), of_both(*SCHEDULES[second], optimizers)
    for _ in range(30):
        optimizers[1].step()
        for ours, theirs in (one, other):
            ours.step()
            theirs.step()
            same_rates(ours, theirs)


@pytest.mark.parametrize("first, second", list(itertools.permutations(range(len(SCHEDULES)), 2)))
def test_one_after_the_other(first, second):
    optimizers = pairs()
    parts = zip(of_both(*SCHEDULES[first], optimizers), of_both(*SCHEDULES[second], optimizers), strict=True)
    follow(*[module.SequentialLR(optimizer, list(schedules), milestones=[5]) for module, optimizer, schedules in
             zip((optim.lr_scheduler, torch.optim.lr_scheduler), optimizers, parts, strict=True)], 30)


@pytest.mark.parametrize("options", [
    {}, {"mode": "max", "patience": 2}, {"threshold_mode": "abs", "threshold": 0.1, "patience": 1},
    {"cooldown": 3, "patience": 1, "min_lr": 0.05}, {"mode": "max", "threshold_mode": "abs", "min_lr": [0.3, 0.01]},
    {"patience": 0, "eps": 0.02, "factor": 0.5}])
def test_plateau(options):
    metrics = np.round(np.random.default_rng(0).standard_normal(40), 1).tolist()
    follow(*of_both("ReduceLROnPlateau", options, pairs()), 40, metrics)


@pytest.mark.parametrize("norm_type", [1, 2.0, 3, math.inf])
@pytest.mark.parametrize("largest", [1.0, math.inf, math.nan])
def test_clipping_by_norm(norm_type, largest):
    gradients = [np.array([0.5, -2.0]), np.array([[largest, 3.0]])]
    ours = [minidl.zeros(*g.shape, dtype="float64", requires_grad=True) for g in gradients]
    theirs = [torch.zeros(*g.shape, dtype=torch.float64, requires_grad=True) for g in gradients]
    for g, p, t in zip(gradients, ours, theirs, strict=True):
        p.grad, t.grad = minidl.tensor(g), torch.tensor(g)
    norm = nn.utils.clip_grad_norm_(ours, 1.5, norm_type)
    assert np.allclose(norm.item(), torch.nn.utils.clip_grad_norm_(theirs, 1.5, norm_type).item(), equal_nan=True)
    for p, t in zip(ours, theirs, strict=True):
        assert np.allclose(p.grad.array, t.grad.numpy(), rtol=1e-12, equal_nan=True)
