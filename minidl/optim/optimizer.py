"""The base of all optimizers: parameter groups, state, and the step over all parameters."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np

from minidl.device import check_same_device
from minidl.dtypes import float32
from minidl.errors import CaptureError, CheckpointError, ShapeError, UsageError
from minidl.kernels import namespace
from minidl.kernels.half import is_half
from minidl.kernels.recording import current
from minidl.ops.create import zeros_like
from minidl.tape import enable_grad
from minidl.tensor import Tensor, tensor, written


class Optimizer:
    """Changes parameters along their gradients. Subclasses write ``check``, ``initial_state``, and ``update`` (or, for one
    kernel that changes many, ``update_alike``).

    ``params`` is an iterable of tensors, or of dicts with "params" and options of their own; ``defaults`` are the options of
    groups that leave them out. Raises UsageError for an empty list, for a parameter named twice, for tensors that are not
    leaves, and for options out of range.

    >>> import minidl
    >>> class SignDescent(Optimizer):
    ...     def update(self, p, g, group, state):
    ...         p -= group["lr"] * (g > 0) - group["lr"] * (g < 0)
    >>> p = minidl.tensor([1.0, 1.0], requires_grad=True)
    >>> (p * minidl.tensor([5.0, -0.1])).sum().backward()
    >>> SignDescent([p], {"lr": 0.25}).step(); p
    tensor([0.75, 1.25], requires_grad=True)
    """

    found_inf = None  # a 0-d array of the gradients' device: if it is not 0, a step changes nothing

    def __init__(self, params: Iterable, defaults: dict):
        self.defaults = defaults
        self.param_groups: list[dict] = []
        self.state: dict[Tensor, dict] = defaultdict(dict)
        if isinstance(params, Tensor):
            raise UsageError("an optimizer takes an iterable of parameters, as model.parameters(), got one tensor")
        groups = list(params)
        if not groups:
            raise UsageError("an optimizer needs at least one parameter, got an empty list "
                             "(was the iterator used up before?)")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict) -> None:
        """Add parameters with options of their own; options left out take the optimizer's defaults."""
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {p for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise UsageError(f"an optimizer changes tensors, as model.parameters() gives them, got {type(p).__name__}")
            if p.op is not None:
                raise UsageError("an optimizer changes leaves, this tensor is the result of an op: "
                                 "pass what it was computed from, or .detach().requires_grad_()")
            if p in known:
                raise UsageError(f"a parameter of shape {p.shape} stands in two groups, or twice in one")
            known.add(p)
        group = self.defaults | group | {"params": params}
        self.check(group)
        self.param_groups.append(group)

    def zero_grad(self, set_to_none=True) -> None:
        """Forget the gradients, or set them to 0."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else zeros_like(p.grad)

    def step(self, closure: Callable | None = None):
        """Change every parameter that has a gradient. A ``closure`` computes loss and gradients first; its loss is returned.

        Raises ShapeError for a gradient set by hand that has another shape or dtype than its parameter, DeviceError
        for one on another device.
        """
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        recording = current()
        if recording is not None:
            recording.before_replay(partial(self._check_recorded, self.state, [(p, p.array) for p in self.state]))
        one_by_one = type(self).update is not Optimizer.update
        change = partial(Optimizer.update_alike, self) if one_by_one else self.update_alike
        for group in self.param_groups:
            for params, grads, states in self._alike(group):
                change(params, grads, states, group)
                for p in params:
                    written(p)
        return loss

    def _alike(self, group: dict) -> list:
        """Parameters with a gradient, in sets that one kernel can change: their arrays, gradients and states."""
        sets: dict[tuple, list] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                p, g = parameter.array, parameter.grad.array
                if g.shape != p.shape or g.dtype != p.dtype:
                    raise ShapeError(f"a parameter of shape {p.shape} and dtype {p.dtype} has a gradient of shape {g.shape} and "
                                     f"dtype {g.dtype}: they must be the same")
                place = _place(p)
                if _place(g) != place:
                    check_same_device("an optimizer's step", parameter, parameter.grad)
                state = self._state_of(parameter, group)
                sets[p.dtype.num, place, len(state), state.get("step")].append((p, g, state))
        return [tuple(zip(*members, strict=True)) for members in sets.values()]

    def _state_of(self, parameter: Tensor, group: dict) -> dict:
        """The state of a parameter, which is made before its first step and follows it to another device."""
        state = self.state[parameter]
        if not state:
            state.update(self.initial_state(parameter.array, group))
        for value in state.values():
            if hasattr(value, "ndim"):  # all arrays are on one device
                if _place(value) != _place(parameter.array):
                    state.update(self._restored(state, parameter, group))
                break
        return state

    def check(self, group: dict) -> None:
        """Raise UsageError if an option of the group is out of range."""

    def initial_state(self, p, group: dict) -> dict:
        """What is kept for the parameter with array ``p``, before its first step: arrays and numbers by name."""
        return {}

    def update(self, p, g, group: dict, state: dict) -> None:
        """Change the array ``p`` along its gradient ``g``, and the state, in place. A class that writes this, even one derived
        from an optimizer with ``update_alike``, changes its parameters one after the other.
        """
        if type(self).update_alike is Optimizer.update_alike:
            raise NotImplementedError(f"{type(self).__name__} has no update")
        self.update_alike((p,), (g,), (state,), group)

    def update_alike(self, params, grads, states, group: dict) -> None:
        """Change several parameters of a dtype and device that have made the same number of steps: one after the other,
        unless a subclass knows better.

        Raises CaptureError in a step that is being recorded: every replay would take the options of now.
        """
        if current() is not None:
            raise CaptureError(f"{type(self).__name__} changes parameters in Python, with options that would not change any "
                               "more: write update_alike with the kernel \"update_each\", as minidl's optimizers do")
        for p, g, state in zip(params, grads, states, strict=True):
            self.update(p, g, group, state)

    def _check_recorded(self, state: dict, arrays: list) -> None:
        """Raise CaptureError unless a recorded step still changes this optimizer's parameters and state."""
        if self.state is not state or any(p.array is not array for p, array in arrays):
            raise CaptureError("since this step was recorded, its parameters or the optimizer's state were replaced (by "
                               "load_state_dict, to() or data): capture the step again")

    def state_dict(self) -> dict:
        """State and options, parameters numbered in order; tensors share memory with the optimizer's state."""
        numbers = {p: number for number, p in enumerate(p for group in self.param_groups for p in group["params"])}
        state = {numbers[p]: {k: Tensor(v) if hasattr(v, "ndim") else v for k, v in values.items()}
                 for p, values in self.state.items() if values}
        groups = [group | {"params": [numbers[p] for p in group["params"]]} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over state and options, for the same parameters in the same groups; arrays are copied.

        Everything is checked before anything is taken over. Raises CheckpointError if groups, names or shapes differ.
        """
        saved = state_dict["param_groups"]
        sizes, expected = [len(g["params"]) for g in saved], [len(g["params"]) for g in self.param_groups]
        if sizes != expected:
            raise CheckpointError(f"the saved optimizer has groups of {sizes} parameters, this one of {expected}")
        state: dict[Tensor, dict] = defaultdict(dict)
        groups = [own | other | {"params": own["params"]} for own, other in zip(self.param_groups, saved, strict=True)]
        for group, other in zip(groups, saved, strict=True):
            self.check(group)
            for p, number in zip(group["params"], other["params"], strict=True):
                values = state_dict["state"].get(number)
                if values:
                    state[p] = self._restored(values, p, group)
        self.state, self.param_groups = state, groups

    def _restored(self, values: dict, p: Tensor, group: dict) -> dict:
        """Saved state of one parameter: arrays in its dtype, a step count (a tensor in PyTorch) as an int."""
        missing = self.initial_state(p.array, group).keys() - values.keys()
        if missing:
            raise CheckpointError(f"{type(self).__name__} needs {', '.join(sorted(missing))} for every parameter; the saved "
                                  f"state has {', '.join(values)}: is it another optimizer's?")
        restored = {}
        for key, value in values.items():
            if value is None:  # PyTorch's momentum buffer without momentum
                continue
            if key == "step":
                value = int(value)
            elif hasattr(value, "shape"):
                if tuple(value.shape) != p.shape:
                    raise CheckpointError(f"the saved {key} has shape {tuple(value.shape)}, its parameter {p.shape}")
                value = tensor(value, dtype=_state_dtype(p), device=p.device).contiguous().array
            restored[key] = value
        return restored

    def __repr__(self):
        groups = [", ".join(f"{k}={v}" for k, v in group.items() if k != "params") for group in self.param_groups]
        return f"{type(self).__name__}(" + "\n".join(groups) + ")"


def _place(array) -> int | None:
    """The number of the GPU that an array is on; asking for its device would take longer."""
    return None if type(array) is np.ndarray else array.data.device_id


def zero_state(p):
    """An array of zeros for the state of ``p``; in float32 for one in half precision.

    Raises CaptureError in a step that is being recorded: every replay would begin anew.
    """
    if current() is not None:
        raise CaptureError("an optimizer makes its state at the first step of a parameter, which must not be recorded: give "
                            "every parameter a gradient in the first call of the captured step")
    return namespace(p).zeros(p.shape, _state_dtype(p))


def _state_dtype(p):
    return float32 if is_half(p.dtype) else p.dtype


def check_not_negative(group: dict, *names: str) -> None:
    """Raise UsageError unless these options are finite and at least 0."""
    for name in names:
        if not 0 <= group[name] < math.inf:
            raise UsageError(f"{name} must be finite and at least 0, got {group[name]}")
