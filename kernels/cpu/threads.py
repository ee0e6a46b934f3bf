"""One small thread pool for all compiled kernels.

A kernel is a Numba function compiled with ``nogil=True`` that works on a range ``[start, stop)`` of independent items
(images of the batch, rows, planes). ``split`` cuts the range into as many parts as there are threads; the caller computes the
first part itself. A hand-off costs some 50 us, so work smaller than ``SERIAL_WORK`` basic operations stays on the caller.
"""

import os
import threading
from collections.abc import Callable
from queue import SimpleQueue

SERIAL_WORK = 200_000


class _Pool:
    """``threads - 1`` daemon threads that wait for work. Rebuilt in a forked child, where threads do not survive."""

    def __init__(self, threads: int):
        self.threads = threads
        self.pid = os.getpid()
        self.tasks: SimpleQueue = SimpleQueue()
        for _ in range(threads - 1):
            threading.Thread(target=self._work, args=(self.tasks,), daemon=True, name="minidl-kernel").start()

    @staticmethod
    def _work(tasks: SimpleQueue):
        while (task := tasks.get()) is not None:
            function, start, stop, args, done = task
            try:
                function(start, stop, *args)
                done.put(None)
            except BaseException as error:  # handed to the caller, who raises it
                done.put(error)
            del task, function, args, done  # a waiting thread keeps no array alive

    def close(self):
        for _ in range(self.threads - 1):
            self.tasks.put(None)


_pool: _Pool | None = None
_lock = threading.Lock()


def _default_threads() -> int:
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(os.environ.get("MINIDL_NUM_THREADS", available)))


def get_num_threads() -> int:
    """How many threads the compiled kernels use: ``MINIDL_NUM_THREADS``, or the CPUs this process may run on."""
    return _pool.threads if _pool else _default_threads()


def set_num_threads(threads: int) -> None:
    """Let compiled kernels use this many threads (at least 1)."""
    global _pool
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"the number of threads must be a positive int, got {threads!r}")
    with _lock:
        if _pool:
            _pool.close()
        _pool = _Pool(threads)


def split(function: Callable, items: int, work: int, *args) -> None:
    """Run ``function(start, stop, *args)`` over ``range(items)``, in parts on all threads if ``work`` (the number of basic
    operations in all) is worth a hand-off. Parts must write to disjoint memory; the first error of a part is raised here.
    """
    global _pool
    if work < SERIAL_WORK or items < 2:
        function(0, items, *args)
        return
    if _pool is None or _pool.pid != os.getpid():
        with _lock:
            if _pool is None or _pool.pid != os.getpid():
                _pool = _Pool(_default_threads())
    pool = _pool
    parts = min(pool.threads, items)
    if parts == 1:
        function(0, items, *args)
        return
    bounds = [items * part // parts for part in range(parts + 1)]
    done: SimpleQueue = SimpleQueue()
    for start, stop in zip(bounds[1:-1], bounds[2:], strict=True):
        pool.tasks.put((function, start, stop, args, done))
    errors = []
    try:
        function(0, bounds[1], *args)
    except BaseException as error:
        errors.append(error)
    errors += [error for _ in range(parts - 1) if (error := done.get()) is not None]
    if errors:
        raise errors[0]
