"""Collating, splitting and loading as PyTorch does, apart from what is random."""

import numpy as np
import pytest

import minidl
from minidl import data

torch = pytest.importorskip("torch")
peer = pytest.importorskip("torch.utils.data")


def same(ours, theirs):
    if isinstance(theirs, torch.Tensor):
        assert str(theirs.dtype) == f"torch.{ours.dtype}" and ours.tolist() == theirs.tolist()
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, (list, tuple)):
        assert len(ours) == len(theirs)
        for a, b in zip(ours, theirs, strict=True):
            same(a, b)
    else:
        assert ours == theirs


@pytest.mark.parametrize("samples", [
    [1, 2, 3], [0.5, 2.0], [True, False], ["a", "bc"], [(np.zeros((2, 3), np.float32), 4), (np.ones((2, 3), np.float32), 5)],
    [{"x": np.uint8(3), "y": [1.5, "z"]}, {"x": np.uint8(4), "y": [2.5, "w"]}], [[1, (2, 3)], [4, (5, 6)]],
    [np.float64(1), np.float64(2)], [np.arange(3), np.arange(3)]])
def test_default_collate(samples):
    same(data.default_collate(samples), peer.default_collate(samples))


@pytest.mark.parametrize("n", [10, 11, 97])
@pytest.mark.parametrize("lengths", [[0.7, 0.3], [0.29, 0.71], [1 / 3, 1 / 3, 1 / 3], [0.15, 0.7, 0.15]])
def test_random_split_rounds_alike(n, lengths):
    ours = data.random_split(data.TensorDataset(np.arange(n)), lengths)
    theirs = peer.random_split(peer.TensorDataset(torch.arange(n)), lengths)
    assert [len(part) for part in ours] == [len(part) for part in theirs]


@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"batch_size": 3, "drop_last": True},
                                     {"batch_size": 2, "sampler": [6, 1, 1]}, {"batch_sampler": [[5], [0, 2, 4]]}])
def test_loader(options):
    x, y = np.random.default_rng(0).standard_normal((7, 2, 3)).astype(np.float32), np.arange(7)
    ours = data.DataLoader(data.TensorDataset(minidl.from_numpy(x), minidl.from_numpy(y)), **options)
    theirs = peer.DataLoader(peer.TensorDataset(torch.from_numpy(x), torch.from_numpy(y)), **options)
    assert len(ours) == len(theirs)
    same(list(ours), list(theirs))


def test_parts_and_sums():
    sets = [library.ConcatDataset([library.Subset(list(range(10)), [3, 1]), list(range(20, 23))]) for library in (data, peer)]
    assert [sets[0][i] for i in range(5)] == [sets[1][i] for i in range(5)] and len(sets[0]) == len(sets[1])
