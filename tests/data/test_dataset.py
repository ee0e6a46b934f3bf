"""Data sets in memory, their parts and sums."""

import pickle

import numpy as np
import pytest

import minidl
from minidl.data import ConcatDataset, DataLoader, Dataset, ImageArrays, Subset, TensorDataset, random_split
from minidl.data.transforms import Compose, RandomHorizontalFlip, ToTensor
from minidl.errors import DtypeError, ShapeError
from minidl.random import Generator


def images(n=11):
    return np.random.default_rng(0).integers(0, 256, (n, 3, 5, 4), dtype=np.uint8)


def augmented(n=11):
    return ImageArrays(images(n), np.arange(n), Compose([RandomHorizontalFlip(), ToTensor()]))


def test_dataset_says_what_is_missing():
    class Empty(Dataset):
        pass

    with pytest.raises(NotImplementedError, match="Empty has no __len__"):
        len(Empty())
    with pytest.raises(NotImplementedError, match="Empty has no __getitem__"):
        Empty()[0]


def test_tensor_dataset():
    x, y = minidl.rand(5, 2), np.arange(5, dtype=np.uint8)
    dataset = TensorDataset(x, y)
    assert len(dataset) == 5
    item, label = dataset[3]
    assert item.tolist() == x[3].tolist() and label.item() == 3
    many, labels = dataset.batch(np.array([4, 1, 1]), 0, 0)
    assert many.tolist() == x.numpy()[[4, 1, 1]].tolist() and labels.tolist() == [4, 1, 1] and labels.dtype == np.uint8


@pytest.mark.parametrize("tensors", [(np.zeros(3), np.zeros(4)), (), (np.float32(1),), (np.zeros(()), np.zeros(2))])
def test_tensor_dataset_of_unequal_lengths(tensors):
    with pytest.raises(ShapeError, match="equal length"):
        TensorDataset(*tensors)


def test_image_arrays():
    dataset = ImageArrays(images(), np.arange(11, dtype=np.uint8), ToTensor())
    image, label = dataset[4]
    assert image.dtype == np.float32 and label.dtype == np.int64 and label == 4
    assert np.array_equal(image, images()[4] / np.float32(255))
    everything, labels = dataset.arrays()
    assert np.array_equal(everything, images() / np.float32(255)) and np.array_equal(labels, np.arange(11))
    batch, labels = dataset.batch(np.array([3, 0]), 0, 0)
    assert np.array_equal(batch, everything[[3, 0]]) and labels.tolist() == [3, 0]
    assert np.array_equal(dataset.images, images())  # nothing was written into


def test_image_arrays_without_transform_are_float32():
    dataset = ImageArrays(images(), np.arange(11))
    assert dataset[0][0].dtype == np.float32 and np.array_equal(dataset[0][0], images()[0])


@pytest.mark.parametrize(("shape", "labels"), [((4, 5, 6), 4), ((4, 1, 5, 6), 3)])
def test_image_arrays_that_do_not_fit(shape, labels):
    with pytest.raises(ShapeError, match=r"images \(N, C, H, W\) and labels \(N,\)"):
        ImageArrays(np.zeros(shape), np.zeros(labels))


def test_plain_indexing_does_not_augment():
    dataset = augmented()
    assert all(np.array_equal(dataset[i][0], dataset.images[i] / np.float32(255)) for i in range(11))


def test_augmentation_depends_on_seed_epoch_and_index_alone():
    dataset = augmented(200)
    everything = np.arange(200)
    first = dataset.batch(everything, 1, 2)[0]
    chosen = np.array([150, 3, 3])
    assert np.array_equal(dataset.batch(chosen, 1, 2)[0], first[chosen])  # whatever else is in the batch
    for seed, epoch in ((0, 2), (1, 3)):
        changed = (dataset.batch(everything, seed, epoch)[0] != first).any((1, 2, 3))
        assert 60 < changed.sum() < 140  # a flip that is drawn anew changes half of them: 5.7 standard deviations
    assert np.array_equal(augmented(200).batch(everything, 1, 2)[0], first)


def test_augmentation_with_a_collate_fn_too():
    """A collate_fn takes samples instead of batches, which must not be the ones of evaluation."""
    dataset = augmented(200)
    (batch,) = DataLoader(dataset, batch_size=200, seed=0, collate_fn=lambda samples: np.stack([image for image, _ in samples]))
    assert 60 < (batch != dataset.arrays()[0]).any((1, 2, 3)).sum() < 140


@pytest.mark.parametrize("base", [TensorDataset(np.arange(10, 21)), augmented()], ids=["tensors", "images"])
def test_subset(base):
    subset = Subset(base, [7, 2, 9])
    assert len(subset) == 3
    for i, j in enumerate([7, 2, 9]):
        assert all(np.array_equal(a, b) for a, b in zip(subset[i], base[j], strict=True))
    ours, theirs = subset.batch(np.array([2, 0]), 3, 4), base.batch(np.array([9, 7]), 3, 4)
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))
    copy = pickle.loads(pickle.dumps(subset))  # as worker processes get it
    assert np.array_equal(copy.batch(np.array([1]), 0, 0)[0], subset.batch(np.array([1]), 0, 0)[0])


@pytest.mark.parametrize("wrong", [np.arange(11) < 4, [True, False], [0.0, 1.5]])
def test_subset_by_what_are_no_indices(wrong):
    with pytest.raises(DtypeError, match="takes indices, got (bool|float64)"):
        Subset(augmented(), wrong)
    assert len(Subset(augmented(), [])) == 0


def test_subset_of_a_subset():
    subset = Subset(Subset(augmented(), range(1, 9)), [6, 0])
    for ours, theirs in zip(subset.batch(np.array([1, 0]), 2, 3), augmented().batch(np.array([1, 7]), 2, 3), strict=True):
        assert np.array_equal(ours, theirs)


def test_subset_has_what_its_data_set_has():
    class Plain(Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            return index

    class Random(Plain):
        def sample(self, index, generator):
            return index, generator.integers(1000)

    assert not hasattr(Subset(Plain(), [0]), "sample") and not hasattr(Subset(Plain(), [0]), "batch")
    assert not hasattr(Subset(Random(), [0]), "batch")
    assert Subset(Random(), [2]).sample(0, Generator(5)) == (2, Generator(5).integers(1000))
    assert [batch.tolist() for batch in DataLoader(Subset(Plain(), [2, 0]))] == [[2], [0]]


def test_concat():
    parts = [TensorDataset(np.arange(3)), TensorDataset(np.arange(0)), TensorDataset(np.arange(10, 14))]
    both = ConcatDataset(parts)
    assert [int(both[i][0].item()) for i in range(len(both))] == [0, 1, 2, 10, 11, 12, 13]
    assert both[-1][0].item() == 13 and both[-7][0].item() == 0
    for index in (7, -8):
        with pytest.raises(IndexError, match="of a data set of 7"):
            both[index]
    assert len(ConcatDataset([])) == 0
    (values,), = DataLoader(both, batch_size=7)
    assert values.tolist() == [0, 1, 2, 10, 11, 12, 13]


def test_concat_augments_where_its_parts_do():
    dataset = augmented(200)
    both = ConcatDataset([TensorDataset(np.zeros((1, 3, 5, 4), np.float32), np.zeros(1, np.int64)), dataset])
    ((batch, _),) = DataLoader(Subset(both, range(1, 201)), batch_size=200, seed=0)
    assert 60 < (batch.array != dataset.arrays()[0]).any((1, 2, 3)).sum() < 140


@pytest.mark.parametrize("lengths", [[3, 8], [0, 11], [0.5, 0.5], [0.29, 0.71], [1.0]])
def test_random_split(lengths):
    parts = random_split(TensorDataset(np.arange(11)), lengths, Generator(0))
    indices = np.concatenate([part.indices for part in parts])
    assert sorted(indices) == list(range(11)) and not np.array_equal(indices, np.arange(11))
    if isinstance(lengths[0], int):
        assert [len(part) for part in parts] == lengths


@pytest.mark.parametrize("lengths", [[3, 7], [0.5, 0.4], [12, -1], [1.5, -0.5], []])
def test_random_split_of_wrong_lengths(lengths):
    with pytest.raises(ShapeError, match="add up to"):
        random_split(TensorDataset(np.arange(11)), lengths)


def test_random_split_is_seeded_by_manual_seed():
    def split():
        minidl.manual_seed(3)
        return [part.indices.tolist() for part in random_split(TensorDataset(np.arange(11)), [5, 6])]

    assert split() == split()
