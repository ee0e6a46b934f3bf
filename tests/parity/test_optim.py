"""Optimizers and schedules against PyTorch: whole trajectories, every option."""

import itertools

import numpy as np
import pytest

import minidl
from minidl import optim

torch = pytest.importorskip("torch")

OPTIMIZERS = [
    ("SGD", {"lr": 0.1}), ("SGD", {"lr": 0.1, "momentum": 0.9}), ("SGD", {"lr": 0.1, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "maximize": True, "weight_decay": 0.01}),
    ("Adam", {"lr": 0.1}), ("Adam", {"lr": 0.1, "weight_decay": 0.1}), ("Adam", {"lr": 0.1, "amsgrad": True}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 1e-2, "maximize": True}),
    ("AdamW", {"lr": 0.1}), ("AdamW", {"lr": 0.1, "weight_decay": 0.1, "amsgrad": True}),
    ("RMSprop", {"lr": 0.01}), ("RMSprop", {"lr": 0.01, "centered": True, "alpha": 0.9}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9, "eps": 1e-3}),
    ("Adadelta", {}), ("Adadelta", {"lr": 0.5, "rho": 0.8, "weight_decay": 0.1}),
]


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("name, options", OPTIMIZERS)
def test_trajectories(name, options, backend):
    random = np.random.default_rng(0)
    start = random.standard_normal((5, 3))
    p, t = minidl.Tensor(start.copy(), requires_grad=True), torch.tensor(start, requires_grad=True)
    ours, theirs = getattr(optim, name)([p], **options), getattr(torch.optim, name)([t], **options)
    with minidl.use_backend(backend):
        for _ in range(100):
            g = random.standard_normal(start.shape)
            p.grad, t.grad = minidl.Tensor(g.copy()), torch.tensor(g)
            ours.step()
            theirs.step()
    assert np.abs(p.array - t.detach().numpy()).max() < 1e-12
    assert np.array_equal(p.grad.array, g)


SCHEDULES = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}), ("MultiStepLR", {"milestones": [2, 5, 5, 9]}), ("ExponentialLR", {"gamma": 0.9}),
    ("LambdaLR", {"lr_lambda": lambda epoch: 1 / (epoch + 1)}), ("CosineAnnealingLR", {"T_max": 7, "eta_min": 0.01}),
    ("LinearLR", {"start_factor": 0.25, "total_iters": 6}), ("LinearLR", {"start_factor": 1.0, "end_factor": 0.1}),
]


def pairs(rates=(0.5, 0.1)):
    """An optimizer of ours and one of PyTorch, with two groups."""
    ours = [{"params": [minidl.zeros(1, requires_grad=True)], "lr": lr} for lr in rates]
    theirs = [{"params": [torch.zeros(1, requires_grad=True)], "lr": lr} for lr in rates]
    return optim.SGD(ours, lr=1.0), torch.optim.SGD(theirs, lr=1.0)


def follow(ours, theirs, epochs, *args):
    for epoch in range(epochs):
        assert np.allclose(ours.get_last_lr(), theirs.get_last_lr(), rtol=1e-12), epoch
        theirs.optimizer.step()
        metric = [a[epoch] for a in args]
        ours.step(*metric)
        theirs.step(*metric)


@pytest.mark.parametrize("name, options", SCHEDULES)
def test_schedules(name, options):
    a, b = pairs()
    follow(getattr(optim.lr_scheduler, name)(a, **options), getattr(torch.optim.lr_scheduler, name)(b, **options), 30)


@pytest.mark.parametrize("first, second", list(itertools.combinations(range(len(SCHEDULES)), 2)))
def test_sequential(first, second):
    a, b = pairs()
    schedules = []
    for optimizer, module in ((a, optim.lr_scheduler), (b, torch.optim.lr_scheduler)):
        parts = [getattr(module, SCHEDULES[i][0])(optimizer, **SCHEDULES[i][1]) for i in (first, second)]
        schedules.append(module.SequentialLR(optimizer, parts, milestones=[5]))
    follow(*schedules, 20)


@pytest.mark.parametrize("options", [{}, {"mode": "max", "patience": 2}, {"threshold_mode": "abs", "threshold": 0.1, "patience": 1},
                                     {"cooldown": 3, "patience": 1, "min_lr": 0.05}, {"mode": "max", "threshold_mode": "abs"}])
def test_plateau(options):
    a, b = pairs()
    metrics = np.round(np.random.default_rng(0).standard_normal(40), 1).tolist()
    follow(optim.lr_scheduler.ReduceLROnPlateau(a, **options), torch.optim.lr_scheduler.ReduceLROnPlateau(b, **options), 40, metrics)
