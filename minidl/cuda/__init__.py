"""GPUs: which there are, which one is used, and their memory, under PyTorch's names.

``device`` below is a GPU by number, name ("cuda:1") or ``minidl.device``; None is the current one. CuPy is loaded when one of
these functions is first called. Where there is no GPU they raise DeviceError, or MissingDependencyError without CuPy; but then
memory figures are 0, and ``empty_cache`` does nothing.

>>> import minidl
>>> device = "cuda" if minidl.cuda.is_available() else "cpu"
>>> minidl.ones(2, device=device).sum().item()
2.0
"""

import sys
from contextlib import contextmanager
from typing import NamedTuple

from minidl.cuda.load import load_cupy
from minidl.cuda.memory import Peaks, as_text
from minidl.device import Device, cuda_version, gpu_count
from minidl.errors import DeviceError, OutOfMemoryError
from minidl.random import manual_seed

manual_seed_all = manual_seed  # one generator is for all devices

_peaks: Peaks | None = None


def is_available() -> bool:
    """Whether there are CuPy, a driver and a GPU. Never raises."""
    return device_count() > 0


def device_count() -> int:
    """How many GPUs can be used; 0 without CuPy or a driver. Never raises."""
    try:
        return gpu_count()
    except Exception:  # whatever is wrong with CuPy, "cuda" as a device says what
        return 0


def current_device() -> int:
    """The number of the GPU on which arrays without a device are made, and kernels run."""
    return Device.parse("cuda").index


def set_device(device) -> None:
    """Make a GPU the current one of this thread. Better: ``with minidl.cuda.device(1):``."""
    _gpu(device).use()


@contextmanager
def device(device):
    """A context in which another GPU is the current one.

    A tensor is computed on where it lies; so that kernels run there too, work on a GPU other than the first belongs into such a
    context, or after ``set_device``.
    """
    with _gpu(device):
        yield


def synchronize(device=None) -> None:
    """Wait until the GPU has done all that it was told: kernels run while Python goes on. A clock needs this on both sides."""
    _gpu(device).synchronize()


class DeviceProperties(NamedTuple):
    """What a GPU is: memory in bytes, and its compute capability ``major.minor``, which decides what kernels can use."""

    name: str
    major: int
    minor: int
    total_memory: int
    multi_processor_count: int


def get_device_properties(device=None) -> DeviceProperties:
    """Name, compute capability, memory and multiprocessors of a GPU."""
    number = _number(device)
    found = load_cupy().cuda.runtime.getDeviceProperties(number)
    return DeviceProperties(found["name"].decode(), found["major"], found["minor"], found["totalGlobalMem"],
                            found["multiProcessorCount"])


def get_device_name(device=None) -> str:
    """Such as "NVIDIA H100 80GB HBM3"."""
    return get_device_properties(device).name


def get_device_capability(device=None) -> tuple[int, int]:
    """The compute capability: (7, 5) for Turing, (8, 0) for Ampere, (9, 0) for Hopper."""
    return get_device_properties(device)[1:3]


def versions() -> tuple[str, str]:
    """The version of CUDA that the driver knows, and the one that CuPy is made for, as "12.8".

    Raises MissingDependencyError without CuPy; without a driver its version is "0.0".
    """
    runtime = load_cupy().cuda.runtime
    return cuda_version(runtime.driverGetVersion()), cuda_version(runtime.runtimeGetVersion())


# Memory


def memory_allocated(device=None) -> int:
    """Bytes in arrays of this process."""
    return _pool_figure("used_bytes", device)


def memory_reserved(device=None) -> int:
    """Bytes that this process has taken from the GPU: those in arrays, and those that are kept for the next ones."""
    return _pool_figure("total_bytes", device)


max_memory_reserved = memory_reserved  # what was taken is given back by ``empty_cache`` alone


def reset_peak_memory_stats(device=None) -> None:
    """Begin to measure ``max_memory_allocated``, from what is allocated now. Measuring costs a microsecond for each array."""
    global _peaks
    number = _number(device)
    _peaks = _peaks or Peaks(load_cupy())
    _peaks.start(number, memory_allocated(number))


def max_memory_allocated(device=None) -> int:
    """The most bytes in arrays since ``reset_peak_memory_stats``; without one, those now.

    Arrays that other threads make are not counted.
    """
    now = memory_allocated(device)
    return max(now, _peaks.most[_number(device)]) if _peaks is not None and _in_use() else now


def mem_get_info(device=None) -> tuple[int, int]:
    """Bytes that the GPU has free for all processes, and in all."""
    return _gpu(device).mem_info


def empty_cache() -> None:
    """Give back what is kept for the next arrays, so that other processes can have it. It makes nothing faster."""
    if _in_use():
        load_cupy().get_default_memory_pool().free_all_blocks()


def memory_summary(device=None) -> str:
    """Memory of a GPU in one line."""
    free, total = mem_get_info(device)
    return (f"{get_device_name(device)}: {as_text(memory_allocated(device))} in arrays, {as_text(memory_reserved(device))} "
            f"reserved, {as_text(free)} of {as_text(total)} free")


def _pool_figure(name: str, device) -> int:
    device = _named(device)
    if not _in_use():
        return 0
    with _gpu(device):
        return getattr(load_cupy().get_default_memory_pool(), name)()


def _in_use() -> bool:
    """Whether this process may have arrays on a GPU."""
    return "cupy" in sys.modules and is_available()


def _gpu(device):
    """CuPy's object of a GPU."""
    number = _number(device)
    return load_cupy().cuda.Device(number)


def _number(device) -> int:
    """The number of a GPU of this machine; raises DeviceError for anything else."""
    return Device.parse(_named(device)).index


def _named(device) -> Device:
    """A GPU, which need not be there; raises DeviceError for anything else."""
    found = device if isinstance(device, Device) else Device("cuda" if device is None else device)
    if found.type != "cuda":
        raise DeviceError(f"expected a GPU, got the device {found}")
    return found
