"""One small pool of threads for all compiled kernels.

A kernel is a Numba function compiled with ``nogil=True`` that works on a range ``[start, stop)`` of independent items (images of
the batch, rows, planes). ``split`` cuts the range into as many parts as there are threads; the caller computes the first part
itself.

Between two kernels, which mostly follow each other in a few microseconds, the threads stay awake and look for work without the
GIL (``spin``); after a tenth of a millisecond without any they go to sleep. A hand-off then costs some 10 us instead of 50. Work
smaller than ``SERIAL_WORK`` basic operations stays on the caller, and so does all work while another Python thread has the pool.
"""

import os
import threading
from collections.abc import Callable

import numpy as np

from minidl.kernels.cpu.spin import DELAY, pauses, tell_and_wait

SERIAL_WORK = 50_000
PATIENCE = 100e-6  # seconds without work before a thread sleeps


class _Worker:
    """A thread that computes a part of each kernel. Job and answer are numbered; the numbers lie in an array that both sides
    watch without the GIL, everything else is handed over under it.
    """

    JOB, ANSWER = 0, 8  # places in the array, on cache lines of their own

    def __init__(self):
        self.numbers = np.zeros(16, np.int64)
        self.waiting = pauses(PATIENCE), pauses(DELAY)
        self.task: tuple | None = None
        self.error: BaseException | None = None
        self.answered = 0
        self.asleep = self.awaited = False
        self.wake, self.done = threading.Semaphore(0), threading.Semaphore(0)
        self.thread = threading.Thread(target=self._work, daemon=True, name="minidl-kernel")
        self.thread.start()

    def give(self, function, *args) -> None:
        """Let the thread call ``function(*args)``; None ends it."""
        self.task = (function, args)
        self.numbers[self.JOB] += 1
        if self.asleep:
            self.wake.release()

    def finish(self) -> BaseException | None:
        """Wait for the end of the call, whatever happens meanwhile; the error that it raised, or that came while waiting."""
        interrupt = None
        while True:
            try:
                return self._take() or interrupt
            except BaseException as error:  # such as Ctrl-C: not before the thread has left the arrays
                interrupt = error

    def _take(self) -> BaseException | None:
        job = int(self.numbers[self.JOB])
        if self.answered != job:
            if self.asleep:  # a call that was interrupted may not have woken it
                self.wake.release()
            tell_and_wait(self.numbers, self.JOB, job, self.ANSWER, job - 1, *self.waiting)
            while self.answered != job:
                self.awaited = True
                if self.answered != job:
                    self.done.acquire()
                self.awaited = False
        error, self.error = self.error, None
        return error

    def _work(self):
        job = 0
        while True:
            if tell_and_wait(self.numbers, self.ANSWER, job, self.JOB, job, *self.waiting) == job:
                self._sleep(job)
            (function, args), self.task = self.task, None
            if function is None:
                return
            try:
                function(*args)
            except BaseException as error:  # handed to the caller, who raises it
                self.error = error
            del function, args  # a waiting thread keeps no array alive
            job += 1
            self.answered = job
            if self.awaited:
                self.done.release()

    def _sleep(self, job):
        """Until there is another job. Both sides first say what they do and then look what the other has done."""
        self.asleep = True
        while self.numbers[self.JOB] == job:
            self.wake.acquire()
        self.asleep = False


class _Pool:
    """``threads - 1`` workers. Rebuilt in a forked child, where threads do not survive."""

    def __init__(self, threads: int):
        self.threads = threads
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.workers = [_Worker() for _ in range(threads - 1)]

    def run(self, function, bounds, args) -> None:
        """Each part of the range on a thread of its own; the first error of a part is raised here."""
        workers, errors = self.workers[: len(bounds) - 2], []
        try:
            for worker, start, stop in zip(workers, bounds[1:-1], bounds[2:], strict=True):
                worker.give(function, start, stop, *args)
            function(bounds[0], bounds[1], *args)
        except BaseException as error:
            errors.append(error)
        errors += [error for worker in workers if (error := worker.finish()) is not None]
        if errors:
            raise errors[0]

    def close(self):
        """For good: whoever still has this pool finds it busy."""
        self.lock.acquire()
        for worker in self.workers:
            worker.give(None)


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
    operations in all) is worth a hand-off. Parts must write to disjoint memory; the first error of a part is raised here.
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
        pool.run(function, [items * part // parts for part in range(parts + 1)], args)
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
