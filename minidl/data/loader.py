"""The loader: batches in an order that depends on seed and epoch alone, made here or in worker processes."""

import multiprocessing
import traceback
import weakref
from collections.abc import Callable, Iterator
from multiprocessing.connection import wait
from numbers import Number

import numpy as np

from minidl.errors import DataError, ShapeError, UsageError
from minidl.random import derive, initial_seed
from minidl.tensor import Tensor

PREFETCH = 2  # batches under way in each worker


def default_collate(samples: list):
    """One batch from a list of samples: arrays, tensors and numbers are stacked, tuples and dicts go item by item.

    Returns arrays; ints become int64, floats float32. Raises ShapeError for samples of different shapes.

    >>> images, labels = default_collate([(np.zeros(2), 3), (np.ones(2), 5)])
    >>> images.shape, labels
    ((2, 2), array([3, 5]))
    """
    first = samples[0]
    if isinstance(first, tuple):
        return tuple(default_collate(list(column)) for column in zip(*samples, strict=True))
    if isinstance(first, dict):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, Number) and not isinstance(first, np.generic):
        return np.asarray(samples, np.int64 if isinstance(first, int) else np.float32)
    arrays = [np.asarray(sample.array if isinstance(sample, Tensor) else sample) for sample in samples]
    if len({a.shape for a in arrays}) > 1:
        raise ShapeError(f"samples of one batch must have one shape, got {sorted({a.shape for a in arrays})}: resize or crop "
                         "them, or pass collate_fn")
    return np.stack(arrays)


class DataLoader:
    """Batches of a data set as tensors.

    ``shuffle`` draws a new order each epoch, from ``seed`` (the default generator's if None) and the epoch's number; both also
    seed the augmentation of each sample, so ``num_workers`` changes speed and nothing else. Workers are processes that start
    with the first epoch and end with the loader. An error in one arrives here with its cause; a worker that dies is an error
    too. ``set_epoch`` makes an epoch repeatable.

    Raises UsageError for a batch size below 1 and other contradictory options.

    >>> import minidl
    >>> from minidl.data import TensorDataset
    >>> loader = DataLoader(TensorDataset(minidl.arange(5)), batch_size=2, shuffle=True, seed=0)
    >>> [batch.tolist() for (batch,) in loader]
    [[4, 3], [2, 0], [1]]
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, sampler=None, batch_sampler=None, num_workers=0,
                 collate_fn: Callable | None = None, drop_last=False, seed: int | None = None):
        if batch_sampler is None and (not isinstance(batch_size, int) or batch_size < 1):
            raise UsageError(f"batch_size must be a positive int, got {batch_size!r}")
        if not isinstance(num_workers, int) or num_workers < 0:
            raise UsageError(f"num_workers must be an int of at least 0, got {num_workers!r}")
        if (shuffle and sampler is not None) or (batch_sampler is not None and (shuffle or sampler is not None or drop_last)):
            raise UsageError("choose one of shuffle, sampler and batch_sampler (which excludes drop_last too)")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.sampler, self.batch_sampler, self.num_workers = sampler, batch_sampler, num_workers
        self.collate_fn, self.seed, self.epoch = collate_fn, initial_seed() if seed is None else seed, 0
        self._workers: _Workers | None = None

    def __len__(self):
        """Number of batches in an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        count = len(self.dataset if self.sampler is None else self.sampler)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the number of the next epoch; it goes up by one with each pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator:
        epoch, self.epoch = self.epoch, self.epoch + 1
        batches = self._batches(epoch)
        if self.num_workers == 0:
            made = (_make(self.dataset, self.collate_fn, indices, self.seed, epoch) for indices in batches)
        else:
            if self._workers is None:
                self._workers = _Workers(self.dataset, self.collate_fn, self.num_workers)
            made = self._workers.run(batches, self.seed, epoch)
        return map(_as_tensors, made)

    def _batches(self, epoch: int) -> Iterator[np.ndarray]:
        """The indices of each batch of an epoch."""
        if self.batch_sampler is not None:
            return (np.asarray(indices, np.int64) for indices in self.batch_sampler)
        if self.sampler is not None:
            order = np.fromiter(iter(self.sampler), np.int64)
        elif self.shuffle:
            order = derive(self.seed, epoch).permutation(len(self.dataset))
        else:
            order = np.arange(len(self.dataset))
        starts = range(0, len(self) * self.batch_size, self.batch_size)
        return (order[start : start + self.batch_size] for start in starts)


def _make(dataset, collate_fn, indices, seed, epoch):
    """One batch of arrays: from the data set's own ``batch``, or sample by sample."""
    if collate_fn is None and hasattr(dataset, "batch"):
        return dataset.batch(indices, seed, epoch)
    samples = []
    for index in indices.tolist():
        try:
            if hasattr(dataset, "sample"):
                samples.append(dataset.sample(index, derive(seed, epoch, index)))
            else:
                samples.append(dataset[index])
        except Exception as error:
            error.add_note(f"while reading sample {index} of {type(dataset).__name__}")
            raise
    return (collate_fn or default_collate)(samples)


def _as_tensors(batch):
    """Arrays as tensors, inside tuples, lists and dicts; what else there is stays."""
    if isinstance(batch, np.ndarray):
        return Tensor(batch) if batch.dtype.kind in "biuf" else batch
    if isinstance(batch, (tuple, list)):
        return tuple(map(_as_tensors, batch))
    if isinstance(batch, dict):
        return {key: _as_tensors(value) for key, value in batch.items()}
    return batch


class _Workers:
    """Worker processes, each behind a pipe of its own: a worker whose parent is gone reads the end of its pipe and leaves."""

    def __init__(self, dataset, collate_fn, count: int):
        # Threads and locks of this process must not be copied into workers, so they are never forked from it.
        method = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
        context = multiprocessing.get_context(method)
        self.pipes, self.processes = [], []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, dataset, collate_fn), daemon=True)
            process.start()
            theirs.close()
            self.pipes.append(ours)
            self.processes.append(process)
        self._run = 0
        self._finalizer = weakref.finalize(self, _stop, self.pipes, self.processes)

    def run(self, batches, seed, epoch) -> Iterator:
        """Batches in their order, each worker having a few under way."""
        self._run += 1  # results of an epoch that was left early are told apart by its number
        run, count = self._run, len(self.pipes)
        batches = iter(batches)
        sent = received = 0
        ready: dict[int, object] = {}

        def send() -> int:
            indices = next(batches, None)
            if indices is None:
                return 0
            self._talk(sent % count, lambda pipe: pipe.send((run, sent, indices, seed, epoch)))
            return 1

        for _ in range(PREFETCH * count):
            sent += send()
        while received < sent:
            while received not in ready:
                for worker, (of_run, number, result) in self._arrived():
                    if of_run == run:
                        ready[number] = result
            result = ready.pop(received)
            received += 1
            sent += send()
            if isinstance(result, _Failure):
                raise result.error from DataError(f"in a data worker:\n{result.trace}")
            yield result

    def _arrived(self):
        """What the workers have sent, waiting for at least one; raises DataError if one has died."""
        found = wait([*self.pipes, *(process.sentinel for process in self.processes)])
        for worker, pipe in enumerate(self.pipes):
            if pipe in found:
                yield worker, self._talk(worker, lambda pipe: pipe.recv())
        for process in self.processes:
            if process.sentinel in found:
                self._died(process)

    def _talk(self, worker: int, action):
        try:
            return action(self.pipes[worker])
        except (EOFError, OSError):
            self._died(self.processes[worker])

    def _died(self, process):
        process.join(1)
        self._finalizer()
        raise DataError(f"a data worker died (exit code {process.exitcode}); was it killed, or out of memory?")


class _Failure:
    """An error that happened in a worker, on its way to the parent."""

    def __init__(self, error: Exception):
        self.trace = traceback.format_exc()
        self.error = error

    def __reduce__(self):
        return _rebuild_failure, (self.trace, type(self.error), str(self.error), getattr(self.error, "__notes__", []))


def _rebuild_failure(trace, kind, message, notes):
    failure = _Failure.__new__(_Failure)
    failure.trace = trace
    try:
        failure.error = kind(message)
    except Exception:  # an exception that is not made from a message
        failure.error = DataError(f"{kind.__name__}: {message}")
    for note in notes:
        failure.error.add_note(note)
    return failure


def _work(pipe, dataset, collate_fn) -> None:
    """A worker's life: batches on demand until the pipe ends."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    try:
        while True:
            run, number, indices, seed, epoch = pipe.recv()
            try:
                result = _make(dataset, collate_fn, indices, seed, epoch)
            except Exception as error:
                result = _Failure(error)
            pipe.send((run, number, result))
    except (EOFError, OSError):
        pass


def _stop(pipes, processes) -> None:
    for pipe in pipes:
        pipe.close()
    for process in processes:
        process.terminate()
    for process in processes:
        process.join(5)
