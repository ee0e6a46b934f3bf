"""Schedules of the learning rate. Call ``step()`` once an epoch (or once a batch), after the optimizer's own step.

They follow PyTorch's arithmetic, in which most schedules compute the next rate from the current one, so that several can be
chained and a rate set by hand is respected.
"""

import math
from bisect import bisect_right

from minidl.errors import CaptureError, CheckpointError, UsageError
from minidl.kernels.recording import current
from minidl.optim.optimizer import Optimizer


class LRScheduler:
    """Base: subclasses write ``get_lr``, the rates of all groups at ``last_epoch``.

    ``last_epoch`` is -1 to begin; another value takes up an old run, whose rates must stand in the optimizer's groups under
    "lr" and "initial_lr" (as its state dict keeps them). Loading a schedule's own state dict is simpler.

    >>> import minidl
    >>> from minidl import optim
    >>> class InverseLR(LRScheduler):
    ...     def get_lr(self):
    ...         return [base / (1 + self.last_epoch) for base in self.base_lrs]
    >>> schedule = InverseLR(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0))
    >>> schedule.step(); schedule.get_last_lr()
    [0.5]
    """

    unsaved: tuple[str, ...] = ("optimizer",)  # attributes that are not part of the state dict
    initial = False  # true while the first rates are being set

    def __init__(self, optimizer: Optimizer, last_epoch=-1):
        _check_optimizer(optimizer)
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise UsageError(f"last_epoch={last_epoch} takes up an old run, but a parameter group has no 'initial_lr': "
                                 "load the optimizer's state dict first")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self._begin()

    def get_lr(self) -> list[float]:
        raise NotImplementedError(f"{type(self).__name__} has no get_lr")

    def step(self) -> None:
        """Set the rates of the next epoch."""
        if current() is not None:
            raise CaptureError("a schedule's step() within a captured step would be made while it is recorded, and not at its "
                               "replays: call it after the captured step, which follows the new rates")
        self.last_epoch += 1
        self._set(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """The rates set last, one for each parameter group."""
        return self._last_lr

    def state_dict(self) -> dict:
        """Everything but the optimizer and functions, as plain numbers and lists."""
        return {name: value for name, value in self.__dict__.items() if name not in self.unsaved}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over what ``state_dict`` gave; the rates themselves are in the optimizer's state.

        Raises CheckpointError for the state of another kind of schedule.
        """
        own = self.state_dict().keys()
        if not own <= state_dict.keys():
            raise CheckpointError(f"{type(self).__name__} needs {', '.join(sorted(own - state_dict.keys()))}; the saved state "
                                  f"has {', '.join(state_dict)}: is it another schedule's?")
        self.__dict__.update({name: state_dict[name] for name in own - set(self.unsaved)})

    def _begin(self) -> None:
        self.initial = True
        self.step()
        del self.initial

    def _restart(self) -> None:
        """Go back to epoch 0 and the initial rates."""
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        self.last_epoch = -1
        self._begin()

    def _rates(self) -> list[float]:
        return [group["lr"] for group in self.optimizer.param_groups]

    def _set(self, rates) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = list(rates)


class StepLR(LRScheduler):
    """The rate times ``gamma`` every ``step_size`` epochs.

    >>> import minidl
    >>> from minidl import optim
    >>> schedule = StepLR(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0), step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += schedule.get_last_lr(); schedule.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer, step_size: int, gamma=0.1, last_epoch=-1):
        _check_length("step_size", step_size)
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._rates()
        return [lr * self.gamma for lr in self._rates()]


class MultiStepLR(LRScheduler):
    """The rate times ``gamma`` at each of the epochs in ``milestones``; twice at one that is named twice.

    >>> import minidl
    >>> from minidl import optim
    >>> schedule = MultiStepLR(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0), [1, 3], gamma=0.5)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr(); schedule.step()
    >>> rates
    [1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = list(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [lr * self.gamma ** self.milestones.count(self.last_epoch) for lr in self._rates()]


class ExponentialLR(LRScheduler):
    """The rate times ``gamma`` every epoch.

    >>> import minidl
    >>> from minidl import optim
    >>> schedule = ExponentialLR(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0), gamma=0.5)
    >>> schedule.step(); schedule.step(); schedule.get_last_lr()
    [0.25]
    """

    def __init__(self, optimizer, gamma: float, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return self._rates() if self.initial else [lr * self.gamma for lr in self._rates()]


class LambdaLR(LRScheduler):
    """The initial rate times a function of the epoch, or of one function for each group.

    Functions are not part of the state dict. Raises UsageError unless there are as many functions as groups.

    >>> import minidl
    >>> from minidl import optim
    >>> schedule = LambdaLR(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0), lambda epoch: 1 / (1 + epoch))
    >>> schedule.step(); schedule.get_last_lr()
    [0.5]
    """

    unsaved = ("optimizer", "lr_lambdas")

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        _check_optimizer(optimizer)
        groups = len(optimizer.param_groups)
        self.lr_lambdas = list(lr_lambda) if isinstance(lr_lambda, (list, tuple)) else [lr_lambda] * groups
        if len(self.lr_lambdas) != groups:
            raise UsageError(f"{groups} parameter groups need as many functions, got {len(self.lr_lambdas)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self.lr_lambdas, strict=True)]


class CosineAnnealingLR(LRScheduler):
    """From the initial rate to ``eta_min`` over ``T_max`` epochs along half a cosine, and back up after that.

    Source: Loshchilov and Hutter 2017 (SGDR), eq. 5, without restarts.

    >>> import minidl
    >>> from minidl import optim
    >>> schedule = CosineAnnealingLR(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0), T_max=2)
    >>> schedule.step(); [round(lr, 6) for lr in schedule.get_last_lr()]
    [0.5]
    """

    def __init__(self, optimizer, T_max: int, eta_min=0.0, last_epoch=-1):
        _check_length("T_max", T_max)
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        t, n, low = self.last_epoch, self.T_max, self.eta_min
        if self.initial:
            return self._rates()
        if (t - 1 - n) % (2 * n) == 0:  # the step out of a trough, where the ratio below would be 0 / 0
            rise = (1 - math.cos(math.pi / n)) / 2
            return [lr + (base - low) * rise for lr, base in zip(self._rates(), self.base_lrs, strict=True)]
        ratio = (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n))
        return [ratio * (lr - low) + low for lr in self._rates()]


class LinearLR(LRScheduler):
    """The rate times a factor that moves from ``start_factor`` to ``end_factor`` over ``total_iters`` epochs.

    >>> import minidl
    >>> from minidl import optim
    >>> schedule = LinearLR(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0), start_factor=0.5, total_iters=2)
    >>> rates = []
    >>> for _ in range(4):
    ...     rates += schedule.get_last_lr(); schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 1.0]
    """

    def __init__(self, optimizer, start_factor=1 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise UsageError("start_factor must lie in (0, 1] and end_factor in [0, 1], "
                             f"got {start_factor} and {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._rates()]
        if self.initial or self.last_epoch > self.total_iters:
            return self._rates()
        change = self.end_factor - self.start_factor
        factor = 1 + change / (self.total_iters * self.start_factor + (self.last_epoch - 1) * change)
        return [lr * factor for lr in self._rates()]


class SequentialLR(LRScheduler):
    """Several schedules, one after another; each starts anew from the initial rates at its milestone.

    Raises UsageError for schedules of another optimizer, or unless there is one milestone between each two.

    >>> import minidl
    >>> from minidl import optim
    >>> optimizer = optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
    >>> warmup, decay = LinearLR(optimizer, 0.5, total_iters=2), ExponentialLR(optimizer, 0.5)
    >>> schedule = SequentialLR(optimizer, [warmup, decay], milestones=[2])
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += schedule.get_last_lr(); schedule.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.5, 0.25]
    """

    unsaved = ("optimizer", "_schedulers")

    def __init__(self, optimizer, schedulers: list[LRScheduler], milestones: list[int]):
        if not schedulers or len(milestones) != len(schedulers) - 1:
            raise UsageError(f"{len(schedulers)} schedules need {len(schedulers) - 1} milestones, got {len(milestones)}")
        if any(s.optimizer is not optimizer or isinstance(s, ReduceLROnPlateau) for s in schedulers):
            raise UsageError("all schedules must belong to this optimizer, and none may be a ReduceLROnPlateau, "
                             "whose step takes a metric")
        self._schedulers, self._milestones = list(schedulers), list(milestones)
        super().__init__(optimizer)

    def step(self):
        self.last_epoch += 1
        scheduler = self._schedulers[bisect_right(self._milestones, self.last_epoch)]
        if self.initial or self.last_epoch in self._milestones:
            scheduler._restart()
        else:
            scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self):
        return super().state_dict() | {"_schedulers": [s.state_dict() for s in self._schedulers]}

    def load_state_dict(self, state_dict):
        super().load_state_dict(state_dict)
        for scheduler, state in zip(self._schedulers, state_dict["_schedulers"], strict=True):
            scheduler.load_state_dict(state)


class ReduceLROnPlateau(LRScheduler):
    """The rate times ``factor`` when a metric has not improved for more than ``patience`` epochs; ``step(metric)``.

    An improvement is a change of more than ``threshold``, relative ("rel") or absolute ("abs"), down ("min") or up ("max").
    After a reduction, ``cooldown`` epochs count for nothing. No rate falls below ``min_lr`` (a number, or one for each
    group), and changes of at most ``eps`` are not made.

    >>> import minidl
    >>> from minidl import optim
    >>> schedule = ReduceLROnPlateau(optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0), factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     schedule.step(loss)
    >>> schedule.get_last_lr()
    [0.5]
    """

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
                 min_lr=0.0, eps=1e-8):
        _check_optimizer(optimizer)
        if factor >= 1:
            raise UsageError(f"factor must be below 1, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise UsageError(f"mode must be 'min' or 'max' and threshold_mode 'rel' or 'abs', got {mode!r} and "
                             f"{threshold_mode!r}")
        groups = len(optimizer.param_groups)
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * groups
        if len(self.min_lrs) != groups:
            raise UsageError(f"{groups} parameter groups need as many min_lr, got {len(self.min_lrs)}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = self._rates()

    def step(self, metrics):
        """Take note of a metric (a number or a tensor of one element), and lower the rates if it has stalled."""
        metric = float(metrics)
        self.last_epoch += 1
        if self._improved(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            self._reduce()
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._rates()

    def _reduce(self) -> None:
        lowered = [max(lr * self.factor, low) for lr, low in zip(self._rates(), self.min_lrs, strict=True)]
        self._set([new if old - new > self.eps else old for old, new in zip(self._rates(), lowered, strict=True)])

    def _improved(self, metric) -> bool:
        margin = self.threshold if self.mode == "max" else -self.threshold
        bar = self.best * (1 + margin) if self.threshold_mode == "rel" else self.best + margin
        return metric > bar if self.mode == "max" else metric < bar


def _check_optimizer(optimizer) -> None:
    if not isinstance(optimizer, Optimizer):
        raise UsageError(f"a schedule needs an Optimizer, got {type(optimizer).__name__}")


def _check_length(name: str, value) -> None:
    if value < 1:
        raise UsageError(f"{name} must be at least 1, got {value}")
