"""A step that is being recorded as a CUDA graph, and what kernels and random numbers owe it.

A recorded step is replayed with the same kernels, arguments and addresses, and no Python runs. So

- numbers that change from replay to replay (a learning rate, a random counter) are read from the device, where the host writes
  them before each replay: ``live``;
- numbers that stay are copied to the GPU at once, beside the recording, which would else copy them again and again: ``uploaded``;
- an array whose address was recorded is kept as long as the recording.

``minidl.capture`` makes recordings; outside of one, ``live`` and ``uploaded`` are plain copies.
"""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.streams import side_stream

PAGE = 1 << 16  # bytes: a copy of up to 64 KiB does not wait for the GPU
ALIGNMENT = 16


class _State(threading.local):
    recording: "Recording | None" = None
    recordable = False


_state = _State()


def current() -> "Recording | None":
    """The recording that this thread is making, if it makes one."""
    return _state.recording


def must_be_recordable() -> bool:
    """Whether kernels must do without cuBLAS and other libraries that CuPy cannot record."""
    return _state.recordable or _state.recording is not None


@contextlib.contextmanager
def recordable():
    """Inside, as for the first call of a captured step, kernels are those that would be recorded: so they are loaded by then."""
    before, _state.recordable = _state.recordable, True
    try:
        yield
    finally:
        _state.recordable = before


class Recording:
    """Live numbers of one recorded step, in a page of host memory and its copy on the GPU, and arrays to keep.

    As a context manager it is the current one while the step runs for the recording.
    """

    def __init__(self):
        cupy = sys.modules["cupy"]
        self._host, self._page, self._used = np.zeros(PAGE, np.uint8), cupy.empty(PAGE, np.uint8), 0
        self._sources: list[tuple[np.ndarray, Callable]] = []
        self._checks: list[Callable] = []
        self._kept: list = []
        self._allocator = cupy.cuda.get_allocator()

    def __enter__(self):
        _state.recording = self
        return self

    def __exit__(self, *_):
        _state.recording = None

    def live(self, numbers: Callable, dtype, count: int):
        """An array of ``count`` numbers on the GPU; ``numbers()`` gives so many or fewer before every replay, also the first."""
        start = self._used
        stop = start + np.dtype(dtype).itemsize * count
        self._used = -(-stop // ALIGNMENT) * ALIGNMENT
        if self._used > PAGE:
            raise RuntimeError(f"a recorded step has room for {PAGE} bytes of numbers that change, this one needs more")
        self._sources.append((self._host[start:stop].view(dtype), numbers))
        return self._page[start:stop].view(dtype)

    def before_replay(self, check: Callable) -> None:
        """Call ``check()`` before every replay, ahead of all live numbers; it raises if the recording no longer fits."""
        self._checks.append(check)

    def refresh(self) -> None:
        """Check, and write all live numbers, in the order in which the step asked for them."""
        for check in self._checks:
            check()
        for place, numbers in self._sources:
            values = numbers()
            place[: len(values)] = values
        self._page.data.copy_from_host_async(self._host.ctypes.data, self._used)

    def keep(self, array) -> None:
        """Let the array live as long as the recording."""
        self._kept.append(array)

    def copied(self, data, dtype):
        """An array on the GPU that holds these numbers, a constant of the step, at the beginning of every replay."""
        with self.beside():
            source = sys.modules["cupy"].array(data, dtype)
        self.keep(source)
        return source.copy()

    @contextlib.contextmanager
    def beside(self):
        """What is done inside happens at once and is not recorded; its memory is not the recording's."""
        cupy, _state.recording = sys.modules["cupy"], None
        try:
            with cupy.cuda.using_allocator(self._allocator), side_stream() as stream:
                yield
                stream.synchronize()
        finally:
            _state.recording = self


def live(numbers: Callable, dtype, count: int, xp):
    """An array of what ``numbers()`` gives, at most ``count`` numbers; in a recorded step, of what it gives at each replay."""
    recording = current()
    return xp.array(numbers(), dtype) if recording is None else recording.live(numbers, dtype, count)


def number(value, dtype, like):
    """A number as a 0-d array beside ``like``. A GPU gets it as an argument of a kernel, not by a copy from the CPU."""
    return np.asarray(value, dtype) if isinstance(like, (np.ndarray, np.generic)) else namespace(like).full((), value, dtype)


def uploaded(array: np.ndarray, like, often=True):
    """The array on the device of ``like``, not to be changed: equal ones may share their memory, on one stream, as another would
    not wait for the copy. Of those that hardly come again (not ``often``), only the latest few are kept for it.
    """
    if isinstance(like, np.ndarray):
        return array
    key = array.tobytes(), array.dtype, array.shape, like.device.id, sys.modules["cupy"].cuda.get_current_stream().ptr
    found = (_uploaded if often else _uploaded_lately)(*key)
    if (recording := current()) is not None:
        recording.keep(found)
    return found


def _upload(data: bytes, dtype, shape, device, stream):
    cupy, recording = sys.modules["cupy"], current()
    with cupy.cuda.Device(device), recording.beside() if recording is not None else contextlib.nullcontext():
        return cupy.array(np.frombuffer(data, dtype).reshape(shape))


_uploaded, _uploaded_lately = functools.lru_cache(1024)(_upload), functools.lru_cache(8)(_upload)
