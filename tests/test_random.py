"""The generator: the same numbers from the same state, other numbers from any other, and the distributions it claims."""

import json
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

import minidl
from minidl.kernels.portable.philox import philox
from minidl.random import Generator, derive

DRAWS = {
    "uniform": lambda g, n: g.uniform(size=n),
    "uniform32": lambda g, n: g.uniform(-1, 3, (n,), dtype=np.float32),
    "normal": lambda g, n: g.normal(size=n),
    "normal32": lambda g, n: g.normal(5, 2, n, dtype=np.float32),
    "integers": lambda g, n: g.integers(-3, 10**12, n),
    "permutation": lambda g, n: g.permutation(n),
}


def words_of(seed, stream, position, n):
    """The words of the stream from a position on, straight from the kernel."""
    split = [part for number in (seed, position, stream) for part in (number % 2**32, number // 2**32)]
    return philox(np.array(split[:2], np.uint32), np.array(split[2:], np.uint32), n).tolist()


def test_numbers_come_from_the_words_of_the_stream():
    seed, stream, position = 2**63 + 5, 2**40 + 3, 2**32 - 1
    g = Generator()
    g.set_state((seed, stream, position))
    words = words_of(seed, stream, position, 10)
    long = [high * 2**32 + low for high, low in zip(words[0::2], words[1::2], strict=True)]
    assert g.integers(-7, 1000, size=5).tolist() == [v % 1007 - 7 for v in long]
    assert g.get_state() == (seed, stream, position + 3)  # 10 words are 3 blocks
    following = words_of(seed, stream, position + 3, 3)
    assert g.uniform(size=3, dtype=np.float32).tolist() == [w // 2**8 / 2**24 for w in following]


@pytest.mark.parametrize("name", DRAWS)
def test_each_draw_steps_over_what_it_used(name):
    """One after another, draws of every size never repeat a block, and the next draw starts right behind."""
    draw = DRAWS[name]
    for n in (1, 2, 3, 4, 5, 17):
        g = Generator(3)
        first = draw(g, n)
        assert first.shape == (n,)
        seed, stream, position = g.get_state()
        words = {"uniform": 2 * n, "uniform32": n, "normal": 2 * n, "normal32": n}.get(name, 2 * n)
        assert position == math.ceil((words + words % 2 if "normal" in name else words) / 4)
        again = Generator(3)
        assert (draw(again, n) == first).all()
        again.set_state((seed, stream, position))
        np.testing.assert_array_equal(draw(again, n), draw(g, n))


def test_backends_and_threads_give_the_same_numbers():
    with minidl.use_backend("portable"):
        portable = {name: draw(Generator(1), 4099) for name, draw in DRAWS.items()}
    for name, draw in DRAWS.items():
        found = draw(Generator(1), 4099)
        if name.startswith("normal"):
            assert (np.abs(found - portable[name]) <= 3 * np.spacing(np.abs(portable[name]) + 5)).all()
        else:
            np.testing.assert_array_equal(found, portable[name])


def test_state_goes_through_json_and_pickle():
    g = Generator(2**64 - 1)
    g.normal(size=7)
    stored, copy = json.dumps(g.get_state()), pickle.loads(pickle.dumps(g))
    expected = g.uniform(size=5)
    other = Generator(0)
    other.set_state(json.loads(stored))
    np.testing.assert_array_equal(other.uniform(size=5), expected)
    np.testing.assert_array_equal(copy.uniform(size=5), expected)


def test_position_passes_32_and_64_bits():
    g = Generator(9)
    g.set_state((9, 4, 2**32 - 1))
    a = g.integers(2**62, size=100)
    assert g.get_state() == (9, 4, 2**32 + 49)
    g.set_state((9, 4, 2**32))
    np.testing.assert_array_equal(g.integers(2**62, size=98), a[2:])
    g.set_state((9, 4, 2**64 - 1))
    g.uniform(size=4)
    assert g.get_state() == (9, 4, 1)


def test_default_generator_and_its_seed():
    minidl.manual_seed(11)
    assert minidl.initial_seed() == 11
    first, state = minidl.rand(5), minidl.get_rng_state()
    second = minidl.rand(5)
    assert not (first == second).any()
    minidl.set_rng_state(state)
    assert (minidl.rand(5) == second).all()
    assert minidl.manual_seed(11).get_state() == minidl.get_rng_state() == (11, 0, 0)
    assert (minidl.rand(5) == first).all()
    minidl.manual_seed(-1)
    assert minidl.initial_seed() == 2**64 - 1


def test_unseeded_processes_differ():
    code = "import minidl; print(minidl.initial_seed(), minidl.random.Generator().initial_seed())"
    seeds = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert len({*seeds, str(Generator().initial_seed())}) == 3


def test_derived_generators_have_nothing_in_common():
    numbers = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (2**32, 0), (0, 2**32), (-1,), (2**64 - 2,)]
    keys = {(seed, *number): derive(seed, *number).get_state()[:2] for seed in (0, 1, 2**32, -1) for number in numbers}
    assert len(set(keys.values())) == len(keys)
    assert all(derive(5, epoch, 3).get_state() == derive(5, epoch, 3).get_state() for epoch in range(3))
    samples = np.array([derive(7, 0, index).uniform(size=20) for index in range(200)])
    assert np.abs(np.corrcoef(samples) - np.eye(200)).max() < 0.9  # of 20 numbers each; a repeated stream gives 1
    assert abs(samples.mean() - 0.5) < 4 * math.sqrt(1 / 12 / samples.size)


def test_derived_generators_in_the_portable_room():
    with minidl.use_backend("portable"):
        expected = derive(3, 1, 4).get_state()
    assert derive(3, 1, 4).get_state() == expected


N = 200_000


def test_uniform_numbers():
    u = Generator(0).uniform(2, 5, N)
    assert u.min() >= 2 and u.max() < 5
    counts = np.histogram(u, 100, (2, 5))[0]
    chi_square = ((counts - N / 100) ** 2 / (N / 100)).sum()
    assert 61.1 < chi_square < 148.2  # 0.1 % and 99.9 % of 99 degrees of freedom
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 4 / math.sqrt(N)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_normal_numbers(dtype):
    z = Generator(1).normal(10, 3, N, dtype=dtype)
    assert z.dtype == dtype
    z = (z.astype(np.float64) - 10) / 3
    assert abs(z.mean()) < 4 / math.sqrt(N) and abs(z.var() - 1) < 4 * math.sqrt(2 / N)
    assert abs((z**3).mean()) < 4 * math.sqrt(15 / N) and abs((z**4).mean() - 3) < 4 * math.sqrt(96 / N)
    assert abs(np.corrcoef(z[0::2], z[1::2])[0, 1]) < 4 / math.sqrt(N / 2)  # of the two that share a radius
    for bound in (-2, -1, 0.5, 2, 3):
        p = (1 + math.erf(bound / math.sqrt(2))) / 2
        assert abs((z < bound).mean() - p) < 4 * math.sqrt(p * (1 - p) / N)


def test_integers():
    found = Generator(2).integers(-3, 4, N)
    counts = np.bincount(found + 3, minlength=7)
    assert len(counts) == 7 and ((counts - N / 7) ** 2 / (N / 7)).sum() < 22.5  # 99.9 % of 6 degrees of freedom
    assert found.dtype == np.int64
    wide = Generator(3).integers(-(2**63), 2**63, 1000)
    assert wide.min() < -(2**61) and wide.max() > 2**61
    assert Generator(4).integers(0, 256, 50, dtype=np.uint8).dtype == np.uint8


def test_permutation():
    g = Generator(5)
    assert sorted(g.permutation(1000).tolist()) == list(range(1000))
    counts = np.zeros((4, 4))
    for _ in range(4000):
        counts[np.arange(4), g.permutation(4)] += 1
    assert np.abs(counts - 1000).max() < 4 * math.sqrt(1000)
    rows = np.arange(12).reshape(4, 3)
    assert sorted(g.permutation(rows).tolist()) == rows.tolist()
    assert g.permutation(0).shape == (0,)


def test_single_numbers_and_shapes():
    g = Generator(6)
    assert np.ndim(g.uniform()) == np.ndim(g.normal()) == np.ndim(g.integers(3)) == 0
    assert g.uniform(size=(2, 0, 3)).shape == (2, 0, 3) and g.normal(size=()).shape == ()
    assert g.integers(5, size=(2, 3)).shape == (2, 3)


@pytest.mark.parametrize("call, error, words", [
    (lambda g: g.integers(3, 3), ValueError, "there are none"),
    (lambda g: g.integers(0, 300, dtype=np.uint8), ValueError, "do not fit into uint8"),
    (lambda g: g.normal(0, -1), ValueError, "cannot be negative"),
    (lambda g: g.uniform(size=(2, -1)), ValueError, "cannot be negative"),
    (lambda g: g.manual_seed(2**64), ValueError, "-2\\^63 to 2\\^64 - 1"),
    (lambda g: g.manual_seed(0.5), TypeError, "integer"),
    (lambda g: g.set_state((1, 2)), ValueError, "three ints"),
    (lambda g: g.set_state((1, 2, -1)), ValueError, "three ints"),
    (lambda g: g.set_state("abc"), TypeError, "integer"),
    (lambda g: derive("seed"), TypeError, "int"),
])
def test_mistakes(call, error, words):
    g = Generator(1)
    with pytest.raises(error, match=words):
        call(g)
    assert g.get_state() == (1, 0, 0)
