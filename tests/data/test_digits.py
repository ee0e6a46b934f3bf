"""The embedded digits: all there, with their attribution, in the same two parts for ever; enlarged as bilinear reading says."""

import hashlib
import math
from importlib import resources

import numpy as np
import pytest

from minidl.data import Digits
from minidl.data.digits import TEST, enlarge, load

SHA256 = "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"


def test_all_there():
    images, labels = load()
    assert images.shape == (1797, 8, 8) and images.dtype == np.uint8 and images.min() == 0 and images.max() == 16
    assert labels[:20].tolist() == [*range(10), *range(10)] and labels.shape == (1797,)
    assert hashlib.sha256(images.tobytes() + labels.astype(np.uint8).tobytes()).hexdigest() == SHA256
    text = resources.files("minidl.data").joinpath("digits.md").read_text(encoding="utf-8")
    assert "10.24432/C50P49" in text and "Attribution 4.0" in text


def test_as_scikit_learn_distributes_them():
    sklearn = pytest.importorskip("sklearn.datasets").load_digits()
    images, labels = load()
    np.testing.assert_array_equal(images, sklearn.images)
    np.testing.assert_array_equal(labels, sklearn.target)


def test_parts():
    train, test = Digits(), Digits(train=False)
    images, labels = load()
    assert len(train) == 1797 - TEST and len(test) == TEST == 360
    np.testing.assert_array_equal(np.concatenate([train.labels, test.labels]), labels)
    both = np.concatenate([train.arrays()[0], test.arrays()[0]])
    np.testing.assert_allclose(both[:, 0] * Digits.std + Digits.mean, images / 16, atol=1e-6)
    assert np.bincount(test.labels).min() >= 33 and np.bincount(test.labels).max() <= 37
    assert Digits.classes == list("0123456789")
    image, label = test[0]
    assert image.shape == (1, 8, 8) and image.dtype == np.float32 and label.dtype == np.int64


def test_mean_and_deviation_are_of_the_training_images():
    images = Digits().arrays()[0].astype(np.float64)
    assert abs(images.mean()) < 2e-4 and abs(images.std() - 1) < 2e-4


@pytest.mark.parametrize("h, w, size", [(8, 8, 28), (8, 8, 9), (3, 5, 7), (8, 8, 8), (2, 4, 12)])
def test_enlarge(h, w, size):
    images = np.random.default_rng(0).integers(0, 17, (3, h, w), np.uint8)
    found = enlarge(images, size)
    assert found.shape == (3, size, size) and found.dtype == np.float32

    def neighbours(place, new, old):
        source = min(max((place + 0.5) * old / new - 0.5, 0), old - 1)
        low = math.floor(source)
        return [(low, 1 - (source - low)), (min(low + 1, old - 1), source - low)]

    for n, y, x in np.ndindex(found.shape):
        expected = sum(a * b * images[n, i, j] for i, a in neighbours(y, size, h) for j, b in neighbours(x, size, w))
        assert found[n, y, x] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("size", [8, 28])
def test_augmentation(size):
    """By seed, epoch and index, in training alone; labels stay."""
    plain, moved = Digits(size=size), Digits(size=size, augment=True)
    np.testing.assert_array_equal(plain.arrays()[0], moved.arrays()[0])
    np.testing.assert_array_equal(plain[5][0], moved[5][0])
    chosen = np.array([7, 3, 3, 1400])
    first, labels = moved.batch(chosen, 1, 0)
    assert first.shape == (4, 1, size, size) and labels.tolist() == plain.labels[chosen].tolist()
    np.testing.assert_array_equal(first[1], first[2])
    np.testing.assert_array_equal(first, moved.batch(chosen, 1, 0)[0])
    np.testing.assert_array_equal(first[[3, 0]], moved.batch(chosen[[3, 0]], 1, 0)[0])
    for seed, epoch in [(1, 1), (2, 0)]:
        other = moved.batch(chosen, seed, epoch)[0]
        assert all(abs(a - b).max() > 0.01 for a, b in zip(first, other, strict=True))
    distance = abs(first - plain.batch(chosen, 1, 0)[0]).mean((1, 2, 3))
    assert (0.001 < distance).all() and (distance < 0.6).all()  # another look, still the same digit
