"""Loading a state dict: everything is checked before anything is written."""

from collections.abc import Mapping
from typing import NamedTuple

from minidl.errors import CheckpointError
from minidl.kernels.half import is_half
from minidl.tape import no_grad
from minidl.tensor import Tensor


class LoadResult(NamedTuple):
    """What loading found: names that the state lacks, and names that the module lacks."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_into(own: Mapping[str, Tensor], state: Mapping, strict: bool, owner: str) -> LoadResult:
    """Copy the tensors or NumPy arrays of ``state`` into the tensors ``own`` of the same names and shapes.

    Raises CheckpointError that lists all missing, unexpected and misshapen names; without ``strict`` only misshapen ones are
    an error. ``owner`` is what the message calls the module.
    """
    if not isinstance(state, Mapping):
        raise TypeError(f"load_state_dict expects a dict of tensors or arrays, got {type(state).__name__}")
    missing = [name for name in own if name not in state]
    unexpected = [str(name) for name in state if name not in own]
    common = [name for name in own if name in state]
    misfits = [f"{name}: expected {own[name].shape}, got {_describe(state[name])}" for name in common
               if not (_is_numeric(state[name]) and tuple(state[name].shape) == own[name].shape)]
    if misfits or (strict and (missing or unexpected)):
        lists = {"missing": missing, "unexpected": unexpected, "of another shape": misfits}
        found = "".join(f"\n  {kind}: {', '.join(names)}" for kind, names in lists.items() if names)
        raise CheckpointError(f"this state does not fit {owner}:{found}")
    with no_grad():
        for name in common:
            own[name].copy_(state[name])
    return LoadResult(missing, unexpected)


def _is_numeric(value) -> bool:
    """Whether ``value`` is a tensor or array of real numbers."""
    dtype = getattr(value, "dtype", None)
    return getattr(dtype, "kind", " ") in "biuf" or hasattr(dtype, "itemsize") and is_half(dtype)


def _describe(value) -> str:
    return f"{tuple(value.shape)}" if _is_numeric(value) else f"{type(value).__name__} {getattr(value, 'dtype', '')}".strip()
