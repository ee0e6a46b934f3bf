"""Schedules: resuming, functions and nesting, mistakes. Their arithmetic: doctests, and tests/parity/test_optim.py."""

import math

import pytest

import minidl
from minidl import optim
from minidl.errors import CheckpointError, UsageError
from minidl.optim.lr_scheduler import (
    CosineAnnealingLR,
    ExponentialLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    MultiStepLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)


def sgd(*rates):
    return optim.SGD([{"params": [minidl.zeros(1, requires_grad=True)], "lr": lr} for lr in rates or (1.0,)])


def follow(schedule, epochs, metrics=None):
    found = []
    for epoch in epochs:
        schedule.step(*([] if metrics is None else [metrics[epoch]]))
        found += schedule.get_last_lr()
    return found


RESUMED = {
    "step": lambda o: StepLR(o, 2), "milestones": lambda o: MultiStepLR(o, [3, 5]),
    "exponential": lambda o: ExponentialLR(o, 0.9),
    "cosine": lambda o: CosineAnnealingLR(o, 5), "linear": lambda o: LinearLR(o, total_iters=6),
    "lambda": lambda o: LambdaLR(o, lambda epoch: 0.5**epoch),
    "sequential": lambda o: SequentialLR(o, [LinearLR(o, total_iters=2), ExponentialLR(o, 0.9), StepLR(o, 2)], [3, 6]),
    "nested": lambda o: SequentialLR(o, [SequentialLR(o, [LinearLR(o), ExponentialLR(o, 0.5)], [2]), StepLR(o, 1)], [6]),
}


@pytest.mark.parametrize("build", RESUMED.values(), ids=RESUMED)
@pytest.mark.parametrize("stop", [1, 4, 7])
def test_resuming_changes_nothing(build, stop):
    whole = follow(build(sgd(1.0, 0.3)), range(9))
    optimizer = sgd(1.0, 0.3)
    schedule = build(optimizer)
    start = follow(schedule, range(stop))
    again = sgd(1.0, 0.3)
    resumed = build(again)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert resumed.get_last_lr() == schedule.get_last_lr()
    assert start + follow(resumed, range(stop, 9)) == whole


def test_plateau_resumes():
    metrics = [3.0, 2.0, 2.0, 2.0, 2.5, 2.0, 1.0, 1.0, 1.0]
    whole = follow(ReduceLROnPlateau(sgd(), patience=1, cooldown=1), range(9), metrics)
    optimizer = sgd()
    schedule = ReduceLROnPlateau(optimizer, patience=1, cooldown=1)
    start = follow(schedule, range(4), metrics)
    again = sgd()
    resumed = ReduceLROnPlateau(again)
    again.load_state_dict(optimizer.state_dict())
    resumed.load_state_dict(schedule.state_dict())
    assert start + follow(resumed, range(4, 9), metrics) == whole and len(set(whole)) > 2


def test_plateau_takes_a_tensor_and_counts_nan_as_no_improvement():
    schedule = ReduceLROnPlateau(sgd(), patience=0)
    schedule.step(minidl.tensor(3.0))
    schedule.step(math.nan)
    assert schedule.get_last_lr() == [pytest.approx(0.1)] and schedule.best == 3


def test_state_is_plain_data():
    def plain(value):
        if isinstance(value, dict):
            return all(isinstance(key, str) and plain(item) for key, item in value.items())
        return all(map(plain, value)) if isinstance(value, list) else isinstance(value, (int, float, str))

    for build in RESUMED.values():
        assert plain(build(sgd()).state_dict())
    assert plain(ReduceLROnPlateau(sgd()).state_dict())


def test_one_function_for_each_group():
    schedule = LambdaLR(sgd(1.0, 10.0), [lambda epoch: epoch, lambda epoch: 2 * epoch])
    assert schedule.get_last_lr() == [0, 0]
    assert follow(schedule, range(2)) == [1, 20, 2, 40]


def test_sequential_starts_each_schedule_from_the_initial_rate():
    optimizer = sgd(1.0)
    schedule = SequentialLR(optimizer, [ExponentialLR(optimizer, 0.5), ExponentialLR(optimizer, 0.1)], [3])
    assert follow(schedule, range(5)) == [0.5, 0.25, 1, 0.1, pytest.approx(0.01)]
    optimizer = sgd(1.0)
    schedule = SequentialLR(optimizer, [ExponentialLR(optimizer, 0.5), StepLR(optimizer, 2)], [2])
    assert follow(schedule, range(4)) == [0.5, 1, 1, 0.1]  # the second counts its own epochs


def test_epochs_of_cooldown_count_for_nothing():
    schedule = ReduceLROnPlateau(sgd(1.0), factor=0.5, patience=0, cooldown=2)
    assert follow(schedule, range(6), [3.0] * 6) == [1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_taking_up_an_old_run_by_its_last_epoch():
    optimizer = sgd(1.0)
    with pytest.raises(UsageError, match="initial_lr"):
        StepLR(optimizer, 2, last_epoch=3)
    optimizer.param_groups[0] |= {"initial_lr": 1.0, "lr": 0.1}
    schedule = StepLR(optimizer, 2, last_epoch=2)
    assert schedule.get_last_lr() + follow(schedule, range(1)) == [0.1, pytest.approx(0.01)]


def test_a_state_of_another_kind_is_refused():
    optimizer = sgd()
    schedule = StepLR(optimizer, 2)
    with pytest.raises(CheckpointError, match="needs gamma, step_size; the saved state has .*T_max"):
        schedule.load_state_dict(CosineAnnealingLR(sgd(), 3).state_dict())
    schedule.load_state_dict(schedule.state_dict() | {"step_size": 5, "optimizer": None, "step": 1})
    assert schedule.step_size == 5 and schedule.optimizer is optimizer and callable(schedule.step)


@pytest.mark.parametrize("build, message", [
    (lambda o: StepLR(minidl.zeros(1), 3), "needs an Optimizer, got Tensor"),
    (lambda o: LambdaLR(minidl.zeros(1), abs), "needs an Optimizer"),
    (lambda o: ReduceLROnPlateau(minidl.zeros(1)), "needs an Optimizer"),
    (lambda o: StepLR(o, 0), "step_size must be at least 1"),
    (lambda o: CosineAnnealingLR(o, 0), "T_max must be at least 1"),
    (lambda o: LinearLR(o, start_factor=0), "start_factor"),
    (lambda o: LambdaLR(o, [abs, abs]), "1 parameter groups need as many functions, got 2"),
    (lambda o: SequentialLR(o, [StepLR(o, 1)], [2]), "1 schedules need 0 milestones, got 1"),
    (lambda o: SequentialLR(o, [], []), "0 schedules"),
    (lambda o: SequentialLR(o, [StepLR(sgd(), 1)], []), "must belong to this optimizer"),
    (lambda o: SequentialLR(o, [ReduceLROnPlateau(o)], []), "ReduceLROnPlateau"),
    (lambda o: ReduceLROnPlateau(o, factor=1.0), "factor"),
    (lambda o: ReduceLROnPlateau(o, mode="down"), "'down'"),
    (lambda o: ReduceLROnPlateau(o, min_lr=[0.1, 0.1]), "as many min_lr, got 2"),
])
def test_mistakes_are_told(build, message):
    with pytest.raises(UsageError, match=message):
        build(sgd())


def test_a_schedule_without_a_rule():
    with pytest.raises(NotImplementedError, match="get_lr"):
        LRScheduler(sgd())
