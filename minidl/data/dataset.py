"""Data sets: anything with a length and items. Two more methods are optional, and the loader uses them where they stand:

- ``sample(index, generator)``: the sample as training sees it, for random augmentation. Whatever is random comes from the
  generator, which depends on seed, epoch and index alone: so the number of workers changes nothing, and no two samples or
  epochs are augmented alike.
- ``batch(indices, seed, epoch)``: many samples at once, for data in memory, where one call by array is far faster than many.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minidl.data.transforms import Compose
from minidl.errors import DtypeError, ShapeError
from minidl.random import Generator, default_generator, derive
from minidl.tensor import Tensor, astensor


class Dataset:
    """A collection of samples: subclasses write ``__len__`` and ``__getitem__``; see the module for what else they may have.

    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 4
    ...     def __getitem__(self, index):
    ...         return index, index**2
    >>> from minidl.data import DataLoader
    >>> [squares.tolist() for _, squares in DataLoader(Squares(), batch_size=2)]
    [[0, 1], [4, 9]]
    """

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} has no __len__")

    def __getitem__(self, index: int):
        raise NotImplementedError(f"{type(self).__name__} has no __getitem__")


class TensorDataset(Dataset):
    """Tensors or arrays of equal length; sample i is the tuple of their i-th items. Raises ShapeError for unequal lengths.

    >>> import minidl
    >>> TensorDataset(minidl.zeros(5, 2), minidl.arange(5))[3]
    (tensor([0., 0.]), tensor(3))
    """

    def __init__(self, *tensors):
        self.tensors = tuple(map(astensor, tensors))
        lengths = {t.shape[:1] for t in self.tensors}
        if len(lengths) != 1 or lengths == {()}:
            raise ShapeError(f"TensorDataset needs tensors of equal length, got shapes {[t.shape for t in self.tensors]}")

    def __len__(self):
        return len(self.tensors[0])

    def __getitem__(self, index):
        return tuple(t[index] for t in self.tensors)

    def batch(self, indices: np.ndarray, seed: int, epoch: int) -> tuple:
        """Many samples at once."""
        return tuple(Tensor(t.array[indices]) for t in self.tensors)


class ImageArrays(Dataset):
    """Images (N, C, H, W) in memory with their labels (N,), and a transform (see ``minidl.data.transforms``).

    Samples are (image, label), image float32 (C, H, W), label int64. Random transforms are for training, through a loader:
    plain indexing and ``arrays`` leave them out.

    >>> from minidl.data.transforms import ToTensor
    >>> images = np.full((3, 1, 2, 2), 51, np.uint8)
    >>> ImageArrays(images, np.array([0, 1, 2]), ToTensor())[1]
    (array([[[0.2, 0.2],
            [0.2, 0.2]]], dtype=float32), np.int64(1))
    """

    def __init__(self, images: np.ndarray, labels: np.ndarray, transform: Callable | None = None):
        if images.ndim != 4 or labels.shape != images.shape[:1]:
            raise ShapeError(f"expected images (N, C, H, W) and labels (N,), got {images.shape} and {labels.shape}")
        self.images, self.labels = images, labels.astype(np.int64)
        self.transform = Compose([] if transform is None else [transform])
        self._drawn: tuple = (None, None)

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index: int) -> tuple:
        return self._transformed(self.images[index][None])[0], self.labels[index]

    def arrays(self) -> tuple:
        """All images as evaluation sees them, (N, C, H, W) float32, and all labels."""
        return self._transformed(self.images), self.labels

    def sample(self, index: int, generator: Generator) -> tuple:
        """One image, augmented, and its label."""
        uniforms = generator.uniform(size=(1, self.transform.numbers), dtype=np.float32)
        return self._transformed(self.images[index][None], uniforms)[0], self.labels[index]

    def batch(self, indices: np.ndarray, seed: int, epoch: int) -> tuple:
        """Images and labels of many samples, augmented as (seed, epoch, index) say."""
        uniforms = self._uniforms(seed, epoch)[indices] if self.transform.numbers else None
        return self._transformed(self.images[indices], uniforms), self.labels[indices]

    def _transformed(self, images, uniforms=None) -> np.ndarray:
        return self.transform(images, uniforms).astype(np.float32, copy=False)

    def _uniforms(self, seed: int, epoch: int) -> np.ndarray:
        """The random numbers of all samples for one epoch, (N, numbers)."""
        if self._drawn[0] != (seed, epoch):
            # Not derive(seed, epoch), which orders the epoch: every batch would be sorted by its first random number.
            generator = derive(seed, epoch, 0)
            self._drawn = (seed, epoch), generator.uniform(size=(len(self), self.transform.numbers), dtype=np.float32)
        return self._drawn[1]


class Subset(Dataset):
    """Some samples of another data set, by index. Raises DtypeError for a mask; ``np.flatnonzero(mask)`` are its indices.

    >>> Subset(TensorDataset(np.arange(10, 20)), [7, 2])[0]
    (tensor(17),)
    """

    def __init__(self, dataset: Dataset, indices: Sequence[int]):
        indices = np.asarray(indices)
        if indices.size and indices.dtype.kind not in "iu":
            raise DtypeError(f"Subset takes indices, got {indices.dtype}; those of a mask are np.flatnonzero(mask)")
        self.dataset, self.indices = dataset, indices.astype(np.int64)

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[int(self.indices[index])]

    # A subset has the optional methods that its data set has: without one, looking it up raises AttributeError here too.

    @property
    def sample(self) -> Callable:
        sample = self.dataset.sample
        return lambda index, generator: sample(int(self.indices[index]), generator)

    @property
    def batch(self) -> Callable:
        batch = self.dataset.batch
        return lambda indices, seed, epoch: batch(self.indices[indices], seed, epoch)


class ConcatDataset(Dataset):
    """Data sets one after another.

    >>> both = ConcatDataset([TensorDataset(np.arange(3)), TensorDataset(np.arange(10, 14))])
    >>> len(both), both[3]
    (7, (tensor(10),))
    """

    def __init__(self, datasets: Sequence[Dataset]):
        self.datasets = list(datasets)
        self.ends = np.cumsum([len(dataset) for dataset in self.datasets], dtype=np.int64)

    def __len__(self):
        return int(self.ends[-1]) if self.datasets else 0

    def __getitem__(self, index):
        dataset, index = self._find(index)
        return dataset[index]

    def sample(self, index, generator):
        """The sample as training sees it, where its data set augments."""
        dataset, index = self._find(index)
        return dataset.sample(index, generator) if hasattr(dataset, "sample") else dataset[index]

    def _find(self, index: int) -> tuple[Dataset, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of a data set of {len(self)}")
        index %= len(self)
        part = int(np.searchsorted(self.ends, index, side="right"))
        return self.datasets[part], index - int(self.ends[part]) + len(self.datasets[part])


def random_split(dataset: Dataset, lengths: Sequence[float], generator: Generator | None = None) -> list[Subset]:
    """Disjoint random subsets of the lengths given, or of fractions that add up to 1.

    Fractions are rounded down, and the samples left over go one each to the first subsets. The default generator is minidl's.
    Raises ShapeError for lengths that don't add up.

    >>> [len(part) for part in random_split(TensorDataset(np.zeros(10)), [0.75, 0.25], Generator(0))]
    [8, 2]
    """
    if not all(isinstance(n, (int, np.integer)) for n in lengths):
        if abs(sum(lengths) - 1) > 1e-9 or min(lengths) < 0:
            raise ShapeError(f"expected whole numbers, or fractions that add up to 1, got {list(lengths)}")
        lengths = [int(len(dataset) * fraction) for fraction in lengths]
        for i in range(len(dataset) - sum(lengths)):
            lengths[i % len(lengths)] += 1
    if sum(lengths) != len(dataset) or min(lengths, default=0) < 0:
        raise ShapeError(f"the lengths {list(lengths)} must add up to {len(dataset)}, the length of the data set")
    order = (generator or default_generator).permutation(len(dataset))
    starts = np.cumsum([0, *lengths])
    return [Subset(dataset, order[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]
