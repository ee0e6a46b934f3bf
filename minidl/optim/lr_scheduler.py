"""Schedules of the learning rate. Call ``step()`` once an epoch (or once a batch), after the optimizer's own step.

They follow PyTorch's arithmetic, in which most schedules compute the next rate from the current one, so that several can be
chained and a rate set by hand is respected.
"""

import math
from bisect import bisect_right

from minidl.errors import UsageError
from minidl.optim.optimizer import Optimizer


class LRScheduler:
    """Base: subclasses write ``get_lr``, the rates of all groups at ``last_epoch``."""

    def __init__(self, optimizer: Optimizer, last_epoch=-1):
        if not isinstance(optimizer, Optimizer):
            raise UsageError(f"a scheduler needs an Optimizer, got {type(optimizer).__name__}")
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def get_lr(self) -> list[float]:
        raise NotImplementedError

    def step(self) -> None:
        """Set the rates of the next epoch."""
        self.last_epoch += 1
        self._set(self.get_lr())

    def get_last_lr(self) -> list[float]:
        """The rates set last, one for each parameter group."""
        return self._last_lr

    def state_dict(self) -> dict:
        """Everything but the optimizer and functions, as plain numbers and lists."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer" and not callable(v)}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over what ``state_dict`` gave."""
        self.__dict__.update(state_dict)

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
    >>> optimizer = optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
    >>> schedule = StepLR(optimizer, step_size=2, gamma=0.5)
    >>> rates = []
    >>> for _ in range(5):
    ...     rates += schedule.get_last_lr(); schedule.step()
    >>> rates
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """

    def __init__(self, optimizer, step_size: int, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch == 0 or self.last_epoch % self.step_size:
            return self._rates()
        return [lr * self.gamma for lr in self._rates()]


class MultiStepLR(LRScheduler):
    """The rate times ``gamma`` at each of the epochs in ``milestones``."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [lr * self.gamma ** self.milestones.count(self.last_epoch) for lr in self._rates()]


class ExponentialLR(LRScheduler):
    """The rate times ``gamma`` every epoch."""

    def __init__(self, optimizer, gamma: float, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return self._rates() if self.last_epoch == 0 else [lr * self.gamma for lr in self._rates()]


class LambdaLR(LRScheduler):
    """The initial rate times a function of the epoch (or one function for each group).

    Functions are not part of the state dict.
    """

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        many = isinstance(lr_lambda, (list, tuple))
        self._lambdas = _Functions(lr_lambda if many else [lr_lambda] * len(optimizer.param_groups))
        if len(self._lambdas.items) != len(optimizer.param_groups):
            raise UsageError(f"{len(optimizer.param_groups)} parameter groups need as many functions, "
                             f"got {len(self._lambdas.items)}")
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        return [base * function(self.last_epoch) for base, function in zip(self.base_lrs, self._lambdas.items, strict=True)]


class _Functions:
    """A list of functions, callable itself so that the state dict passes over it."""

    def __init__(self, items):
        self.items = list(items)

    def __call__(self):
        raise TypeError("not a function")


class CosineAnnealingLR(LRScheduler):
    """From the initial rate to ``eta_min`` over ``T_max`` epochs along half a cosine, and back up after that.

    Source: Loshchilov and Hutter 2017 (SGDR), eq. 5, without restarts.
    """

    def __init__(self, optimizer, T_max: int, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        t, n = self.last_epoch, self.T_max
        if t == 0:
            return self._rates()
        if (t - 1 - n) % (2 * n) == 0:
            return [lr + (base - self.eta_min) * (1 - math.cos(math.pi / n)) / 2
                    for lr, base in zip(self._rates(), self.base_lrs, strict=True)]
        ratio = (1 + math.cos(math.pi * t / n)) / (1 + math.cos(math.pi * (t - 1) / n))
        return [ratio * (lr - self.eta_min) + self.eta_min for lr in self._rates()]


class LinearLR(LRScheduler):
    """The rate times a factor that moves from ``start_factor`` to ``end_factor`` over ``total_iters`` epochs."""

    def __init__(self, optimizer, start_factor=1 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        if not 0 < start_factor <= 1 or not 0 <= end_factor <= 1:
            raise UsageError(f"factors must lie in (0, 1] and [0, 1], got {start_factor} and {end_factor}")
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def get_lr(self):
        if self.last_epoch == 0:
            return [lr * self.start_factor for lr in self._rates()]
        if self.last_epoch > self.total_iters:
            return self._rates()
        change = self.end_factor - self.start_factor
        return [lr * (1 + change / (self.total_iters * self.start_factor + (self.last_epoch - 1) * change))
                for lr in self._rates()]


class SequentialLR(LRScheduler):
    """Several schedules, one after another; each starts anew at its milestone."""

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        if len(milestones) != len(schedulers) - 1:
            raise UsageError(f"{len(schedulers)} schedules need {len(schedulers) - 1} milestones, got {len(milestones)}")
        if any(s.optimizer is not optimizer for s in schedulers):
            raise UsageError("all schedules must belong to the same optimizer")
        self.optimizer, self._schedulers, self._milestones = optimizer, _Functions(schedulers), list(milestones)
        self.last_epoch = last_epoch + 1
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"]
        for scheduler in schedulers:  # undo the first step that each made when it was built, then take the first one's
            scheduler.last_epoch -= 1
        schedulers[0].step()
        self._last_lr = schedulers[0].get_last_lr()

    def step(self):
        self.last_epoch += 1
        index = bisect_right(self._milestones, self.last_epoch)
        scheduler = self._schedulers.items[index]
        if index > 0 and self._milestones[index - 1] == self.last_epoch:
            scheduler.last_epoch = -1
            for group in self.optimizer.param_groups:
                group["lr"] = group["initial_lr"]
        scheduler.step()
        self._last_lr = scheduler.get_last_lr()

    def state_dict(self):
        return super().state_dict() | {"schedulers": [s.state_dict() for s in self._schedulers.items]}

    def load_state_dict(self, state_dict):
        state_dict = dict(state_dict)
        for scheduler, state in zip(self._schedulers.items, state_dict.pop("schedulers"), strict=True):
            scheduler.load_state_dict(state)
        super().load_state_dict(state_dict)


class ReduceLROnPlateau(LRScheduler):
    """The rate times ``factor`` when a metric has not improved for more than ``patience`` epochs; ``step(metric)``.

    An improvement is a change of more than ``threshold``, relative ("rel") or absolute ("abs"), down ("min") or up ("max").
    """

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
                 min_lr=0.0, eps=1e-8):
        if factor >= 1:
            raise UsageError(f"factor must be below 1, got {factor}")
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise UsageError(f"mode must be 'min' or 'max', threshold_mode 'rel' or 'abs', got {mode!r} and {threshold_mode!r}")
        self.optimizer, self.mode, self.factor, self.patience = optimizer, mode, factor, patience
        self.threshold, self.threshold_mode, self.cooldown, self.eps = threshold, threshold_mode, cooldown, eps
        self.min_lrs = list(min_lr) if isinstance(min_lr, (list, tuple)) else [min_lr] * len(optimizer.param_groups)
        self.best = math.inf if mode == "min" else -math.inf
        self.num_bad_epochs = self.cooldown_counter = self.last_epoch = 0
        self._last_lr = self._rates()

    def step(self, metrics):
        """Take note of a metric, and lower the rates if it has stalled."""
        current = float(metrics)
        self.last_epoch += 1
        if self._better(current):
            self.best, self.num_bad_epochs = current, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter -= 1
            self.num_bad_epochs = 0
        if self.num_bad_epochs > self.patience:
            lowered = [max(lr * self.factor, low) for lr, low in zip(self._rates(), self.min_lrs, strict=True)]
            self._set([new if old - new > self.eps else old for old, new in zip(self._rates(), lowered, strict=True)])
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
        self._last_lr = self._rates()

    def _better(self, value) -> bool:
        sign = 1 if self.mode == "max" else -1
        margin = self.threshold * (self.best if self.threshold_mode == "rel" else 1)
        if self.threshold_mode == "rel" and math.isinf(self.best):
            return sign * value > sign * self.best
        return sign * value > sign * (self.best + sign * margin)
