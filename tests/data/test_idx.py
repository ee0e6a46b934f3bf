"""The idx format: good files as they are, hostile ones as a DataError that names the file, at once and in little memory."""

import gzip
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from minidl.data import MNIST, FashionMNIST, read_idx
from minidl.data.download import get
from minidl.errors import DataError
from tests.data.real import real_data

ROOT = Path(__file__).resolve().parents[2]


def header(*shape, kind=8, rank=None):
    return bytes([0, 0, kind, len(shape) if rank is None else rank]) + struct.pack(f">{len(shape)}I", *shape)


def idx(array):
    return header(*array.shape) + array.tobytes()


ARRAY = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
GOOD = idx(ARRAY)
GZ = gzip.compress(GOOD, mtime=0)
MEMBER = gzip.compress(bytes(1 << 24))  # 16 MiB in 16 KiB; members of a gzip file follow one another

HOSTILE = {
    "empty": b"",
    "1 byte": b"\0",
    "3 bytes": b"\0\0\x08",
    "text": b"<html>404 Not Found</html>",
    "png": b"\x89PNG\r\n\x1a\n" + bytes(40),
    "magic alone": GOOD[:4],
    "half a size": GOOD[:6],
    "sizes missing": GOOD[:12],
    "header alone": GOOD[:16],
    "1 element short": GOOD[:-1],
    "1 element too many": GOOD + b"\0",
    "twice": GOOD + GOOD,
    "first byte": b"\1" + GOOD[1:],
    "second byte": b"\0\1" + GOOD[2:],
    "little-endian sizes": GOOD[:4] + struct.pack("<3I", *ARRAY.shape) + GOOD[16:],
    **{f"type {kind:#04x}": header(2, 3, kind=kind) + bytes(48) for kind in (0, 9, 0x0B, 0x0C, 0x0D, 0x0E, 0xFF)},
    "rank 0": header() + b"\0",
    "rank 5": header(1, 1, 1, 1, 1) + b"\0",
    "rank 255": header(*[1] * 255) + b"\0",
    "rank 255 without sizes": header(rank=255),
    "2 GiB and nothing": header(2**31),
    "4 GiB": header(2**32 - 1) + bytes(9),
    "0 modulo 2^32": header(2**16, 2**16),
    "0 modulo 2^64": header(2**32 - 2**31, 2**31, 4),
    "6 modulo 2^32": header(2, 2**31 + 3) + bytes(6),
    "2^128 less a bit": header(*[2**32 - 1] * 4) + bytes(7),
    "empty, but sizes beyond any array": header(0, 2**32 - 1, 2**32 - 1, 2**32 - 1),
    "surplus after nothing": header(0, 28, 28) + b"\0",
    "gz of nothing": gzip.compress(b""),
    "gz of gz": gzip.compress(GZ),
    "gz magic alone": b"\x1f\x8b",
    "gz header alone": GZ[:10],
    "gz without its end": GZ[:-8],
    "gz 1 byte short": GZ[:-1],
    "gz then rubbish": GZ + b"rubbish",
    "gz then half a gz": GZ + GZ[:12],
    "gz twice": GZ + GZ,
    "gz of too little": gzip.compress(GOOD[:-1]),
    "gz of too much": gzip.compress(GOOD + b"\0"),
    "gz wrong checksum": GZ[:-8] + struct.pack("<I", zlib.crc32(GOOD) ^ 1) + GZ[-4:],
    "gz wrong length": GZ[:-4] + struct.pack("<I", len(GOOD) + 1),
    "gz unknown method": GZ[:2] + b"\7" + GZ[3:],
    "gz reserved block": GZ[:10] + b"\xff" * 30,
    "gz name without end": GZ[:3] + b"\x08" + GZ[4:10] + b"x" * 500,
    "bomb, small header": gzip.compress(header(28, 28)) + MEMBER * 128,
    "bomb, 1 GiB header": gzip.compress(header(2**15, 2**15)) + MEMBER * 128,
    "bomb as large as announced": gzip.compress(header(2**16, 2**15)) + MEMBER * 128,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile(tmp_path, content):
    path = tmp_path / "hostile-ubyte"
    path.write_bytes(content)
    start = time.perf_counter()
    with pytest.raises(DataError, match="hostile-ubyte"):
        read_idx(path)
    assert time.perf_counter() - start < 2


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no resource module")
@pytest.mark.parametrize("shape", [(28, 28), (2**15, 2**15), (2**16, 2**15)])
def test_a_bomb_takes_little_memory(tmp_path, shape):
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(header(*shape)) + MEMBER * 128)
    code = f"""
import resource
from minidl.data import read_idx
from minidl.errors import DataError
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_idx({str(path)!r})
except DataError:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(found.stdout) * unit < 50e6, found.stderr


def test_missing_and_folder(tmp_path):
    with pytest.raises(DataError, match="nowhere-ubyte: there is no such file"):
        read_idx(tmp_path / "nowhere-ubyte")
    with pytest.raises(DataError, match=tmp_path.name):
        read_idx(tmp_path)


@pytest.mark.parametrize("content", [GOOD, GZ], ids=["plain", "gz"])
def test_flipped_and_cut(tmp_path, content):
    """Each bit of the header flipped, and every length: an error, or for gz the right array, as some of its bits say nothing."""
    path = tmp_path / "flipped-ubyte"
    tried = [content[:n] for n in range(len(content))]
    for bit in range(8 * (16 if content is GOOD else len(content))):
        flipped = bytearray(content)
        flipped[bit // 8] ^= 1 << bit % 8
        tried.append(bytes(flipped))
    for damaged in tried:
        path.write_bytes(damaged)
        try:
            found = read_idx(path)
        except DataError as error:
            assert "flipped-ubyte" in str(error)
        else:
            assert content is GZ and np.array_equal(found, ARRAY)


@pytest.mark.parametrize("shape", [(7,), (2, 3), (2, 3, 5), (2, 3, 5, 4), (0,), (0, 28, 28), (3, 0)])
@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gz"])
def test_good(tmp_path, shape, pack):
    array = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    path = tmp_path / "good"
    path.write_bytes(pack(idx(array)))
    found = read_idx(str(path))
    assert found.dtype == np.uint8 and np.array_equal(found, array) and found.shape == shape
    assert found.flags.writeable


def test_good_gz_of_many_members(tmp_path):
    path = tmp_path / "good.gz"
    path.write_bytes(b"".join(gzip.compress(GOOD[i : i + 7]) for i in range(0, len(GOOD), 7)))
    assert np.array_equal(read_idx(path), ARRAY)


def test_good_gz_of_blank_images(tmp_path):
    """As many blank images as MNIST has are no bomb, though they shrink a thousandfold."""
    path = tmp_path / "blank.gz"
    path.write_bytes(gzip.compress(header(60000, 28, 28) + bytes(60000 * 28 * 28), 1))
    assert read_idx(path).shape == (60000, 28, 28)


FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")


def write_mnist(folder, train=40, test=12, shape=(28, 28), zipped=()):
    """Synthetic files of MNIST; returns the arrays."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(1)
    arrays = []
    for name, count in zip(FILES, (train, train, test, test), strict=True):
        images = "images" in name
        arrays.append(random.integers(0, 256 if images else 10, (count, *(shape if images else ())), np.uint8))
        content = idx(arrays[-1])
        (folder / (name + ".gz" * (name in zipped))).write_bytes(gzip.compress(content) if name in zipped else content)
    return arrays


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
    assert get("mnist", folder) == folder  # the published content, whatever the wrapper: nothing to download
    train, test = MNIST(folder), MNIST(folder, train=False)
    assert train.images.shape == (60000, 1, 28, 28) and test.images.shape == (10000, 1, 28, 28)
    assert np.bincount(train.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    pixels = train.images / np.float32(255)
    assert abs(pixels.mean(dtype=np.float64) - MNIST.mean) < 1e-4 and abs(pixels.std(dtype=np.float64) - MNIST.std) < 1e-4
