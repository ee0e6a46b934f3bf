"""MNIST and Fashion-MNIST from folders of idx files: synthetic ones, the real one where it is, and downloads."""

import numpy as np
import pytest

from minidl.data import MNIST, FashionMNIST, download
from minidl.errors import DataError, UsageError
from tests.data.idx_files import FILES, idx, write_mnist
from tests.data.real import real_data


@pytest.mark.parametrize("zipped", [(), FILES, FILES[1:3]], ids=["plain", "gz", "mixed"])
def test_mnist_from_a_folder(tmp_path, zipped):
    train_images, train_labels, test_images, test_labels = write_mnist(tmp_path / "mnist", zipped=zipped)
    for train, images, labels in [(True, train_images, train_labels), (False, test_images, test_labels)]:
        for root in (tmp_path, tmp_path / "mnist"):
            dataset = MNIST(root, train=train)
            assert len(dataset) == len(images)
            image, label = dataset[3]
            assert image.shape == (1, 28, 28) and image.dtype == np.float32 and label == labels[3]
            np.testing.assert_allclose(image[0], (images[3] / 255 - 0.1307) / 0.3081, rtol=1e-5, atol=1e-6)


def test_mnist_where_the_environment_says(tmp_path, monkeypatch):
    _, labels, _, _ = write_mnist(tmp_path / "mine" / "fashion-mnist")
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert np.array_equal(FashionMNIST().labels, labels)
    write_mnist(tmp_path / "cache" / "minidl" / "data" / "mnist")
    assert len(MNIST(train=False)) == 12  # not in MINIDL_DATA, but in the user's cache


def test_mnist_is_nowhere(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "mine"))
    with pytest.raises(DataError, match="mnist is in none of these folders: .*mine.*minidl data get mnist"):
        MNIST()
    with pytest.raises(DataError, match="elsewhere"):
        MNIST(tmp_path / "elsewhere")


def test_mnist_without_one_file(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / FILES[3]).unlink()
    assert len(MNIST(tmp_path)) == 40
    with pytest.raises(DataError, match="t10k-labels-idx1-ubyte"):
        MNIST(tmp_path, train=False)


@pytest.mark.parametrize("name, array, message", [
    ("train-labels-idx1-ubyte", np.zeros(39, np.uint8), "do not belong together"),
    ("train-labels-idx1-ubyte", np.zeros((40, 1), np.uint8), "do not belong together"),
    ("train-images-idx3-ubyte", np.zeros((40, 784), np.uint8), "do not belong together"),
    ("train-labels-idx1-ubyte", np.full(40, 10, np.uint8), "a label is 10, expected 0 to 9"),
])
def test_mnist_of_parts_that_do_not_match(tmp_path, name, array, message):
    write_mnist(tmp_path)
    (tmp_path / name).write_bytes(idx(array))
    with pytest.raises(DataError, match=message):
        MNIST(tmp_path)


def test_mnist_augmented(tmp_path):
    """Shifted in training, left alone in evaluation."""
    images, *_ = write_mnist(tmp_path)
    plain, moved = MNIST(tmp_path), MNIST(tmp_path, augment=True)
    assert np.array_equal(moved.arrays()[0], plain.arrays()[0])
    batch, _ = moved.batch(np.arange(40), 0, 0)
    assert not np.array_equal(batch, plain.arrays()[0])
    black = (0 - 0.1307) / 0.3081
    shifts = [(y, x) for y in range(-2, 3) for x in range(-2, 3)]
    for n in range(40):
        padded = np.pad(plain.arrays()[0][n, 0], 2, constant_values=np.float32(black))
        assert any(np.allclose(batch[n, 0], padded[2 + y : 30 + y, 2 + x : 30 + x], atol=1e-6) for y, x in shifts)


def test_real_mnist():
    folder = real_data("mnist")
    assert download.get("mnist", folder) == folder  # the published content, whatever the wrapper: nothing to download
    train, test = MNIST(folder), MNIST(folder, train=False)
    assert train.images.shape == (60000, 1, 28, 28) and test.images.shape == (10000, 1, 28, 28)
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    pixels = train.images / np.float32(255)
    assert abs(pixels.mean(dtype=np.float64) - MNIST.mean) < 1e-4 and abs(pixels.std(dtype=np.float64) - MNIST.std) < 1e-4


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Stands in for the network; the calls it got."""
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "mine"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    calls = []

    def get(name, root=None):
        calls.append((name, root))
        write_mnist(root or tmp_path / "mine" / name, zipped=FILES)

    monkeypatch.setattr(download, "get", get)
    return calls


def test_not_unless_asked(fetched, tmp_path):
    with pytest.raises(DataError, match="minidl data get mnist"):
        MNIST(tmp_path / "root")
    assert not fetched


@pytest.mark.parametrize("kind", [MNIST, FashionMNIST])
def test_into_the_root(fetched, tmp_path, kind):
    for _ in range(2):
        assert len(kind(tmp_path / "root", download=True)) == 40
    assert fetched == [(kind.name, tmp_path / "root" / kind.name)]  # once


def test_into_the_default_folder(fetched):
    for train in (True, False):
        assert len(MNIST(train=train, download=True)) == (40 if train else 12)
    assert fetched == [("mnist", None)]


@pytest.mark.parametrize("missing", [FILES[3:], FILES[2:], FILES[1:], FILES])
def test_goes_on_after_a_broken_download(fetched, tmp_path, missing):
    folder = tmp_path / "mine" / "mnist"
    write_mnist(folder)
    for name in missing:
        (folder / name).rename(folder / f"{name}.gz.part")
    with pytest.raises(DataError, match="minidl data get mnist"):
        MNIST(train=False)
    assert len(MNIST(train=False, download=True)) == 12
    assert fetched == [("mnist", None)]


def test_what_a_broken_download_left_hides_nothing(fetched, tmp_path):
    (tmp_path / "mine" / "mnist").mkdir(parents=True)
    (tmp_path / "mine" / "mnist" / f"{FILES[0]}.gz.part").write_bytes(b"\x1f\x8b")
    write_mnist(tmp_path / "cache" / "minidl" / "data" / "mnist")
    assert len(MNIST(download=True)) == 40 and not fetched


def test_damaged_files_are_not_replaced_in_silence(fetched, tmp_path):
    write_mnist(tmp_path)
    (tmp_path / FILES[0]).write_bytes(b"damaged")
    with pytest.raises(DataError, match="not an idx file"):
        MNIST(tmp_path, download=True)
    assert not fetched


def test_augment_and_transform():
    with pytest.raises(UsageError, match="one of augment and transform"):
        MNIST(augment=True, transform=abs)
