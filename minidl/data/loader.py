"""The loader: batches in an order that depends on seed and epoch alone, made here or in worker processes."""

import itertools
import operator
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from minidl.cuda import is_available
from minidl.data.collate import fetch
from minidl.errors import UsageError
from minidl.nested import mapped
from minidl.random import Generator, default_generator, derive
from minidl.tensor import Tensor


class DataLoader:
    """Batches of a data set as tensors, as often as one iterates over it.

    Args:
        dataset: anything with a length and items; see ``minidl.data.Dataset`` for augmentation and for whole batches.
        batch_size: samples in a batch; the last one may be smaller, or is left out with ``drop_last``.
        shuffle: a new order each epoch, drawn from ``seed`` and the epoch's number.
        sampler: an iterable of indices in place of all of them in order.
        batch_sampler: an iterable of lists of indices, in place of batch_size, shuffle, sampler and drop_last.
        num_workers: processes that make batches ahead of time, 0 for none. They change nothing in the result: order and
            augmentation depend on the seed, the epoch and the index of a sample alone, and so does whatever a data set draws
            from minidl's default generator.
        collate_fn: makes a batch from a list of samples, in place of ``default_collate``; what it returns comes out as it is.
        pin_memory: put batches into pinned memory, from which ``to("cuda", non_blocking=True)`` copies without waiting. Where
            there is no GPU it does nothing. (CuPy copies what is not pinned through pinned memory, which takes as long.)
        generator: draws the seed if there is none; by default minidl's own, so ``minidl.manual_seed`` is enough.
        prefetch_factor: batches under way in each worker.
        on_error: "raise", or "skip" to leave out samples that raise DataError, such as pictures that are damaged; ``skipped``
            then has what is wrong with each, by index.
        persistent_workers: keep the workers for the next epoch, which saves their start; but then they don't see what is
            changed in the data set meanwhile.

    Epochs count from 0, one for each iteration; ``set_epoch`` chooses the next. A sampler that has a ``set_epoch`` is told too.
    ``state_dict()`` says how far the latest iteration is, and a loader that loads it goes on from there.

    Raises UsageError for options that make no sense. An error in a worker is raised with its type, and its traceback in the
    worker as its cause; a worker that dies is a DataError.

    >>> import minidl
    >>> from minidl.data import TensorDataset
    >>> loader = DataLoader(TensorDataset(minidl.arange(5)), batch_size=2, shuffle=True, seed=0)
    >>> [batch.tolist() for (batch,) in loader]
    [[4, 1], [3, 2], [0]]
    >>> loader.set_epoch(0)
    >>> [batch.tolist() for (batch,) in loader]
    [[4, 1], [3, 2], [0]]
    """

    def __init__(self, dataset, batch_size: int = 1, shuffle: bool = False, sampler: Iterable | None = None,
                 batch_sampler: Iterable | None = None, num_workers: int = 0, collate_fn: Callable | None = None,
                 pin_memory: bool = False, drop_last: bool = False, generator: Generator | None = None, *,
                 seed: int | None = None, prefetch_factor: int = 2, persistent_workers: bool = False, on_error: str = "raise"):
        if batch_sampler is not None and (batch_size != 1 or shuffle or sampler is not None or drop_last):
            raise UsageError("batch_sampler takes the place of batch_size, shuffle, sampler and drop_last")
        if sampler is not None and shuffle:
            raise UsageError("choose one of sampler and shuffle")
        if seed is not None and generator is not None:
            raise UsageError("choose one of seed and generator")
        if on_error not in ("raise", "skip"):
            raise UsageError(f"on_error must be 'raise' or 'skip', got {on_error!r}")
        self.on_error, self.skipped = on_error, {}
        self.dataset, self.shuffle, self.sampler, self.batch_sampler = dataset, shuffle, sampler, batch_sampler
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.num_workers = _at_least(0, "num_workers", num_workers)
        self.prefetch_factor = _at_least(1, "prefetch_factor", prefetch_factor)
        self.collate_fn, self.drop_last, self.persistent_workers = collate_fn, drop_last, persistent_workers
        self.pin_memory = pin_memory
        self.seed = int((generator or default_generator).integers(2**63 - 1)) if seed is None else seed
        self.set_epoch(0)
        self._idle = None  # persistent workers between two epochs

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        if self.batch_sampler is not None:
            return len(self.batch_sampler)
        count = len(self.dataset if self.sampler is None else self.sampler)
        return count // self.batch_size if self.drop_last else -(-count // self.batch_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the number of the next epoch, which starts with its first batch."""
        self.epoch, self._start, self._pass = _at_least(0, "epoch", epoch), 0, None

    def state_dict(self) -> dict[str, int]:
        """Where the data stand, fit for JSON: seed, epoch, and how many of its batches were handed out.

        >>> loader = DataLoader(range(6), batch_size=2, shuffle=True, seed=1)
        >>> batches = iter(loader)
        >>> _ = next(batches)
        >>> resumed = DataLoader(range(6), batch_size=2, shuffle=True)
        >>> resumed.load_state_dict(loader.state_dict())
        >>> [b.tolist() for b in resumed] == [b.tolist() for b in batches]
        True
        """
        epoch, position = (self.epoch, self._start) if self._pass is None else self._pass
        return {"seed": self.seed, "epoch": epoch, "position": position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration begin where the state was taken. A sampler's own state is not part of it."""
        self.set_epoch(state["epoch"])
        self.seed, self._start = operator.index(state["seed"]), _at_least(0, "position", state["position"])

    def __iter__(self) -> Iterator:
        now = self._pass = [self.epoch, self._start]
        self.epoch, self._start = self.epoch + 1, 0
        return self._batches(now)

    def _batches(self, now: list[int]) -> Iterator:
        """The batches of one epoch from a position on; ``now`` is (epoch, position) and moves on with each batch."""
        epoch, start = now
        pinned = self.pin_memory and is_available()
        indices = itertools.islice(self._indices(epoch), start, None)
        for batch, skipped in self._here(indices, epoch) if self.num_workers == 0 else self._in_workers(indices, epoch):
            now[1] += 1
            self.skipped.update(skipped)
            if batch is not None:
                yield mapped(Tensor.pin_memory, batch, Tensor) if pinned else batch
        if self._pass is now:
            self._pass = None

    def _indices(self, epoch: int) -> Iterator[np.ndarray]:
        """The indices of each batch of an epoch."""
        for source in (self.sampler, self.batch_sampler):
            if hasattr(source, "set_epoch"):
                source.set_epoch(epoch)
        if self.batch_sampler is not None:
            return (np.asarray(indices, np.int64) for indices in self.batch_sampler)
        if self.sampler is not None:
            order = np.fromiter(self.sampler, np.int64)
        elif self.shuffle:
            order = derive(self.seed, epoch).permutation(len(self.dataset))
        else:
            order = np.arange(len(self.dataset))
        stop = len(order) // self.batch_size * self.batch_size if self.drop_last else len(order)
        return (order[i : i + self.batch_size] for i in range(0, stop, self.batch_size))

    def _here(self, indices: Iterator[np.ndarray], epoch: int) -> Iterator:
        skip = self.on_error == "skip"
        return (fetch(self.dataset, self.collate_fn, skip, chosen, self.seed, epoch) for chosen in indices)

    def _in_workers(self, indices: Iterator[np.ndarray], epoch: int) -> Iterator:
        from minidl.data.workers import Workers  # here, because it loads multiprocessing

        workers, self._idle = self._idle, None
        skip = self.on_error == "skip"
        workers = workers or Workers(self.dataset, self.collate_fn, skip, self.num_workers, self.prefetch_factor)
        try:
            yield from workers.run(indices, self.seed, epoch)
        finally:  # also when the iterator is dropped
            if self.persistent_workers and self._idle is None and not workers.closed:
                self._idle = workers
            else:
                workers.close()


def _at_least(low: int, name: str, value: int) -> int:
    try:
        if not isinstance(value, bool) and operator.index(value) >= low:
            return operator.index(value)
    except TypeError:
        pass
    raise UsageError(f"{name} must be an int of at least {low}, got {value!r}")
