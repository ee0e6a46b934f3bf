"""The loader without workers: order, epochs, samplers, state, and options that make no sense."""

import json

import numpy as np
import pytest

import minidl
from minidl.data import DataLoader, TensorDataset
from minidl.errors import ShapeError, UsageError
from minidl.random import Generator
from tests.data.sets import ERRORS, Failing, Noisy, Whole, second_halves


def numbers(n):
    return TensorDataset(np.arange(n))


def order(loader):
    return [batch.tolist() for (batch,) in loader]


@pytest.mark.parametrize(("n", "size", "drop_last", "sizes"), [
    (7, 3, False, [3, 3, 1]), (7, 3, True, [3, 3]), (6, 3, False, [3, 3]), (6, 3, True, [3, 3]), (2, 3, False, [2]),
    (2, 3, True, []), (0, 3, False, []), (7, np.int64(7), False, [7])])
def test_batches_in_order(n, size, drop_last, sizes):
    loader = DataLoader(numbers(n), size, drop_last=drop_last)
    batches = order(loader)
    assert [len(b) for b in batches] == sizes and len(loader) == len(sizes)
    assert sum(batches, []) == list(range(sum(sizes)))


def test_shuffle_is_a_new_order_each_epoch():
    loader = DataLoader(numbers(100), 10, shuffle=True, seed=0)
    first, second = order(loader), order(loader)
    assert first != second
    for batches in (first, second):
        assert sum(batches, []) != list(range(100)) and sorted(sum(batches, [])) == list(range(100))
    again = DataLoader(numbers(100), 10, shuffle=True, seed=0)
    assert [order(again), order(again)] == [first, second]
    assert order(DataLoader(numbers(100), 10, shuffle=True, seed=1)) != first
    again.set_epoch(1)
    assert order(again) == second


def test_every_order_is_possible():
    """600 epochs of 3 samples: each of 6 orders comes about 100 times (standard deviation 9.1)."""
    loader = DataLoader(numbers(3), 3, shuffle=True, seed=0)
    counts = {}
    for _ in range(600):
        (batch,) = order(loader)
        counts[tuple(batch)] = counts.get(tuple(batch), 0) + 1
    assert len(counts) == 6 and all(55 < count < 145 for count in counts.values())


def test_seed_comes_from_manual_seed_or_generator():
    def shuffled(**options):
        return order(DataLoader(numbers(50), 50, shuffle=True, **options))

    minidl.manual_seed(4)
    first, second = shuffled(), shuffled()
    assert first != second  # two loaders are independent
    minidl.manual_seed(4)
    assert [shuffled(), shuffled()] == [first, second]
    assert shuffled(generator=Generator(5)) == shuffled(generator=Generator(5)) != shuffled(generator=Generator(6))


def test_samples_get_generators_of_their_own():
    loader = DataLoader(Noisy(30), 7, seed=1)
    first, second = (np.concatenate([values.array for values, _ in loader]) for _ in range(2))
    for epoch in (first, second):
        assert np.array_equal(epoch.astype(int)[:, 0], np.arange(30))
    noise = np.concatenate([first % 1, second % 1])
    assert len(np.unique(noise)) == noise.size  # no two samples, and no two epochs, alike
    whole = DataLoader(Noisy(30), 11, shuffle=True, seed=1)
    values = np.concatenate([values.array for values, _ in whole])
    assert np.array_equal(values[values[:, 0].argsort()], first)  # neither order nor batch size matters


def test_sampler_and_batch_sampler():
    assert order(DataLoader(numbers(9), 2, sampler=[8, 3, 3])) == [[8, 3], [3]]
    assert len(DataLoader(numbers(9), 2, sampler=[8, 3, 3])) == 2
    assert order(DataLoader(numbers(9), 2, sampler=[8, 3, 3], drop_last=True)) == [[8, 3]]
    loader = DataLoader(numbers(9), batch_sampler=[[1], [7, 2, 5], []])
    assert order(loader) == [[1], [7, 2, 5], []] and len(loader) == 3


def test_samplers_are_told_the_epoch():
    class Rotated:
        epoch = 0

        def set_epoch(self, epoch):
            self.epoch = epoch

        def __len__(self):
            return 3

        def __iter__(self):
            return iter(np.roll(np.arange(3), self.epoch))

    loader = DataLoader(numbers(3), 3, sampler=Rotated())
    assert [order(loader) for _ in range(3)] == [[[0, 1, 2]], [[2, 0, 1]], [[1, 2, 0]]]


def test_infinite_batch_sampler():
    def forever():
        while True:
            yield [2, 0]

    batches = iter(DataLoader(numbers(3), batch_sampler=forever()))
    assert [next(batches)[0].tolist() for _ in range(3)] == [[2, 0]] * 3


def test_collate_fn_gets_samples_and_its_result_comes_out_as_it_is():
    loader = DataLoader(Noisy(5), 2, collate_fn=second_halves)
    assert list(loader) == [[0, 1], [2, 3], [4]]


def test_anything_with_length_and_items():
    assert [b.tolist() for b in DataLoader([10, 20, 30], 2)] == [[10, 20], [30]]
    images, labels = next(iter(DataLoader([(np.zeros((2, 3), np.float32), 1)] * 4, 4)))
    assert images.shape == (4, 2, 3) and images.dtype == np.float32 and labels.dtype == np.int64


@pytest.mark.parametrize("kind", ["key", "picky", "unpicklable"])
def test_an_error_says_which_sample(kind):
    loader = DataLoader(Failing(kind), 3)
    batches = iter(loader)
    next(batches)
    with pytest.raises(type(ERRORS[kind]())) as caught:
        next(batches)
    assert caught.value.__notes__ == ["while reading sample 5 of Failing"]


def test_an_error_in_a_whole_batch_says_which_samples():
    with pytest.raises(OSError, match="the disk is gone") as caught:
        list(DataLoader(Whole(), 4))
    assert caught.value.__notes__ == ["while reading samples [4, 5, 6, 7] of Whole"]


def test_samples_of_two_shapes():
    with pytest.raises(ShapeError, match="one shape"):
        list(DataLoader([np.zeros(2), np.zeros(3)], 2))


@pytest.mark.parametrize(("options", "message"), [
    ({"batch_size": 0}, "batch_size must be an int of at least 1, got 0"),
    ({"batch_size": -3}, "batch_size must be an int of at least 1"), ({"batch_size": 2.0}, "batch_size must be an int"),
    ({"batch_size": True}, "batch_size must be an int"), ({"batch_size": None}, "batch_size must be an int"),
    ({"num_workers": -1}, "num_workers must be an int of at least 0"),
    ({"prefetch_factor": 0}, "prefetch_factor must be an int of at least 1"),
    ({"sampler": [0], "shuffle": True}, "one of sampler and shuffle"),
    ({"seed": 0, "generator": Generator(0)}, "one of seed and generator"),
    *(({"batch_sampler": [[0]], **other}, "batch_sampler takes the place of")
      for other in ({"batch_size": 2}, {"shuffle": True}, {"sampler": [0]}, {"drop_last": True}))])
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        DataLoader(numbers(3), **options)


@pytest.mark.parametrize("epoch", [-1, 0.5, None])
def test_wrong_epoch(epoch):
    with pytest.raises(UsageError, match="epoch must be an int of at least 0"):
        DataLoader(numbers(3)).set_epoch(epoch)


# Going on where one stopped


@pytest.mark.parametrize("stop", range(9))
def test_state_continues_to_the_same_order(stop):
    """Whatever the batch after which a run stops: those that it saw and those of its successor are those of one run."""
    def loader(seed=None):
        return DataLoader(numbers(10), 3, shuffle=True, seed=seed)

    whole = loader(seed=3)
    expected = order(whole) + order(whole) + order(whole)  # 4 batches in each of 3 epochs
    first, seen = loader(seed=3), []
    while len(seen) < stop:
        for (batch,) in first:
            seen.append(batch.tolist())
            if len(seen) == stop:
                break
    state = json.loads(json.dumps(first.state_dict()))
    second = loader()
    second.load_state_dict(state)
    assert second.state_dict() == state
    while len(seen) < 12:
        seen += order(second)
    assert seen == expected


def test_state_counts_batches_handed_out():
    loader = DataLoader(numbers(4), 2, seed=7)
    assert loader.state_dict() == {"seed": 7, "epoch": 0, "position": 0}
    batches = iter(loader)
    next(batches)
    assert loader.state_dict() == {"seed": 7, "epoch": 0, "position": 1}
    next(batches)
    assert loader.state_dict() == {"seed": 7, "epoch": 0, "position": 2}
    assert next(batches, None) is None
    assert loader.state_dict() == {"seed": 7, "epoch": 1, "position": 0}


def test_an_epoch_left_early_is_not_resumed_by_itself():
    loader = DataLoader(numbers(6), 2, shuffle=True, seed=0)
    whole = DataLoader(numbers(6), 2, shuffle=True, seed=0)
    epochs = [order(whole) for _ in range(2)]
    assert next(iter(loader))[0].tolist() == epochs[0][0]
    assert order(loader) == epochs[1]


def test_two_iterations_at_once():
    loader = DataLoader(numbers(6), 2, shuffle=True, seed=0)
    expected = [order(loader), order(loader)]
    loader.set_epoch(0)
    pairs = list(zip(loader, loader, strict=True))
    assert [[pair[i][0].tolist() for pair in pairs] for i in range(2)] == expected


@pytest.mark.parametrize("state", [{"seed": 0, "epoch": -1, "position": 0}, {"seed": 0, "epoch": 0, "position": "3"}])
def test_wrong_state(state):
    with pytest.raises(UsageError, match="must be an int of at least 0"):
        DataLoader(numbers(3)).load_state_dict(state)
