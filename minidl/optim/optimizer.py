"""The base of all optimizers: parameter groups, state, and the step over all parameters."""

from collections import defaultdict
from collections.abc import Callable, Iterable

from minidl.dtypes import float16, float32
from minidl.errors import CheckpointError, UsageError
from minidl.kernels import namespace
from minidl.tape import enable_grad
from minidl.tensor import Tensor, tensor, written


class Optimizer:
    """Changes parameters along their gradients. Subclasses write ``update(p, g, group, state)`` on arrays.

    ``params`` is an iterable of tensors, or of dicts with "params" and options of their own. Raises UsageError for an empty
    list, for a parameter named twice, and for tensors that are not leaves.
    """

    def __init__(self, params: Iterable, defaults: dict):
        self.defaults = defaults
        self.param_groups: list[dict] = []
        self.state: dict[Tensor, dict] = defaultdict(dict)
        if isinstance(params, Tensor):
            raise UsageError("an optimizer takes an iterable of parameters, as model.parameters(), got one tensor")
        groups = list(params)
        if not groups:
            raise UsageError("an optimizer needs at least one parameter, got an empty list (was the iterator used up before?)")
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group: dict) -> None:
        """Add parameters with options of their own; options left out take the optimizer's defaults."""
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {p for other in self.param_groups for p in other["params"]}
        for p in params:
            if not isinstance(p, Tensor):
                raise UsageError(f"an optimizer changes tensors, got {type(p).__name__}")
            if p.op is not None:
                raise UsageError("an optimizer changes leaves, this tensor is the result of an op")
            if p in known:
                raise UsageError("a parameter stands in two groups, or twice in one")
            known.add(p)
        self.param_groups.append(self.defaults | group | {"params": params})

    def zero_grad(self, set_to_none=True) -> None:
        """Forget the gradients, or set them to 0."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    p.grad = None if set_to_none else p.grad.detach() * 0

    def step(self, closure: Callable | None = None):
        """Change every parameter that has a gradient. A ``closure`` computes the loss and gradients first; its value is returned."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.update(p.array, p.grad.array, group, self.state[p])
                    written(p.array)
        return loss

    def update(self, p, g, group: dict, state: dict) -> None:
        """Change one parameter and its state, in place."""
        raise NotImplementedError

    def state_dict(self) -> dict:
        """State and options, parameters numbered in order; tensors share memory with the optimizer's state."""
        numbers = self._numbers()
        state = {numbers[p]: {k: Tensor(v) if hasattr(v, "ndim") else v for k, v in values.items()}
                 for p, values in self.state.items() if values}
        groups = [{k: [numbers[p] for p in v] if k == "params" else v for k, v in group.items()} for group in self.param_groups]
        return {"state": state, "param_groups": groups}

    def load_state_dict(self, state_dict: dict) -> None:
        """Take over state and options, for the same parameters in the same groups; arrays are copied.

        Raises CheckpointError if groups or shapes differ.
        """
        groups = state_dict["param_groups"]
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise CheckpointError(f"the saved optimizer has groups of {[len(g['params']) for g in groups]} parameters, this one "
                                  f"of {[len(g['params']) for g in self.param_groups]}")
        loaded: dict[Tensor, dict] = defaultdict(dict)
        for group, saved in zip(self.param_groups, groups, strict=True):
            for p, number in zip(group["params"], saved["params"], strict=True):
                values = state_dict["state"].get(number, state_dict["state"].get(str(number)))
                for key, value in (values or {}).items():
                    loaded[p][key] = _restored(value, p, key)
        self.state = loaded
        for group, saved in zip(self.param_groups, groups, strict=True):
            group.update({k: v for k, v in saved.items() if k != "params"})

    def _numbers(self) -> dict[Tensor, int]:
        params = [p for group in self.param_groups for p in group["params"]]
        return {p: number for number, p in enumerate(params)}

    def __repr__(self):
        groups = "\n".join(", ".join(f"{k}={v}" for k, v in group.items() if k != "params") for group in self.param_groups)
        return f"{type(self).__name__}({groups})"


def _restored(value, p: Tensor, key: str):
    """A saved entry: arrays in the dtype of the parameter, a step count (which PyTorch keeps as a tensor) as an int."""
    if not hasattr(value, "shape"):
        return value
    if key == "step":
        return int(value.item())
    if tuple(value.shape) != p.shape:
        raise CheckpointError(f"the saved {key} has shape {tuple(value.shape)}, its parameter {p.shape}")
    return tensor(value, dtype=_state_dtype(p)).array


def zeros_like(p):
    """State for a parameter, all 0; in float32 for one in float16."""
    return namespace(p).zeros(p.shape, _state_dtype(p))


def _state_dtype(p):
    return float32 if p.dtype == float16 else p.dtype


def check_range(name: str, value, low=0.0, high=float("inf")) -> None:
    """Raise UsageError unless low <= value < high (NaN never is)."""
    if not low <= value < high:
        raise UsageError(f"{name}={value} is out of range: expected {low} <= {name}" + (f" < {high}" if high < 1e300 else ""))
