"""CIFAR in each of its layouts, and files that are wrong."""

import gzip
import io
import pickle
import shutil
import struct
import tarfile

import numpy as np
import pytest

from minidl.data import CIFAR10, CIFAR100
from minidl.data.cifar import read_binary
from minidl.errors import DataError, UsageError
from tests.data.pictures import encoded, noise
from tests.data.real import real_data
from tests.io.limits import read_within_limits
from tests.io.torch_files import name, number, tuple_of


def text(value: bytes) -> bytes:
    """A string of Python 2."""
    return (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<I", len(value))) + value


def dtype(letters=b"u1", order=b"|") -> bytes:
    made = name("numpy", "dtype") + tuple_of(text(letters), b"K\0", b"K\1") + b"R"
    return made + tuple_of(b"K\3", text(order), b"N", b"N", b"N", number(-1), number(-1), b"K\0") + b"b"


def array(pixels: bytes, shape, of=None, fortran=b"\x89") -> bytes:
    start = name("numpy.core.multiarray", "_reconstruct") + tuple_of(name("numpy", "ndarray"), b"K\0\x85", text(b"b")) + b"R"
    return start + tuple_of(b"K\1", tuple_of(*map(number, shape)), dtype() if of is None else of, fortran, text(pixels)) + b"b"


def batch(pixels=bytes(range(256)) * 24, labels=(3, 9), key=b"labels", data=None) -> bytes:
    """A batch as Python 2 pickled it, of two pictures."""
    data = array(pixels, (len(labels), 3072)) if data is None else data
    listed = b"](" + b"".join(number(label) for label in labels) + b"e"
    return b"\x80\x02}(" + text(b"batch_label") + text(b"a batch") + text(b"data") + data + text(key) + listed + b"u."


def binary(labels, label_bytes=1) -> bytes:
    return b"".join(bytes([1] * (label_bytes - 1) + [label]) + bytes(range(256)) * 12 for label in labels)


TEN = [f"data_batch_{k}" for k in range(1, 6)]
EXPECTED = np.frombuffer(bytes(range(256)) * 12, np.uint8).reshape(3, 32, 32)


def written(folder, layout, inside, files, packed):
    """A layout as a folder, or as an archive."""
    folder.mkdir()
    if not packed:
        (folder / inside).mkdir()
        for path, content in files.items():
            (folder / inside / path).write_bytes(content)
    else:
        with tarfile.open(folder / layout, "w:gz") as archive:
            for path, content in files.items():
                entry = tarfile.TarInfo(f"{inside}/{path}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("layout", ["python", "binary"])
def test_cifar10(tmp_path, layout, packed):
    if layout == "python":
        files = {each: batch(labels=(k, 9)) for k, each in enumerate(TEN)} | {"test_batch": batch(labels=(7, 8))}
        written(tmp_path / "cifar10", "cifar-10-python.tar.gz", "cifar-10-batches-py", files, packed)
    else:
        files = {f"{each}.bin": binary([k, 9]) for k, each in enumerate(TEN)} | {"test_batch.bin": binary([7, 8])}
        written(tmp_path / "cifar10", "cifar-10-binary.tar.gz", "cifar-10-batches-bin", files, packed)
    train, test = CIFAR10(tmp_path), CIFAR10(tmp_path / "cifar10", train=False)
    assert train.labels.tolist() == [0, 9, 1, 9, 2, 9, 3, 9, 4, 9] and test.labels.tolist() == [7, 8]
    np.testing.assert_array_equal(train.images[5], EXPECTED)
    image, label = test[1]
    assert image.dtype == np.float32 and label == 8
    expected = (EXPECTED[1] / 255 - CIFAR10.mean[1]) / CIFAR10.std[1]
    np.testing.assert_allclose(image[1], expected, atol=1e-6)


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
@pytest.mark.parametrize("layout", ["python", "binary"])
def test_cifar100(tmp_path, layout, packed):
    """The fine labels, not the coarse ones."""
    if layout == "python":
        files = {"train": batch(labels=(99, 4), key=b"fine_labels"), "test": batch(labels=(5, 6), key=b"fine_labels")}
        written(tmp_path / "cifar100", "cifar-100-python.tar.gz", "cifar-100-python", files, packed)
    else:
        files = {"train.bin": binary([99, 4], 2), "test.bin": binary([5, 6], 2)}
        written(tmp_path / "cifar100", "cifar-100-binary.tar.gz", "cifar-100-binary", files, packed)
    assert CIFAR100(tmp_path).labels.tolist() == [99, 4]
    assert CIFAR100(tmp_path, train=False).labels.tolist() == [5, 6]
    assert len(set(CIFAR100.classes)) == 100 and CIFAR100.classes == sorted(CIFAR100.classes)


def test_what_python_3_pickled(tmp_path):
    """NumPy 2 names its module otherwise, and keys are text."""
    images = np.arange(2 * 3072, dtype=np.uint8).reshape(2, 3072)
    (tmp_path / "cifar-100-python").mkdir()
    (tmp_path / "cifar-100-python" / "train").write_bytes(pickle.dumps({"data": images, "fine_labels": [1, 2]}, protocol=3))
    if b"_codecs" not in (tmp_path / "cifar-100-python" / "train").read_bytes():
        np.testing.assert_array_equal(CIFAR100(tmp_path).images.reshape(2, -1), images)


def pack(pictures, labels, **changed) -> dict:
    ends = np.cumsum([0, *map(len, pictures)])
    whole = {"jpeg": np.frombuffer(b"".join(pictures), np.uint8), "offsets": ends, "labels": np.array(labels, np.uint8)}
    return {f"train_{key}": value for key, value in (whole | changed).items()} | {"class_names": np.array(CIFAR10.classes)}


def test_packed(tmp_path):
    pictures = [encoded(noise(32, 32, seed)) for seed in (0, 1)]
    np.savez(tmp_path / "cifar-10-jpeg.npz", **pack(pictures, [4, 2]))
    found = CIFAR10(tmp_path)
    assert found.labels.tolist() == [4, 2]
    np.testing.assert_array_equal(found.images[1], noise(32, 32, 1).transpose(2, 0, 1))


def test_augmentation():
    """Augmented images are shifted and mirrored ones; in evaluation nothing moves."""
    with pytest.raises(UsageError, match="augment belongs to the standard transform"):
        CIFAR10(transform=np.negative, augment=True)


def test_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("MINIDL_DATA", raising=False)
    with pytest.raises(DataError, match="get it with `minidl data get cifar10`"):
        CIFAR10()
    (tmp_path / "cifar-10-batches-bin").mkdir()
    (tmp_path / "cifar-10-batches-bin" / "data_batch_1.bin").write_bytes(binary([1]))
    with pytest.raises(DataError, match=r"data_batch_2\.bin is missing"):
        CIFAR10(tmp_path)


GOOD = batch(key=b"fine_labels")
FINE = {"key": b"fine_labels"}
PYTHON = {
    "empty": b"", "text": b"labels", "a list": b"\x80\x02].", "cut": GOOD[:3000], "more": GOOD + b"x",
    "protocol 4": b"\x80\x04}.",
    "calls a function": b"\x80\x02cos\nsystem\n(U\x0etouch /tmp/xxxxtR.", "text protocol": b"(dp0\nS'data'\np1\nI1\ns.",
    "labels as bytes": GOOD.replace(b"fine_labels](\x8a\x01\x03\x8a\x01\x09e", b"fine_labelsU\x02ab"),
    "no labels": batch(key=b"coarse_labels"), "label 100": batch(labels=(3, 100), **FINE),
    "label -1": batch(labels=(3, -1), **FINE),
    "three labels for two pictures": batch(data=array(bytes(6144), (2, 3072)), labels=(1, 2, 3), **FINE),
    "images of text": batch(data=text(b"images"), **FINE), "images of a list": batch(data=b"]", **FINE),
    "images too small": batch(data=array(bytes(20), (2, 10)), **FINE),
    "images of rank 1": batch(data=array(bytes(6144), (6144,)), **FINE),
    "fewer bytes than announced": batch(data=array(bytes(6143), (2, 3072)), **FINE),
    "2^40 pictures": batch(data=array(bytes(6144), (2**40, 3072)), **FINE),
    "a size that wraps": batch(data=array(bytes(0), (2**32, 2**32)), **FINE),
    "a negative size": batch(data=array(bytes(6144), (-2, -3072)), **FINE),
    "a size of 2^70": batch(data=array(bytes(6144), (2**70, 0)), **FINE),
    "40 axes": batch(data=array(bytes(6144), (2, 3072, *[1] * 38)), **FINE),
    "floats": batch(data=array(bytes(6144), (2, 384), dtype(b"f8", b"<")), **FINE),
    "objects": batch(data=array(bytes(6144), (2, 384), dtype(b"O8")), **FINE),
    "a dtype of commas": batch(data=array(bytes(6144), (2, 3072), dtype(b"u1,u1")), **FINE),
    "Fortran's order": batch(data=array(bytes(6144), (2, 3072), fortran=b"\x88"), **FINE),
    "a dtype without state": batch(data=array(bytes(6144), (2, 3072), name("numpy", "dtype")), **FINE),
    "an array without state": batch(data=name("numpy.core.multiarray", "_reconstruct") + tuple_of(
        name("numpy", "ndarray"), b"K\0\x85", text(b"b")) + b"R", **FINE),
    "hash bomb": b"\x80\x02})" + b"".join(b"q" + bytes([k]) + b"h" + bytes([k]) + b"\x86" for k in range(60)) + b"K\1s.",
    "state of a dtype twice over": batch(data=array(bytes(6144), (2, 3072), dtype() + b"}b"), **FINE),
    "an array in two states": batch(
        data=array(bytes(6144), (2, 3072)) + tuple_of(b"K\1", b")", dtype(), b"\x89", text(b"a")) + b"b", **FINE),
}
BINARY = {
    "empty": b"", "one byte short": binary([1, 2], 2)[:-1], "one byte more": binary([1, 2], 2) + b"x", "labels alone": b"\1\2",
    "CIFAR-10's": binary([1, 2], 1),
    "a pickle": GOOD, "gzipped": gzip.compress(binary([1, 2], 2)), "text": b"label,pixels\n" * 500,
    **{f"{size} bytes": bytes(size) for size in (3, 1000, 3072, 3073, 3075, 6147, 6149, 10**6, 10**7)},
    **{f"label {label}": binary([3, label, 4], 2) for label in (100, 101, 127, 128, 200, 254, 255)},
    **{f"{count} pictures and {more} bytes": binary([5] * count, 2) + bytes(more)
       for count in (1, 3, 10) for more in (1, 2, 3073)},
}


@pytest.mark.parametrize("case", PYTHON)
def test_hostile_batches(tmp_path, case):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    (folder / "train").write_bytes(PYTHON[case])
    error = read_within_limits(lambda _: CIFAR100(tmp_path), folder / "train")
    assert type(error) is DataError and "cifar-100-python" in str(error), error


@pytest.mark.parametrize("case", BINARY)
def test_hostile_binaries(tmp_path, case):
    folder = tmp_path / "cifar-100-binary"
    folder.mkdir()
    (folder / "train.bin").write_bytes(BINARY[case])
    error = read_within_limits(lambda _: CIFAR100(tmp_path), folder / "train.bin")
    assert type(error) is DataError and "cifar" in str(error), error


JPEG = encoded(noise(32, 32), "JPEG")
PACKS = {
    "no labels": lambda p: p.pop("train_labels"), "no names": lambda p: p.pop("class_names"),
    "offsets too few": lambda p: p.update(train_offsets=p["train_offsets"][:-1]),
    "offsets fall": lambda p: p.update(train_offsets=np.array([0, len(JPEG) * 2, len(JPEG) * 2][::-1])),
    "offsets negative": lambda p: p.update(train_offsets=np.array([0, -5, len(JPEG) * 2])),
    "offsets beyond the end": lambda p: p.update(train_offsets=p["train_offsets"] * 2),
    "offsets that are floats": lambda p: p.update(train_offsets=p["train_offsets"] * 1.0),
    "offsets of rank 2": lambda p: p.update(train_offsets=p["train_offsets"][None]),
    "a first offset": lambda p: p.update(train_offsets=p["train_offsets"] + 1),
    "bytes of 16 bits": lambda p: p.update(train_jpeg=p["train_jpeg"].astype(np.uint16)),
    "labels that are floats": lambda p: p.update(train_labels=np.array([0.5, 1])),
    "label 10": lambda p: p.update(train_labels=np.array([3, 10])),
    "label -1": lambda p: p.update(train_labels=np.array([3, -1])),
    "objects": lambda p: p.update(train_labels=np.array([3, None])),
    "structures": lambda p: p.update(train_labels=np.zeros(2, "i4,i4")),
    "Fortran's order": lambda p: p.update(train_labels=np.asfortranarray(np.zeros((2, 3), np.uint8))),
    "another size": lambda p: p.update(pack([encoded(noise(32, 31), "JPEG")] * 2, [1, 2])),
    "no picture": lambda p: p.update(pack([b"no picture", JPEG], [1, 2])),
    "names that are one": lambda p: p.update(class_names=np.array("cat")),
    "names that are numbers": lambda p: p.update(class_names=np.arange(10)),
    "names in two axes": lambda p: p.update(class_names=p["class_names"][None]),
    "names that are no Unicode": lambda p: p.update(class_names=np.full(10, 2**32 - 1, np.uint32).view("U1")),
    "more pictures than bytes": lambda p: p.update(
        train_offsets=np.zeros(10**6 + 1, np.int64) + len(p["train_jpeg"]) * (np.arange(10**6 + 1) > 0),
        train_labels=np.zeros(10**6, np.uint8)),
    "an empty picture": lambda p: p.update(pack([b"", JPEG], [1, 2])),
}


@pytest.mark.parametrize("case", PACKS)
def test_hostile_packs(tmp_path, case):
    made = pack([JPEG, JPEG], [1, 2])
    PACKS[case](made)
    path = tmp_path / "cifar-10-jpeg.npz"
    np.savez(path, **made)
    error = read_within_limits(lambda _: CIFAR10(tmp_path), path)
    assert type(error) is DataError and str(path) in str(error), error


def npy(header: bytes, data=b"\1\2", version=b"\1\0") -> bytes:
    """An array's file with any header."""
    return b"\x93NUMPY" + version + struct.pack("<H", len(header)) + header + data


HEADERS = {
    "no magic number": b"abcdefgh", "empty": b"", "version 9": npy(b"{}", version=b"\x09\0"), "no dict": npy(b"[1, 2]\n"),
    "code": npy(b"__import__('os').system('touch hacked')\n"), "a key missing": npy(b"{'descr': '|u1', 'shape': (2,)}\n"),
    "cut": npy(b"{'descr': '|u1', 'fortran_order': False, 'shape'"), "longer than the file": b"\x93NUMPY\1\0\xff\xff{",
    **{f"shape {shape}": npy(b"{'descr': '|u1', 'fortran_order': False, 'shape': %s}\n" % shape.encode()) for shape in (
        "(3,)", "(-2,)", "(2**3,)", "(10**9, 10**9)", "(4294967296, 4294967296)", "(2.0,)", "(True, 2, 2)", "2", "'ab'",
        "(" * 150, "(0, 10000000000000000000000000000000)", "(0, 4611686018427387904, 4)", "(" + "1," * 70 + ")")},
    **{f"dtype {kind}": npy(b"{'descr': %s, 'fortran_order': False, 'shape': (2,)}\n" % kind.encode()) for kind in (
        "'|O'", "'|V1'", "'|S1'", "'<M8'", "[('a', '|u1')]", "'|u1,|u1'", "None", "'|U0'", "'<u2'")},
    "nested": npy(b"{'descr': " + b"[" * 5000 + b"]" * 5000 + b"}\n"),
}


@pytest.mark.parametrize("case", HEADERS)
def test_hostile_arrays(tmp_path, monkeypatch, case):
    import zipfile

    monkeypatch.chdir(tmp_path)
    path = tmp_path / "cifar-10-jpeg.npz"
    np.savez(path, **{key: value for key, value in pack([JPEG, JPEG], [1, 2]).items() if key != "train_labels"})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("train_labels.npy", HEADERS[case])
    error = read_within_limits(lambda _: CIFAR10(tmp_path), path)
    assert type(error) is DataError and str(path) in str(error), error
    assert not (tmp_path / "hacked").exists()


def test_a_compressed_pack(tmp_path):
    np.savez_compressed(tmp_path / "cifar-10-jpeg.npz", **pack([JPEG, JPEG], [1, 2]))
    with pytest.raises(DataError, match="is compressed or encrypted"):
        CIFAR10(tmp_path)


def test_a_gzip_bomb(tmp_path):
    folder = tmp_path / "cifar10"
    folder.mkdir()
    (folder / "cifar-10-python.tar.gz").write_bytes(gzip.compress(bytes(400 << 20), 1))
    error = read_within_limits(lambda _: CIFAR10(tmp_path), folder / "cifar-10-python.tar.gz")
    assert type(error) is DataError


def test_real_pictures(tmp_path):
    """The subset in the binary layout is the beginning of the pack, but for its JPEG decoder's last levels."""
    folder = real_data("cifar10")
    packed = CIFAR10(folder, train=False)
    assert len(packed) == 10_000 and np.bincount(packed.labels).tolist() == [1000] * 10
    shutil.copy(folder / "cifar-10-binary.tar.gz", tmp_path)
    from minidl.data import tar

    data = tar.read_members(tmp_path / "cifar-10-binary.tar.gz", {"test_batch.bin"}, 10**8)["test_batch.bin"]
    images, labels = read_binary(data, 1, "it")
    np.testing.assert_array_equal(labels, packed.labels[:1000])
    assert np.abs(images.astype(int) - packed.images[:1000]).max() < 4
