"""In which precision a function computes under ``minidl.amp.autocast``: said by a decorator where the function is defined.

Matrix products and convolutions (``low_precision``) gain most from 16 bits and lose least: their sums stay in float32. Functions
with a large range, sums and losses are computed in float32 (``full_precision``). A few need operands of one dtype and take the
widest that came (``widest``). All others compute in what they are given. Only float32, float16 and bfloat16 tensors are cast, and
only on a device for which autocast is on. The lists are PyTorch's for CUDA, for every device, so that CPU and GPU agree.

Source: Micikevicius et al., "Mixed precision training" (2018), sections 3.1 and 3.3.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minidl.dtypes import float32, promote_types
from minidl.kernels.half import is_half
from minidl.ops.cast import cast
from minidl.tensor import Tensor, mode, writes


class Autocast(NamedTuple):
    """What autocast asks for in this thread, as ``mode.autocast``; None while it is off."""

    dtypes: dict[str, np.dtype]  # low precision, by type of device
    casts: dict | None  # (parameter, dtype): its array and the cast tensor; None where none are to be kept


def low_precision(function: Callable) -> Callable:
    """Decorator: under autocast, tensors come in its dtype."""
    return _casting(function, lambda dtypes, low: low)


def full_precision(function: Callable) -> Callable:
    """Decorator: under autocast, tensors come in float32."""
    return _casting(function, lambda dtypes, low: float32)


def widest(function: Callable) -> Callable:
    """Decorator: under autocast, tensors come in the dtype that holds all of theirs."""
    return _casting(function, lambda dtypes, low: functools.reduce(promote_types, dtypes))


def _casting(function: Callable, choose: Callable) -> Callable:
    @functools.wraps(function)
    def cast_first(*args, **kwargs):
        state = mode.autocast
        if state is None:
            return function(*args, **kwargs)
        tensors = [x for x in _tensors([*args, *kwargs.values()]) if _is_cast(x, state)]
        if tensors:
            dtype = choose([x.dtype for x in tensors], state.dtypes[tensors[0].device.type])
            args = _map(args, dtype, state)
            kwargs = dict(zip(kwargs, _map(kwargs.values(), dtype, state), strict=True))
        return function(*args, **kwargs)

    return cast_first


def _tensors(values) -> list[Tensor]:
    found = []
    for value in values:
        if isinstance(value, Tensor):
            found.append(value)
        elif isinstance(value, (list, tuple)):
            found += _tensors(value)
    return found


def _is_cast(x: Tensor, state: Autocast) -> bool:
    dtype = x.array.dtype
    return (dtype == float32 or is_half(dtype)) and x.device.type in state.dtypes


def _map(values, dtype: np.dtype, state: Autocast) -> list:
    """The values with all their tensors cast."""
    found = []
    for value in values:
        if isinstance(value, Tensor):
            value = _kept_cast(value, dtype, state.casts) if _is_cast(value, state) else value
        elif isinstance(value, (list, tuple)):
            value = type(value)(_map(value, dtype, state))
        found.append(value)
    return found


def _kept_cast(x: Tensor, dtype: np.dtype, casts: dict | None) -> Tensor:
    """``x`` in ``dtype``. A parameter that is used again before autocast ends is cast once, unless it was changed since."""
    if casts is None or x.op is not None or not x.tracked or x.dtype == dtype:
        return cast(x, dtype)
    array, y = casts.get((x, dtype), (None, None))
    if y is None or array is not x.array or writes.last(array) > y.op.birth:
        y = cast(x, dtype)
        if y.tracked:
            casts[x, dtype] = x.array, y
    return y
