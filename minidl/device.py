"""Devices: the CPU, and GPUs when CuPy and a driver are there."""

from typing import NamedTuple

import numpy as np

from minidl.errors import DeviceError, require


class Device(NamedTuple):
    """Where an array lives: ``Device("cpu")`` or ``Device("cuda", 0)``."""

    type: str
    index: int | None = None

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    @staticmethod
    def of(array) -> "Device":
        """The device of a NumPy or CuPy array."""
        return CPU if isinstance(array, (np.ndarray, np.generic)) else Device("cuda", array.device.id)

    @staticmethod
    def parse(device) -> "Device":
        """From "cpu", "cuda", "cuda:1" or a Device.

        Raises DeviceError for an unknown name, or for "cuda" where no GPU can be used.

        >>> Device.parse("cpu")
        Device(type='cpu', index=None)
        """
        if isinstance(device, Device):
            return device
        kind, _, index = str(device).partition(":")
        if kind == "cpu" and not index:
            return CPU
        if kind != "cuda" or (index and not index.isdigit()):
            raise DeviceError(f"unknown device {device!r}: expected 'cpu', 'cuda' or 'cuda:N'")
        _check_gpu(int(index or 0))
        return Device("cuda", int(index or 0))

    def array(self, data, dtype=None):
        """A copy of ``data`` on this device."""
        if self.type == "cpu":
            return np.array(data.get() if hasattr(data, "get") else data, dtype=dtype)
        cupy = require("cupy", extra="cuda12")
        with cupy.cuda.Device(self.index):
            return cupy.array(data, dtype=dtype)


CPU = Device("cpu")


def _check_gpu(index: int) -> None:
    cupy = require("cupy", extra="cuda12")
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise DeviceError(f"no GPU can be used: {error}; choose device='cpu'") from None
    if index >= count:
        raise DeviceError(f"there is no GPU {index}: this machine has {count}")
