"""One small pool of threads for all compiled kernels.

A kernel is a Numba function compiled with ``nogil=True`` that works on a range ``[start, stop)`` of independent items (images of
the batch, rows, planes). ``split`` cuts the range into as many parts as there are threads; the caller computes the first part
itself.

Between two kernels, which mostly follow each other in a few microseconds, the threads stay awake and look for work without the
GIL; after a tenth of a millisecond without any they let others go first between two looks, and after some more they go to sleep.
Handing over a part takes no Python at all: its kernel, its arguments and its range are numbers in memory (``calls``). So it costs
2 us, where passing the GIL from thread to thread takes 10 to 50. A part that no thread has begun when the caller is done with its
own, as it has just been woken, the caller computes too.

Work smaller than ``SERIAL_WORK`` basic operations stays on the caller, and so does all work while another Python thread has the
pool.
"""

import os
import threading
from collections.abc import Callable

import numpy as np
from numba import types

from minidl.kernels.cpu.calls import ROOM, address, call, packed
from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.spin import look, looks, pause, swap, tell

SERIAL_WORK = 10_000
PATIENCE = 100e-6  # seconds of looking for work, or for the end of another's, before the core is offered to others
OFFERS = 10_000  # of its core that a thread without work makes before it sleeps: some 2 ms where nobody takes it

# Places in a thread's numbers: how far its part is, and what that part is. They fill two cache lines, so that a thread which
# watches its own is not disturbed by what others write.
STATE, ENTRY, START, STOP, STATUS, NUMBERS = 0, 8, 9, 10, 11, 16
LINE = 64  # bytes
DONE, FREE, TAKEN, END = range(4)

_yield = types.ExternalFunction("sched_yield", types.intc()) if os.name == "posix" else pause


@jit
def _compute(own, memory):
    """Compute the part that is written down in a thread's numbers, if nobody has begun it; whether that is so."""
    if not swap(own, STATE, FREE, TAKEN):
        return False
    own[STATUS] = call(own[ENTRY], memory, own[START], own[STOP])
    tell(own, STATE, DONE)
    return True


@jit
def _share(numbers, room, items, patience, kernel):
    """Offer each thread a part of a kernel's call, compute the first part and what nobody has begun, and wait for the rest.
    ``numbers`` are (threads, NUMBERS); returns 0 if nothing went wrong.
    """
    entry, memory, parts = packed(room, kernel), room.ctypes.data, len(numbers) + 1
    for k in range(1, parts):
        own = numbers[k - 1]
        own[ENTRY], own[START], own[STOP] = entry, items * k // parts, items * (k + 1) // parts
        tell(own, STATE, FREE)
    status = call(entry, memory, 0, items // parts)
    for own in numbers:
        if not _compute(own, memory):
            left = patience
            while look(own, STATE) != DONE:
                if left:
                    left -= 1
                    pause()
                else:
                    _yield()
        status |= own[STATUS]
    return status


@jit
def _serve(own, memory, patience):
    """Compute parts as they come, until none has come for long, or there will be none any more."""
    left = patience + OFFERS
    while left:
        state = look(own, STATE)
        if state == END:
            return
        if state == FREE and _compute(own, memory):
            left = patience + OFFERS
        left -= 1
        if left > OFFERS:
            pause()
        else:
            _yield()


class _Worker:
    """A thread that computes a part of each kernel: it watches its ``numbers`` until it falls asleep."""

    def __init__(self, numbers: np.ndarray, room: np.ndarray, patience: int):
        self.numbers, self.room, self.patience = numbers, room, patience
        self.asleep, self.wake = False, threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, daemon=True, name="minidl-kernel")
        self.thread.start()

    def rouse(self) -> None:
        """Wake the thread if it sleeps."""
        if self.asleep:
            self.wake.release()

    def _work(self):
        while self.numbers[STATE] != END:
            _serve(self.numbers, self.room.ctypes.data, self.patience)
            self.asleep = True
            while self.numbers[STATE] in (DONE, TAKEN):
                self.wake.acquire()
            self.asleep = False


def _on_lines(threads: int) -> np.ndarray:
    """Numbers of so many threads, (threads, NUMBERS), from the start of a cache line on."""
    memory = np.zeros(threads * NUMBERS + LINE // 8, np.int64)
    start = -memory.ctypes.data % LINE // 8
    return memory[start : start + threads * NUMBERS].reshape(threads, NUMBERS)


class _Pool:
    """``threads - 1`` workers. Rebuilt in a forked child, where threads do not survive."""

    def __init__(self, threads: int):
        self.threads, self.pid, self.lock, self.patience = threads, os.getpid(), threading.Lock(), looks(PATIENCE)
        self.room, self.numbers = np.zeros(ROOM, np.uint8), _on_lines(threads - 1)
        _serve(np.full(NUMBERS, END), 0, 1)  # compiled here: a thread that compiles it first comes seconds late
        self.workers = [_Worker(own, self.room, self.patience) for own in self.numbers]

    def run(self, function, parts: int, items: int, args: tuple) -> None:
        """Each part of the range on a thread of its own."""
        kernel = address(function, args), *args
        for worker in self.workers[: parts - 1]:
            worker.rouse()
        if _share(self.numbers[: parts - 1], self.room, items, self.patience, kernel):
            raise RuntimeError(f"{function.__name__} failed; after minidl.set_num_threads(1) the error says where")

    def close(self):
        """For good: whoever still has this pool finds it busy."""
        self.lock.acquire()
        self.numbers[:, STATE] = END
        for worker in self.workers:
            worker.rouse()


_pool: _Pool | None = None
_lock = threading.Lock()


def _default_threads() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(os.environ.get("MINIDL_NUM_THREADS", available)))


def get_num_threads() -> int:
    """How many threads the compiled kernels use: ``MINIDL_NUM_THREADS``, or the CPUs this process may run on."""
    return _pool.threads if _pool else _default_threads()


def set_num_threads(threads: int) -> None:
    """Let compiled kernels use this many threads: see ``minidl.set_num_threads``."""
    global _pool
    if not isinstance(threads, int) or isinstance(threads, bool) or threads < 1:
        raise ValueError(f"the number of threads must be a positive int, got {threads!r}")
    with _lock:
        if _pool and _pool.pid == os.getpid():
            _pool.close()
        _pool = _Pool(threads)


def split(function: Callable, items: int, work: int, *args) -> None:
    """Run ``function(start, stop, *args)`` over ``range(items)``, in parts on all threads if ``work`` (the number of basic
    operations in all) is worth a hand-off. Parts must write to disjoint memory. A kernel that fails raises its error, or
    RuntimeError where it was shared.
    """
    if work < SERIAL_WORK or items < 2:
        function(0, items, *args)
        return
    pool = _current()
    parts = min(pool.threads, items)
    if parts == 1 or not pool.lock.acquire(blocking=False):
        function(0, items, *args)
        return
    try:
        pool.run(function, parts, items, args)
    finally:
        pool.lock.release()


def _current() -> _Pool:
    global _pool
    if _pool is None or _pool.pid != os.getpid():
        with _lock:
            if _pool is None or _pool.pid != os.getpid():
                _pool = _Pool(get_num_threads())
    return _pool


def _after_fork() -> None:
    """A child has one thread: nobody is left to release a lock that another one held."""
    global _lock
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
