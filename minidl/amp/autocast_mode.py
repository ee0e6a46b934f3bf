"""Autocast: which dtype each function computes in, chosen function by function (see ``minidl.ops.precision``)."""

import copy
import functools

import numpy as np

from minidl.dtypes import as_dtype
from minidl.errors import DeviceError, DtypeError
from minidl.kernels.half import is_half
from minidl.ops.precision import Autocast
from minidl.tensor import mode

DEFAULTS = {"cuda": "float16", "cpu": "bfloat16"}


class autocast:
    """Inside, functions choose their precision: products of matrices and convolutions compute in ``dtype``, losses and long sums
    in float32, others in what they are given. Parameters stay as they are, and so do the dtypes of their gradients.

    ``device_type`` "cuda" (where ``dtype`` is float16 unless given) or "cpu" (bfloat16): only tensors on such a device are cast.
    A context manager or a decorator, for one thread. Use it for forward and loss; backward belongs outside, and computes each
    gradient in the dtype of its forward. With ``enabled=False`` autocast is off inside. A parameter is cast once, however often
    it is used, unless ``cache_enabled`` is False.

    Raises DeviceError for another device, DtypeError for a dtype other than float16 and bfloat16.

    >>> import minidl
    >>> x, w = minidl.ones(2, 3), minidl.ones(3, 4, requires_grad=True)
    >>> with autocast("cpu", minidl.float16):
    ...     y = x @ w
    ...     loss = y.sum()
    >>> loss.backward()
    >>> y.dtype, loss.dtype, w.grad.dtype
    (dtype('float16'), dtype('float32'), dtype('float32'))
    """

    def __init__(self, device_type: str, dtype=None, enabled: bool = True, cache_enabled: bool | None = None):
        if device_type not in DEFAULTS:
            raise DeviceError(f"autocast: unknown device type {device_type!r}: choose one of {', '.join(DEFAULTS)}")
        self.device_type, self.cache_enabled = device_type, cache_enabled
        self.dtype = None
        if enabled:
            self.dtype = as_dtype(DEFAULTS[device_type] if dtype is None else dtype)
            if not is_half(self.dtype):
                raise DtypeError(f"autocast: the dtype must be float16 or bfloat16, got {self.dtype}")

    def __enter__(self):
        self._before, mode.autocast = (*getattr(self, "_before", ()), mode.autocast), self._inside()
        return self

    def __exit__(self, *_):
        *self._before, mode.autocast = self._before

    def __call__(self, function):
        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with copy.copy(self):  # so that calls in several threads do not share what was before
                return function(*args, **kwargs)

        return wrapped

    def _inside(self) -> Autocast | None:
        """The state within the block, from that around it."""
        outside = mode.autocast or Autocast({}, {})
        dtypes = {kind: dtype for kind, dtype in (outside.dtypes | {self.device_type: self.dtype}).items() if dtype is not None}
        casts = outside.casts
        if self.cache_enabled is not None:
            casts = (casts or {}) if self.cache_enabled else None
        return Autocast(dtypes, casts) if dtypes else None


def is_autocast_enabled(device_type: str) -> bool:
    """Whether autocast is on for this type of device, in this thread.

    >>> with autocast("cpu", "float16"):
    ...     is_autocast_enabled("cpu"), is_autocast_enabled("cuda")
    (True, False)
    """
    return mode.autocast is not None and device_type in mode.autocast.dtypes


def get_autocast_dtype(device_type: str) -> np.dtype:
    """The dtype of autocast on this type of device: the one that is on, else the default.

    >>> get_autocast_dtype("cuda")
    dtype('float16')
    """
    return mode.autocast.dtypes[device_type] if is_autocast_enabled(device_type) else as_dtype(DEFAULTS[device_type])
