"""Worker processes that make batches ahead of time. (Loaded only when a loader has some.)

Each worker has two pipes of its own: tasks in, results out. A thread in the worker takes in tasks as they come, so that a
worker which is busy sending never keeps the parent from sending; and when the parent dies, that thread ends the worker at
once. Workers are never forked from this process, whose threads and locks a fork would copy in any state.
"""

import contextlib
import itertools
import multiprocessing
import os
import queue
import signal
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler

from minidl.data.collate import fetch
from minidl.errors import DataError, UsageError


class Workers:
    """``count`` processes that make batches of a data set, each with up to ``prefetch`` of them under way.

    Raises UsageError for a data set or ``collate_fn`` that cannot be sent to a process.
    """

    def __init__(self, dataset, collate_fn: Callable | None, skip: bool, count: int, prefetch: int):
        try:
            parcel = ForkingPickler.dumps((dataset, collate_fn, skip))
        except Exception as error:
            raise UsageError(f"{type(dataset).__name__} or its collate_fn cannot be sent to a worker process ({error}): all that "
                             "they hold must be defined at the top level of a module, so no lambda; or use num_workers=0"
                             ) from error
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        self.prefetch, self.runs = prefetch, itertools.count()
        self.tasks, self.results, self.processes = [], [], []
        self.close = weakref.finalize(self, _end, self.tasks, self.results, self.processes)
        for _ in range(count):
            (their_tasks, tasks), (results, their_results) = context.Pipe(duplex=False), context.Pipe(duplex=False)
            self.tasks.append(tasks)
            self.results.append(results)
            process = context.Process(target=work, args=(their_tasks, their_results), daemon=True)
            process.start()
            self.processes.append(process)
            their_tasks.close()
            their_results.close()
        for worker in range(count):  # now that all are starting
            self._send(worker, parcel)

    @property
    def closed(self) -> bool:
        """Whether the processes were ended, by ``close()`` or since one of them died."""
        return not self.close.alive

    def run(self, batches: Iterator, seed: int, epoch: int) -> Iterator:
        """What ``fetch`` gives for each array of indices, in their order.

        An error in a worker is raised here, caused by a DataError that shows where it happened there. The death of a worker
        is a DataError, and ends all of them.
        """
        run, count, numbered = next(self.runs), len(self.processes), enumerate(batches)
        ready: dict[int, tuple] = {}

        def send() -> bool:
            number, indices = next(numbered, (None, None))
            if indices is not None:
                self._send(number % count, ForkingPickler.dumps((run, number, indices, seed, epoch)))
            return indices is not None

        sent, received = sum(send() for _ in range(self.prefetch * count)), 0
        while received < sent:
            while received not in ready:
                for of_run, number, *result in self._arrived():
                    if of_run == run:  # and not of one that was left early
                        ready[number] = result
            batch, failure = ready.pop(received)
            received += 1
            sent += send()
            if failure is not None:
                raise failure.error from DataError(f"in a data worker:\n{failure.trace}")
            yield batch

    def _send(self, worker: int, data) -> None:
        try:
            self.tasks[worker].send_bytes(data)
        except OSError:
            self._died(worker)

    def _arrived(self) -> Iterator[tuple]:
        """What the workers have sent, waiting for something if need be."""
        found = wait([*self.results, *(process.sentinel for process in self.processes)])
        for worker, (results, process) in enumerate(zip(self.results, self.processes, strict=True)):
            if results in found:
                try:
                    yield results.recv()
                except (EOFError, OSError):
                    self._died(worker)
            elif process.sentinel in found:
                self._died(worker)

    def _died(self, worker: int) -> None:
        process = self.processes[worker]
        process.join(1)
        code = process.exitcode
        self.close()
        cause = (f"signal {-code} killed it; was there enough memory?" if code is not None and code < 0 else
                 "what it printed says why. A script with workers must begin its work under `if __name__ == \"__main__\":`, "
                 "because each worker imports the script")
        raise DataError(f"data worker {worker} of {len(self.processes)} died with exit code {code}: {cause}")


def _end(tasks: list, results: list, processes: list) -> None:
    """End all workers, whatever they are doing."""
    for pipe in (*tasks, *results):
        pipe.close()
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


class Failure:
    """An error on its way from a worker to the parent: itself if it survives the way, else its name and message."""

    def __init__(self, error: Exception):
        self.trace = "".join(traceback.format_exception(error))
        try:
            self.error = ForkingPickler.loads(ForkingPickler.dumps(error))
        except Exception:
            self.error = DataError("\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", [])]))


def work(tasks: Connection, results: Connection) -> None:
    """A worker's life: batches on demand."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(tasks, inbox), daemon=True).start()
    parcel, job = inbox.get(), None
    with contextlib.suppress(OSError):  # the parent is gone
        while True:
            run, number, *what = ForkingPickler.loads(inbox.get())
            try:
                job = job or ForkingPickler.loads(parcel)  # in here, so that its errors reach the parent
                reply = ForkingPickler.dumps((run, number, fetch(*job, *what), None))
            except Exception as error:
                reply = ForkingPickler.dumps((run, number, None, Failure(error)))
            results.send_bytes(reply)


def _listen(tasks: Connection, inbox: queue.SimpleQueue) -> None:
    with contextlib.suppress(EOFError, OSError):
        while True:
            inbox.put(tasks.recv_bytes())
    os._exit(0)
