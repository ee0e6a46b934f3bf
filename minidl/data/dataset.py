"""Data sets: anything with a length and items. Those that live in arrays hand out whole batches at once."""

from collections.abc import Callable, Sequence

import numpy as np

from minidl.errors import ShapeError
from minidl.random import Generator, derive
from minidl.tensor import Tensor


class Dataset:
    """A collection of samples: subclasses write ``__len__`` and ``__getitem__``.

    A data set with random augmentation writes ``sample(index, generator)`` instead of drawing from anywhere else; the loader
    hands it a generator that depends on seed, epoch and index alone, so the number of workers changes nothing.
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def __getitem__(self, index: int):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")

    def sample(self, index: int, generator: Generator):
        """The sample at ``index`` as training sees it in one epoch."""
        return self[index]


class TensorDataset(Dataset):
    """Tensors or arrays of equal length; sample i is the tuple of their i-th items.

    >>> import minidl
    >>> len(TensorDataset(minidl.zeros(5, 2), minidl.arange(5)))
    5
    """

    def __init__(self, *tensors):
        self.arrays = [t.array if isinstance(t, Tensor) else np.asarray(t) for t in tensors]
        if len({len(a) for a in self.arrays}) != 1:
            raise ShapeError(f"TensorDataset needs tensors of equal length, got {[len(a) for a in self.arrays]}")

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return tuple(a[index] for a in self.arrays)

    def batch(self, indices, seed: int, epoch: int) -> tuple:
        """Many samples at once."""
        return tuple(a[indices] for a in self.arrays)


class ImageArrays(Dataset):
    """Images (N, C, H, W) in memory with their labels (N,), and a transform (see ``minidl.data.transforms``).

    Samples are (image, label), image float32. In evaluation, as through plain indexing, random transforms are left out.
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable | None = None):
        if len(images) != len(labels) or images.ndim != 4:
            raise ShapeError(f"expected images (N, C, H, W) and labels (N,), got {images.shape} and {labels.shape}")
        self.images, self.labels, self.transform = images, labels.astype(np.int64), transform
        self._drawn: tuple = (None, None)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        image = self.images[index][None]
        image = image if self.transform is None else self.transform(image, None)
        return np.asarray(image[0], np.float32), self.labels[index]

    def batch(self, indices, seed: int, epoch: int) -> tuple:
        """Images and labels of many samples, augmented as (seed, epoch, index) say."""
        images = self.images[indices]
        if self.transform is not None:
            numbers = getattr(self.transform, "numbers", 0)
            images = self.transform(images, self._uniforms(seed, epoch, numbers)[indices] if numbers else None)
        return images.astype(np.float32, copy=False), self.labels[indices]

    def _uniforms(self, seed, epoch, numbers) -> np.ndarray:
        """The random numbers of all samples for one epoch, (N, numbers)."""
        key = seed, epoch, numbers
        if self._drawn[0] != key:
            # Not derive(seed, epoch), which orders the epoch: every batch would be sorted by its first random number.
            self._drawn = key, derive(seed, epoch, 0).uniform(size=(len(self), numbers), dtype=np.float32)
        return self._drawn[1]


class Subset(Dataset):
    """Some samples of another data set, by index."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)
        if hasattr(dataset, "batch"):
            self.batch = lambda indices, seed, epoch: dataset.batch(self.indices[indices], seed, epoch)

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[int(self.indices[index])]

    def sample(self, index, generator):
        return self.dataset.sample(int(self.indices[index]), generator)

    def __reduce__(self):
        return Subset, (self.dataset, self.indices)


def random_split(dataset: Dataset, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Disjoint random subsets of the lengths given, or of fractions that add up to 1.

    >>> [len(part) for part in random_split(TensorDataset(np.zeros(10)), [0.7, 0.3], Generator(0))]
    [7, 3]
    """
    if abs(sum(lengths) - 1) < 1e-9 and all(isinstance(n, float) for n in lengths):
        ends = [round(len(dataset) * sum(lengths[: i + 1])) for i in range(len(lengths))]
        lengths = [end - start for start, end in zip([0, *ends], ends, strict=False)]
    if sum(lengths) != len(dataset):
        raise ShapeError(f"the lengths {list(lengths)} must add up to {len(dataset)}, the length of the data set")
    order = (generator or Generator()).permutation(len(dataset))
    starts = np.cumsum([0, *lengths])
    return [Subset(dataset, order[a:b]) for a, b in zip(starts, starts[1:], strict=False)]
