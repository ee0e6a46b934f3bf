"""Data sets of the worker tests: at the top of a module, where worker processes find them."""

import os
import signal
import time

import numpy as np

import minidl
from minidl.data import Dataset


class Noisy(Dataset):
    """Sample i is i plus noise of its own."""

    def __init__(self, length=23):
        self.length = length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return np.full(3, index, np.float64), index

    def sample(self, index, generator):
        values, label = self[index]
        return values + generator.uniform(high=0.5, size=3), label


class PickyError(Exception):
    """Does not survive pickling: it wants two arguments and keeps one."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


def unpicklable():
    error = ValueError("with a lock")
    error.lock = (item for item in ())  # generators cannot be pickled
    return error


ERRORS = {"key": lambda: KeyError("image", 5), "picky": lambda: PickyError("this", "that"), "unpicklable": unpicklable,
          "stop": lambda: StopIteration("early")}


class Failing(Noisy):
    """Has one bad sample."""

    def __init__(self, kind, bad=5):
        super().__init__()
        self.kind, self.bad = kind, bad

    def __getitem__(self, index):
        if index == self.bad:
            raise ERRORS[self.kind]()
        return super().__getitem__(index)


class Fatal(Noisy):
    """One sample ends its worker: by a signal, or as a library does that calls exit."""

    def __init__(self, how):
        super().__init__()
        self.how = how

    def __getitem__(self, index):
        if index == 7:
            os.kill(os.getpid(), signal.SIGKILL) if self.how == "kill" else os._exit(3)
        return super().__getitem__(index)


class Whole(Noisy):
    """Hands out whole batches; one of them fails."""

    def batch(self, indices, seed, epoch):
        if 7 in indices:
            raise OSError(5, "the disk is gone")
        return np.asarray(indices)


class Slow(Noisy):
    """Says in a file which processes make its samples, and takes its time."""

    def __init__(self, folder, seconds, length=23):
        super().__init__(length)
        self.folder, self.seconds = folder, seconds

    def __getitem__(self, index):
        open(os.path.join(self.folder, str(os.getpid())), "w").close()
        time.sleep(self.seconds)
        return super().__getitem__(index)


class Unopenable:
    """Pickles, but what comes out of the pickle fails to open."""

    def __len__(self):
        return 4

    def __reduce__(self):
        return open_archive, ()


def open_archive():
    raise FileNotFoundError("archive.tar")


def second_halves(samples):
    """A collate_fn: lists of labels."""
    return [label for _, label in samples]


def unsendable(samples):
    """A collate_fn whose batch cannot leave its process."""
    return lambda: samples


class Drawing(Dataset):
    """Draws from the default generator, as a data set written without a thought does."""

    def __len__(self):
        return 7

    def __getitem__(self, index):
        return minidl.rand(2) + index
