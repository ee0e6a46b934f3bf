"""Devices: the CPU, and GPUs when CuPy and a driver are there."""

import contextlib
import functools
import warnings
from typing import NamedTuple

import numpy as np

from minidl.errors import DeviceError
from minidl.kernels.recording import current

_INSUFFICIENT_DRIVER, _NO_DEVICE = 35, 100  # of CUDA's errors


class _Fields(NamedTuple):
    type: str
    index: int | None = None


class Device(_Fields):
    """Where an array lives: ``Device("cpu")``, ``Device("cuda:0")``, ``Device("cuda", 0)`` or ``Device(0)``. Without a number it
    is the GPU that is current when the device is used.

    Raises DeviceError for another name.

    >>> Device("cuda:1")
    Device(type='cuda', index=1)
    """

    __slots__ = ()

    def __new__(cls, type: str | int, index: int | None = None):
        named = f"cuda:{type}" if isinstance(type, (int, np.integer)) and not isinstance(type, bool) else str(type)
        kind, colon, number = named.partition(":")
        if kind not in ("cpu", "cuda") or colon and (kind == "cpu" or not number.isdigit()):
            raise DeviceError(f"unknown device {type!r}: expected 'cpu', 'cuda', 'cuda:N' or the number N of a GPU")
        return super().__new__(cls, kind, int(number) if number else index)

    def __str__(self):
        return self.type if self.index is None else f"{self.type}:{self.index}"

    @staticmethod
    def of(array) -> "Device":
        """The device of a NumPy or CuPy array."""
        return CPU if isinstance(array, (np.ndarray, np.generic)) else _gpu(array.data.device_id)

    @staticmethod
    def parse(device) -> "Device":
        """From "cpu", "cuda" (the current GPU), "cuda:1", 1 or a Device; None is the default device.

        Raises DeviceError for an unknown name, or for "cuda" where no GPU can be used; MissingDependencyError without CuPy.

        >>> Device.parse("cpu")
        Device(type='cpu', index=None)
        """
        if device is None:
            device = _default[0]
        device = device if isinstance(device, Device) else Device(device)
        if device.type == "cpu":
            return CPU
        count = gpu_count()
        number = _cupy().cuda.runtime.getDevice() if device.index is None else device.index
        if number >= count:
            raise DeviceError(f"there is no GPU {number}: this machine has {count}, counted from cuda:0")
        return Device("cuda", number)

    def make(self, function: str, *args, **kwargs):
        """The array that this function of NumPy's, such as "zeros", makes, in memory of this device."""
        if self.type == "cpu":
            return getattr(np, function)(*args, **kwargs)
        with self.as_current():
            return getattr(_cupy(), function)(*args, **kwargs)

    def as_current(self):
        """A context in which this is the current GPU; the CPU needs none."""
        return contextlib.nullcontext() if self.type == "cpu" else _cupy().cuda.Device(self.index)

    def array(self, data, dtype=None):
        """A copy of ``data`` on this device."""
        recording = current()
        if recording is not None and self.type != "cpu" and not hasattr(data, "dtype"):  # numbers and lists do not change
            return recording.copied(data, dtype)
        if self.type == "cpu" and hasattr(data, "__cuda_array_interface__"):
            data = data.get()
        return self.make("array", data, dtype=dtype)


@functools.cache
def _gpu(number: int) -> Device:
    return Device("cuda", number)


def _cupy():
    from minidl.cuda.load import load_cupy  # here, since that package is made of devices

    return load_cupy()


CPU = Device("cpu")
_default = [CPU]


def get_default_device() -> Device:
    """Where tensors made without a ``device`` are; the CPU unless set otherwise."""
    return Device.parse(None)


def set_default_device(device) -> None:
    """Choose where tensors made without a ``device`` are; None is the CPU. "cuda" is the GPU that is current at the time.

    Tensors made from other tensors, such as ``zeros_like``, stay on theirs, and ``from_numpy`` on the CPU.

    >>> set_default_device("cpu"); get_default_device()
    Device(type='cpu', index=None)
    """
    found = Device.parse(CPU if device is None else device)
    _default[0] = Device("cuda") if str(device) == "cuda" else found


def check_same_device(name: str, *tensors) -> None:
    """Raise DeviceError unless all tensors (None does not count) are on one device, and that is the CPU or the current GPU."""
    tensors = [x for x in tensors if x is not None and type(x.array) is not np.ndarray] and [x for x in tensors if x is not None]
    if not tensors:
        return
    devices = [x.device for x in tensors]
    other = next((i for i, device in enumerate(devices) if device != devices[0]), None)
    if other is not None:
        a, b = (f"{x.dtype} {x.shape} on {x.device}" for x in (tensors[0], tensors[other]))
        target = devices[0] if devices[other] == CPU else devices[other]
        raise DeviceError(f"{name}: tensors on different devices, {a} and {b}: move one with .to(\"{target}\")")
    current = Device.parse("cuda")
    if devices[0] not in (CPU, current):
        raise DeviceError(f"{name}: the tensors are on {devices[0]}, and the current GPU is {current}: do it inside "
                          f"`with minidl.cuda.device({devices[0].index}):`")


@functools.cache
def gpu_count() -> int:
    """How many GPUs there are, at least one.

    Raises DeviceError that says what is missing and what to do, MissingDependencyError without CuPy.
    """
    runtime = _cupy().cuda.runtime
    # Where one GPU can read another's memory, CuPy would go on after this warning, slowly and with results on another device.
    warnings.filterwarnings("error", message="The device where the array resides")
    try:
        return runtime.getDeviceCount()
    except runtime.CUDARuntimeError as error:
        raise DeviceError(f"no GPU can be used: {_explained(error, runtime)}; or choose device='cpu'") from None


def _explained(error, runtime) -> str:
    """Why CUDA finds no GPU, and what to do."""
    driver = runtime.driverGetVersion()
    if not driver:
        return ("there is no NVIDIA driver: install one (https://www.nvidia.com/drivers), or start the container with access to "
                "the GPU, as `docker run --gpus all` does")
    if error.status == _INSUFFICIENT_DRIVER:
        return (f"the NVIDIA driver is too old: it knows CUDA {cuda_version(driver)}, and CuPy is made for "
                f"{cuda_version(runtime.runtimeGetVersion())}: update the driver (https://www.nvidia.com/drivers)")
    if error.status == _NO_DEVICE:
        return ("the NVIDIA driver finds none: `nvidia-smi -L` lists those it knows, and the environment variable "
                "CUDA_VISIBLE_DEVICES may hide them")
    return str(error)


def cuda_version(number: int) -> str:
    """CUDA's numbers as one writes them.

    >>> cuda_version(12080)
    '12.8'
    """
    return f"{number // 1000}.{number % 1000 // 10}"
