"""From indices to a batch: what the loader does for each batch, in this process or in a worker."""

import contextlib
from collections.abc import Callable, Mapping

import numpy as np

from minidl.errors import DataError, DtypeError, ShapeError
from minidl.kernels import namespace
from minidl.nested import mapped
from minidl.random import derive, seeded
from minidl.tensor import Tensor


def default_collate(samples: list):
    """One batch from a list of samples, which all look alike.

    Arrays, tensors and NumPy scalars are stacked and keep their dtype; Python ints become int64, floats float64, bools bool,
    and mixtures the dtype that holds them all; strings stay a list; tuples, lists and dicts go item by item. Raises ShapeError
    for samples of different shapes, DtypeError for anything else.

    >>> images, labels = default_collate([(np.zeros(2), 3), (np.ones(2), 5)])
    >>> images.shape, labels
    ((2, 2), tensor([3, 5]))
    """
    first = samples[0]
    if isinstance(first, Mapping):
        return {key: default_collate([sample[key] for sample in samples]) for key in first}
    if isinstance(first, (tuple, list)):
        if len({len(sample) for sample in samples}) > 1:
            raise ShapeError(f"samples of one batch must have as many items each, got {[len(sample) for sample in samples]}")
        columns = [default_collate(list(column)) for column in zip(*samples, strict=True)]
        return type(first)(*columns) if hasattr(first, "_fields") else type(first)(columns)
    if isinstance(first, (str, bytes)):
        return samples
    if isinstance(first, (Tensor, np.ndarray, np.generic, bool, int, float)):
        return Tensor(_stack([sample.array if isinstance(sample, Tensor) else np.asarray(sample) for sample in samples]))
    raise DtypeError(f"a sample holds a {type(first).__name__}, which no tensor can hold: make it an array in the data set, "
                     "or pass collate_fn")


def _stack(arrays: list):
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ShapeError(f"samples of one batch must have one shape, got {sorted(shapes)}: crop or resize them, or pass "
                         "collate_fn")
    batch = namespace(arrays[0]).stack(arrays)
    if batch.dtype.kind not in "biuf":
        raise DtypeError(f"samples hold arrays of dtype {batch.dtype}, which no tensor can have")
    return batch


def fetch(dataset, collate_fn: Callable | None, skip: bool, indices: np.ndarray, seed: int, epoch: int) -> tuple:
    """One batch: from the data set's own ``batch`` if it has one, else collated from samples; and what was left out of it.

    An error on the way has a note that says which samples were read. With ``skip``, samples that raise DataError are left out:
    they come, by index, with what is wrong with them; a batch of which nothing is left is None.
    """
    if collate_fn is None and hasattr(dataset, "batch"):
        with _reading(dataset, indices):
            return tensors(dataset.batch(indices, seed, epoch)), {}
    samples, skipped = [], {}
    for index in indices.tolist():
        try:
            with _reading(dataset, index):
                samples.append(_sample(dataset, index, seed, epoch))
        except DataError as error:
            if not skip:
                raise
            skipped[index] = str(error)
    return (collate_fn or default_collate)(samples) if samples else None, skipped


def _sample(dataset, index: int, seed: int, epoch: int):
    """A sample as training sees it; without a ``sample`` of its own, one whose random numbers are minidl's default ones."""
    if hasattr(dataset, "sample"):
        return dataset.sample(index, derive(seed, epoch, index))
    with seeded(seed, epoch, index):
        return dataset[index]


@contextlib.contextmanager
def _reading(dataset, which: int | np.ndarray):
    """Errors get a note that says what was read; it is written only then, since it costs more than a batch from memory."""
    try:
        yield
    except Exception as error:
        what = f"sample {which}" if isinstance(which, int) else f"samples {np.array2string(which, threshold=16, separator=', ')}"
        error.add_note(f"while reading {what} of {type(dataset).__name__}")
        raise


def tensors(batch):
    """Arrays as tensors, inside tuples, lists and dicts."""
    return mapped(Tensor, batch, np.ndarray)


def arrays(batch):
    """Tensors as arrays of NumPy, wherever they are, inside tuples, lists and dicts.

    >>> arrays((Tensor(np.ones(2)), "a"))
    (array([1., 1.]), 'a')
    """
    return mapped(lambda tensor: tensor.detach().cpu().numpy(), batch, Tensor)
