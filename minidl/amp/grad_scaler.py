"""Gradient scaling: float16 has no numbers below 6e-8, so the loss is multiplied by a large one before backward, and gradients
are divided by it before the step. bfloat16 has the range of float32 and needs none of this.

Source: Micikevicius et al., "Mixed precision training" (2018), section 3.2.
"""

import math
from collections import defaultdict
from collections.abc import Iterable
from numbers import Number, Real

import numpy as np

from minidl.device import Device
from minidl.dtypes import float16, float32
from minidl.errors import CheckpointError, DtypeError, GraphError, UsageError
from minidl.kernels import kernel, namespace
from minidl.kernels.recording import current
from minidl.ops.create import full
from minidl.tensor import Tensor, written

READY, UNSCALED, STEPPED = "ready", "unscaled", "stepped"


class _Progress:
    """How far an optimizer is in this iteration, and on each device whether an infinite gradient was found: 1, else 0."""

    def __init__(self):
        self.stage, self.found_inf = READY, {}


class GradScaler:
    """Scales the loss, takes the scale off the gradients, and leaves out steps along infinite ones.

    A scale that is too large makes gradients overflow: the step is skipped, and ``update`` multiplies the scale by
    ``backoff_factor``. After ``growth_interval`` steps without overflow it multiplies it by ``growth_factor``. Scale and counter
    lie on the device of the first loss, whatever ``device`` says, and only ``step`` waits for it, once for each optimizer; in a
    captured step (``minidl.capture``) nothing waits, and steps that are left out count in Adam's bias correction.
    With ``enabled=False`` nothing is scaled and ``step`` is the optimizer's.

    Raises DeviceError for an unknown device; UsageError for a scale that is not positive and finite, a growth factor up to 1, a
    backoff factor that is not between 0 and 1, or an interval that is not a positive whole number.

    >>> import minidl
    >>> w = minidl.tensor([2.0], requires_grad=True)
    >>> optimizer, scaler = minidl.optim.SGD([w], lr=0.5), GradScaler(init_scale=1024.0)
    >>> scaler.scale((w * 3).sum()).backward()
    >>> w.grad
    tensor([3072.])
    >>> scaler.step(optimizer); scaler.update(); w
    tensor([0.5], requires_grad=True)
    """

    def __init__(self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0,
                 backoff_factor: float = 0.5, growth_interval: int = 2000, enabled: bool = True):
        if isinstance(device, Number):
            raise UsageError(f"GradScaler: the first argument is a device, got {device}: write init_scale={device} for a scale")
        Device(device)
        self._enabled, self._init_scale, self._init_growth_tracker = enabled, _checked_scale(init_scale), 0
        self._scale: Tensor | None = None
        self._growth_tracker: Tensor | None = None
        self.set_growth_factor(growth_factor)
        self.set_backoff_factor(backoff_factor)
        self.set_growth_interval(growth_interval)
        self._progress: dict[int, _Progress] = defaultdict(_Progress)  # by id of the optimizer, until update()

    def scale(self, outputs):
        """A tensor, or tensors in lists and tuples, times the scale."""
        if not self._enabled:
            return outputs
        if isinstance(outputs, Tensor):
            if self._scale is None:
                self._scale = full((), self._init_scale, dtype=float32, device=outputs.device)
                self._growth_tracker = full((), self._init_growth_tracker, dtype=np.int32, device=outputs.device)
            return outputs * self._scale.to(outputs.device)
        if not isinstance(outputs, Iterable):
            raise TypeError(f"GradScaler.scale takes tensors, got {type(outputs).__name__}")
        return (tuple if isinstance(outputs, tuple) else list)(map(self.scale, outputs))

    def unscale_(self, optimizer) -> None:
        """Take the scale off the gradients now, to look at or clip them; ``step`` does it by itself otherwise.

        Raises GraphError if nothing was scaled, if called twice or after ``step`` in one iteration; DtypeError for float16
        gradients: parameters belong in float32.
        """
        if not self._enabled:
            return
        self._check_scaled("unscale_")
        progress = self._progress[id(optimizer)]
        if progress.stage != READY:
            raise GraphError(f"GradScaler.unscale_: this optimizer was {progress.stage} before in this iteration; call unscale_ "
                             "once, before step, and update() at the end of the iteration")
        alike = defaultdict(list)
        for gradient in _gradients(optimizer):
            if gradient.dtype == float16:
                raise DtypeError("GradScaler.unscale_: gradients in float16 cannot be unscaled without loss: keep the parameters "
                                 "in float32 and use autocast")
            alike[gradient.device, gradient.dtype].append(gradient.array)
        for (device, _), gradients in alike.items():
            g = gradients[0]
            if device not in progress.found_inf:
                progress.found_inf[device] = namespace(g).zeros((), np.float32)
            kernel("unscale_each", g)(gradients, self._scale.to(device).array, progress.found_inf[device])
            for g in gradients:
                written(g)
        progress.stage = UNSCALED

    def step(self, optimizer, *args, **kwargs):
        """Unscale the gradients, unless done, and call ``optimizer.step(*args, **kwargs)`` if all are finite; returns its result.

        Raises GraphError if nothing was scaled, if there are no gradients, if called twice in one iteration; UsageError for a
        closure.
        """
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if args or "closure" in kwargs:
            raise UsageError("GradScaler.step cannot take a closure: its gradients would not be unscaled")
        self._check_scaled("step")
        progress = self._progress[id(optimizer)]
        if progress.stage == STEPPED:
            raise GraphError("GradScaler.step: this optimizer was stepped before in this iteration; call update() after each")
        if progress.stage == READY:
            self.unscale_(optimizer)
        if not progress.found_inf:
            raise GraphError("GradScaler.step: no parameter of this optimizer has a gradient; call scale(loss).backward() first")
        progress.stage = STEPPED
        if current() is not None:  # a step that is being recorded cannot wait: its kernels look at what was found
            optimizer.found_inf = sum(progress.found_inf.values())
            try:
                return optimizer.step(**kwargs)
            finally:
                optimizer.found_inf = None
        if not any(found.item() for found in progress.found_inf.values()):
            return optimizer.step(**kwargs)
        return None

    def update(self, new_scale=None) -> None:
        """End the iteration: change the scale by what the steps found, or set it to ``new_scale``, a number or a tensor.

        Raises GraphError if nothing was scaled or no step was tried, UsageError for a number that is not positive and finite.
        """
        if not self._enabled:
            return
        self._check_scaled("update")
        scale = self._scale.array
        if new_scale is not None:
            tensor = isinstance(new_scale, Tensor)
            scale[...] = new_scale.detach().to(self._scale).array if tensor else _checked_scale(new_scale)
        else:
            found = [Tensor(array).to(self._scale.device).array for progress in self._progress.values()
                     for array in progress.found_inf.values()]
            if not found:
                raise GraphError("GradScaler.update: no gradients were looked at: call step(optimizer) first")
            kernel("update_scale", scale)(scale, self._growth_tracker.array, sum(found), self._growth_factor,
                                          self._backoff_factor, self._growth_interval)
        written(scale)
        self._progress.clear()

    def _check_scaled(self, name: str) -> None:
        if self._scale is None:
            raise GraphError(f"GradScaler.{name}: nothing was scaled yet: call scale(loss).backward() first")

    def get_scale(self) -> float:
        """The scale as a number, 1.0 if not enabled. Waits for the GPU."""
        return 1.0 if not self._enabled else self._init_scale if self._scale is None else self._scale.item()

    def get_growth_factor(self) -> float:
        """What the scale is multiplied by after ``growth_interval`` steps without overflow."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set the growth factor, which must be greater than 1."""
        if not _number(new_factor) > 1:
            raise UsageError(f"GradScaler: the growth factor must be greater than 1, got {new_factor}")
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the scale is multiplied by after an overflow."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set the backoff factor, which must lie between 0 and 1."""
        if not 0 < _number(new_factor) < 1:
            raise UsageError(f"GradScaler: the backoff factor must lie between 0 and 1, got {new_factor}")
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """How many steps without overflow make the scale grow."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set the growth interval, a positive whole number."""
        if not isinstance(new_interval, (int, np.integer)) or new_interval < 1:
            raise UsageError(f"GradScaler: the growth interval must be a positive whole number, got {new_interval}")
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether anything is scaled."""
        return self._enabled

    def state_dict(self) -> dict:
        """Scale, factors, interval and the count of good steps, as numbers; empty if not enabled. To be called after update."""
        if not self._enabled:
            return {}
        tracker = self._init_growth_tracker if self._growth_tracker is None else self._growth_tracker.item()
        return {"scale": self.get_scale(), "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
                "growth_interval": self._growth_interval, "_growth_tracker": tracker}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over what ``state_dict`` gave; nothing happens if not enabled.

        Raises CheckpointError for the state of a scaler that was not enabled, or of something else, UsageError for odd numbers;
        the scaler is then what it was.
        """
        if not self._enabled:
            return
        if not state_dict:
            raise CheckpointError("GradScaler: the saved state is empty, as that of a scaler that was not enabled")
        missing = ", ".join(name for name in self.state_dict() if name not in state_dict)
        if missing:
            raise CheckpointError(f"GradScaler: the saved state, of {', '.join(map(str, state_dict))}, lacks {missing}")
        scale, tracker = state_dict["scale"], state_dict["_growth_tracker"]
        if not isinstance(tracker, (int, np.integer)) or tracker < 0:
            raise UsageError(f"GradScaler: the count of good steps must be a whole number from 0 on, got {tracker!r}")
        given = GradScaler(init_scale=scale if scale != 0 else 1.0, growth_factor=state_dict["growth_factor"],
                           backoff_factor=state_dict["backoff_factor"], growth_interval=state_dict["growth_interval"])
        self._init_scale, self._init_growth_tracker = given._init_scale if scale != 0 else 0.0, tracker  # halved until it was 0
        self._growth_factor, self._backoff_factor = given._growth_factor, given._backoff_factor
        self._growth_interval = given._growth_interval
        if self._scale is not None:
            self._scale.fill_(self._init_scale)
            self._growth_tracker.fill_(self._init_growth_tracker)


def _checked_scale(scale) -> float:
    number = _number(scale)
    if not 0 < number < math.inf:
        raise UsageError(f"GradScaler: the scale must be positive and finite, got {scale}")
    return number


def _number(value) -> float:
    """The value as a float; NaN, which passes no check, if it is no real number."""
    return float(value) if isinstance(value, (Real, Tensor)) else math.nan


def _gradients(optimizer):
    return [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
