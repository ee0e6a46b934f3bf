"""``cupy.cuda`` of the stand-in: two devices, streams that do everything at once, and kernels that run on the CPU."""

import re
import types

import numpy as np

from minidl.kernels.cuda import host, launch
from tests.pretend import graph
from tests.pretend.array import _host, ndarray, pinned_allocator
from tests.pretend.graph import CUDARuntimeError
from tests.pretend.memory import (  # noqa: F401
    DEVICES,
    MemoryHook,
    MemoryPointer,
    MemoryPool,
    OutOfMemoryError,
    UnownedMemory,
    current,
    default_pool,
    get_allocator,
    set_allocator,
    taken,
    using_allocator,
)


class Device:
    """One of the devices; as a context manager the current one."""

    def __init__(self, device=None):
        self.id = current.device if device is None else int(device)
        self._before = []

    def use(self):
        runtime.setDevice(self.id)

    def __enter__(self):
        self._before.append(current.device)
        self.use()
        return self

    def __exit__(self, *_):
        current.device = self._before.pop()

    def __int__(self):
        return self.id

    def __eq__(self, other):
        return isinstance(other, Device) and self.id == other.id

    def __hash__(self):
        return hash(self.id)

    def synchronize(self):
        pass

    compute_capability = "80"

    @property
    def mem_info(self):
        return runtime.memGetInfo()


class _Runtime:
    CUDARuntimeError = CUDARuntimeError

    @staticmethod
    def getDeviceCount():
        return DEVICES

    @staticmethod
    def getDevice():
        return current.device

    @staticmethod
    def setDevice(device):
        if not 0 <= device < DEVICES:
            raise CUDARuntimeError(101, "cudaErrorInvalidDevice: invalid device ordinal")
        current.device = device

    @staticmethod
    def deviceSynchronize():
        pass

    @staticmethod
    def driverGetVersion():
        return 12080

    runtimeGetVersion = driverGetVersion

    @staticmethod
    def memGetInfo():
        total = 1 << 34
        return total - taken[current.device], total

    @staticmethod
    def getDeviceProperties(device):
        return {"name": b"Pretend GPU", "major": 8, "minor": 0, "totalGlobalMem": 1 << 34, "multiProcessorCount": 1}


runtime = _Runtime()


def is_available():
    return True


def get_device_id():
    return current.device


class Stream:
    """A queue of work, each piece of which is done before the next line of Python, unless it is recorded."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.null, self.ptr, self.recorded = null, 0 if null else id(self), None

    def __enter__(self):
        _streams.append(self)
        graph.state.recorded = self.recorded
        return self

    def __exit__(self, *_):
        _streams.pop()
        graph.state.recorded = _streams[-1].recorded

    def use(self):
        _streams[-1] = self
        graph.state.recorded = self.recorded
        return self

    def begin_capture(self, mode=None):
        if self.null:
            raise RuntimeError("cannot capture on the default (legacy) stream")
        self.recorded = graph.state.recorded = graph.Recorded()

    def end_capture(self):
        try:
            return graph.finish()
        finally:
            self.recorded = graph.state.recorded = None

    def is_capturing(self):
        return self.recorded is not None

    def record(self, event=None):
        event = event or Event()
        event.record(self)
        return event

    def synchronize(self):
        if self.recorded is not None:
            graph.refuse("waiting for a stream")

    def wait_event(self, event):
        if not event.recorded:
            raise RuntimeError("the event that a stream waits for was never recorded")

    done = True


Stream.null = Stream(null=True)
_streams = [Stream.null]


def get_current_stream():
    return _streams[-1]


class Event:
    """A place in a stream."""

    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.recorded = False

    def record(self, stream=None):
        self.recorded = True

    def synchronize(self):
        pass

    @property
    def done(self):
        return self.recorded


def get_elapsed_time(start, stop):
    return 0.0


memory = types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError)


class PinnedMemoryPointer(bytearray):
    """Memory of the CPU that a GPU could read by itself."""


def set_pinned_memory_allocator(found):
    pinned_allocator[0] = found


set_pinned_memory_allocator(PinnedMemoryPointer)


def alloc_pinned_memory(size):
    return pinned_allocator[0](size)


_pinned_pool = types.SimpleNamespace(free_all_blocks=lambda: None, n_free_blocks=lambda: 0, malloc=PinnedMemoryPointer)


def get_default_memory_pool():
    return default_pool


def get_default_pinned_memory_pool():
    return _pinned_pool


def empty_pinned(shape, dtype=float, order="C"):
    """``cupyx.empty_pinned``: a NumPy array in such memory."""
    size = np.empty(shape, dtype).nbytes
    return np.ndarray(shape, dtype, alloc_pinned_memory(size), order=order)


class _Immutable(type):
    """A type in C, whose attributes cannot be set."""

    def __setattr__(cls, name, value):
        raise TypeError(f"cannot set {name!r} attribute of immutable type '{cls.__name__}'")


class RawModule(metaclass=_Immutable):
    """A file of kernels, compiled for the CPU; the last of the names in its text is its own."""

    def __init__(self, *, code=None, options=(), backend="nvrtc", name_expressions=None, **_):
        self.file = re.findall(r'(\w+)\.cu"', code)[-1]
        real = next(option.removeprefix("-Dreal=") for option in options if option.startswith("-Dreal="))
        self.dtype = np.dtype(next(name for name, (c_type, _) in launch.C_TYPES.items() if c_type == real))

    def compile(self):
        host._compiled(self.file, self.dtype)

    def get_function(self, name):
        def function(grid, block, args, shared_mem=0, stream=None):
            arguments = [_argument(arg) for arg in args]
            graph.change(lambda: host.run(self.file, name, self.dtype, grid[0], block[0], arguments),
                         [arg for arg in args if isinstance(arg, ndarray)])

        return function


def _argument(arg):
    if isinstance(arg, np.ndarray) and arg.dtype.names and arg.size == 1:
        return arg[()]  # a struct
    if isinstance(arg, np.ndarray):
        if arg.size != 1:
            raise TypeError(f"You are trying to pass a numpy.ndarray of shape {arg.shape} as a kernel parameter.")
        return arg[()]  # by value
    return _host(arg) if isinstance(arg, ndarray) else arg
