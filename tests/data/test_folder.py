"""Folders of class folders, ImageNet as it is distributed, Imagenette, and what is wrong with them."""

import io
import struct
import tarfile
import zlib

import numpy as np
import pytest

from minidl.data import DataLoader, ImageFolder, ImageNet, Imagenette, PackedImages
from minidl.data.imagenet import class_names
from minidl.data.matlab import read_table
from minidl.data.unpack import unpack
from minidl.errors import DataError, UsageError
from tests.data.pictures import encoded, noise
from tests.data.real import real_data
from tests.io.limits import read_within_limits


def colour(value) -> bytes:
    """A picture of one colour, by which it is told again."""
    return encoded(np.full((4, 6, 3), value, np.uint8))


def fill(folder, **pictures) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in pictures.items():
        (folder / f"{name}.png").write_bytes(colour(value))


def contents(pictures) -> list:
    """(colour, label) of each."""
    return [(int(image[0, 0, 0]), int(label)) for image, label in (pictures[k] for k in range(len(pictures)))]


def test_divided_folder(tmp_path):
    fill(tmp_path / "train" / "dog", b=11, a=10)
    fill(tmp_path / "train" / "cat", c=20)
    fill(tmp_path / "val" / "dog", d=30)
    fill(tmp_path / "train" / ".hidden", e=1)
    (tmp_path / "train" / "cat" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "cat" / ".x.png").write_text("no picture")
    train, test = ImageFolder(tmp_path), ImageFolder(tmp_path, train=False)
    assert train.classes == test.classes == ["cat", "dog"]
    assert contents(train) == [(20, 0), (10, 1), (11, 1)] and contents(test) == [(30, 1)]


def test_undivided_folder(tmp_path):
    """Each fifth picture is for testing, and none is in both parts."""
    fill(tmp_path / "a", **{f"p{k}": k for k in range(10)})
    fill(tmp_path / "b", **{f"p{k}": 100 + k for k in range(4)})
    train, test = contents(ImageFolder(tmp_path)), contents(ImageFolder(tmp_path, train=False))
    assert test == [(4, 0), (9, 0)] and sorted(train + test) == sorted(
        [(k, 0) for k in range(10)] + [(100 + k, 1) for k in range(4)])


def test_mistakes_in_folders(tmp_path):
    with pytest.raises(DataError, match="there is no such folder"):
        ImageFolder(tmp_path / "none")
    with pytest.raises(DataError, match="expected a folder for each class, found none"):
        ImageFolder(tmp_path)
    fill(tmp_path / "train" / "a", x=1)
    with pytest.raises(DataError, match="none of the folders val, validation, valid, test/ to test on"):
        ImageFolder(tmp_path, train=False)
    (tmp_path / "train" / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no pictures in the folder of this class"):
        ImageFolder(tmp_path)
    fill(tmp_path / "train" / "empty", x=1)
    fill(tmp_path / "val" / "new", x=1)
    with pytest.raises(DataError, match=r"these classes are not in train/: new"):
        ImageFolder(tmp_path, train=False)


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_pictures_are_skipped_or_fatal(tmp_path, workers):
    fill(tmp_path / "a", **{f"p{k}": k for k in range(9)})
    (tmp_path / "a" / "p3.png").write_bytes(colour(3)[:40])
    for name in ("p5", "p6"):
        (tmp_path / "a" / f"{name}.png").write_bytes(b"no picture")
    pictures = ImageFolder(tmp_path)  # without p4, which is for testing
    with pytest.raises(DataError, match=r"p3\.png: not a picture that can be read") as caught:
        list(DataLoader(pictures, 2, num_workers=workers))
    assert any("sample 3" in note for note in getattr(caught.value, "__notes__", [])) or workers
    loader = DataLoader(pictures, 2, num_workers=workers, on_error="skip")
    found = [images[:, 0, 0, 0].tolist() for images, _ in loader]
    assert found == [[0, 1], [2], [7, 8]]  # and a batch of which nothing is left is no batch
    assert sorted(loader.skipped) == [3, 4, 5] and "p3.png" in loader.skipped[3]
    with pytest.raises(UsageError, match="on_error must be 'raise' or 'skip'"):
        DataLoader(pictures, on_error="ignore")


# ImageNet, in little

WNIDS = ["n01440764", "n01443537", "n01484850"]
NUMBERS = {1: WNIDS[2], 2: WNIDS[0], 3: WNIDS[1]}  # ILSVRC's numbers are in another order
WORDS = {WNIDS[0]: "tench, Tinca tinca", WNIDS[1]: "goldfish", WNIDS[2]: "great white shark, white shark"}


def meta() -> bytes:
    """The devkit's table of classes, with one that stands above the others."""
    scipy = pytest.importorskip("scipy.io")
    rows = [(number, wnid, WORDS[wnid]) for number, wnid in NUMBERS.items()] + [(1001, "n00015388", "animal")]
    table = np.array([tuple(row) for row in rows], [("ILSVRC2012_ID", object), ("WNID", object), ("words", object)])
    out = io.BytesIO()
    scipy.savemat(out, {"synsets": table[:, None]}, do_compression=True)
    return out.getvalue()


def tar_of(files: dict, mode="w") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return out.getvalue()


TRAIN = {wnid: {f"{wnid}_{k}.JPEG": colour(10 * place + k) for k in range(2)} for place, wnid in enumerate(WNIDS)}
VAL = {f"ILSVRC2012_val_0000000{k}.JPEG": colour(k) for k in (1, 2, 3, 4)}
TRUTH = b"1\n3\n2\n1\n"
DEVKIT = "ILSVRC2012_devkit_t12"


def distributed(folder):
    """The four files of the competition."""
    folder.mkdir(exist_ok=True)
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of({f"{wnid}.tar": tar_of(TRAIN[wnid]) for wnid in WNIDS[::-1]}))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of(dict(reversed(VAL.items()))))
    files = {f"{DEVKIT}/data/meta.mat": meta(), f"{DEVKIT}/data/ILSVRC2012_validation_ground_truth.txt": TRUTH}
    (folder / f"{DEVKIT}.tar.gz").write_bytes(tar_of(files, "w:gz"))


def unpacked(folder):
    """The same as most keep them."""
    for wnid in WNIDS:
        (folder / "train" / wnid).mkdir(parents=True)
        for name, content in TRAIN[wnid].items():
            (folder / "train" / wnid / name).write_bytes(content)
    (folder / "val").mkdir()
    for name, content in VAL.items():
        (folder / "val" / name).write_bytes(content)
    (folder / DEVKIT / "data").mkdir(parents=True)
    (folder / DEVKIT / "data" / "meta.mat").write_bytes(meta())
    (folder / DEVKIT / "data" / "ILSVRC2012_validation_ground_truth.txt").write_bytes(TRUTH)


@pytest.mark.parametrize("layout", [distributed, unpacked])
@pytest.mark.parametrize("workers", [0, 1])
def test_imagenet(tmp_path, layout, workers):
    layout(tmp_path)
    train, test = ImageNet(tmp_path), ImageNet(tmp_path, train=False)
    assert train.classes == test.classes == ["tench", "goldfish", "great white shark"] and train.wnids == WNIDS
    assert contents(train) == [(0, 0), (1, 0), (10, 1), (11, 1), (20, 2), (21, 2)]
    assert contents(test) == [(1, 2), (2, 1), (3, 0), (4, 2)]
    labels = [label for _, batch in DataLoader(test, 3, num_workers=workers) for label in batch.tolist()]
    assert labels == [2, 1, 0, 2] and ImageNet.is_in(tmp_path)


def test_imagenet_in_class_folders(tmp_path):
    """As scripts sort the pictures for validation; names need the devkit, labels do not."""
    for part in ("train", "val"):
        for place, wnid in enumerate(WNIDS):
            fill(tmp_path / part / wnid, x=place)
    assert contents(ImageNet(tmp_path, train=False)) == [(0, 0), (1, 1), (2, 2)]
    assert ImageNet(tmp_path).classes == WNIDS


@pytest.mark.parametrize("layout", [distributed, unpacked])
def test_classes_are_numbered_as_in_training(tmp_path, layout):
    """Also where the pictures for validation are of some classes only; what training does not have is refused."""
    layout(tmp_path)
    val = tmp_path / "val"
    for wnid in WNIDS[1:]:
        fill(val / wnid, x=7)
    for path in val.glob("*.JPEG"):
        path.unlink()
    assert contents(ImageNet(tmp_path, train=False)) == [(7, 1), (7, 2)]
    assert ImageNet(tmp_path, train=False).classes == ImageNet(tmp_path).classes
    fill(val / "n99999999", x=1)
    with pytest.raises(DataError, match="of classes that training does not have: n99999999"):
        ImageNet(tmp_path, train=False)


def test_imagenet_that_lacks_something(tmp_path):
    unpacked(tmp_path)
    data = tmp_path / DEVKIT / "data"
    (data / "ILSVRC2012_validation_ground_truth.txt").write_bytes(TRUTH[:-2])
    with pytest.raises(DataError, match="labels for 3 pictures for validation, there are 4"):
        ImageNet(tmp_path, train=False)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_bytes(b"1\n2\n9\n1\n")
    with pytest.raises(DataError, match="name classes that its meta.mat does not have"):
        ImageNet(tmp_path, train=False)
    (data / "ILSVRC2012_validation_ground_truth.txt").write_bytes(b"one two")
    with pytest.raises(DataError, match="is no list of numbers"):
        ImageNet(tmp_path, train=False)
    (data / "ILSVRC2012_validation_ground_truth.txt").unlink()
    with pytest.raises(DataError, match="the labels for validation are in the devkit"):
        ImageNet(tmp_path, train=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"expected train/, ILSVRC2012_img_train/ or ILSVRC2012_img_train\.tar"):
        ImageNet(tmp_path / "empty")
    with pytest.raises(DataError, match="there is no such folder"):
        ImageNet(tmp_path / "none")


def matlab(*parts: bytes) -> bytes:
    """A MATLAB file of compressed parts."""
    return b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"".join(struct.pack("<II", 15, len(part)) + part for part in parts)


BOMB = zlib.compress(struct.pack("<II", 14, 2**31 - 1) + bytes(200 << 20), 9)
def nested(depth: int) -> bytes:
    """Cells within cells."""
    content = b""
    for _ in range(depth):
        parts = struct.pack("<IIII", 6, 8, 1, 0) + struct.pack("<IIii", 5, 8, 1, 1) + struct.pack("<II", 1, 0) + content
        content = struct.pack("<II", 14, len(parts)) + parts
    return content


METAS = {
    "cells 2,000 deep": matlab() + nested(2000), "cells 2,000 deep, compressed": matlab(zlib.compress(nested(2000))),
    "big-endian": b"MATLAB 5.0 MAT-file".ljust(124) + b"\1\0MI" + struct.pack(">II", 15, len(BOMB)) + BOMB,
    "empty": b"", "text": b"synsets", "header alone": matlab(), "a bomb": matlab(BOMB), "two bombs": matlab(BOMB, BOMB),
    "damaged part": matlab(b"abc"), "an array of 2^31 bytes": matlab(zlib.compress(struct.pack("<II", 14, 2**31 - 1))),
    "a part beyond the end": matlab()[:128] + struct.pack("<II", 15, 2**31 - 1) + b"abc",
    "no part's size": matlab() + b"\x0f\0\0\0",
    "version 7.3": b"MATLAB 7.3 MAT-file".ljust(124) + b"\0\2IM" + b"\x89HDF\r\n\x1a\n",
    **{f"type {kind}": matlab(zlib.compress(struct.pack("<IIII", 14, 64, kind, 2**30) + bytes(48))) for kind in range(10)},
    **{f"class {kind}": matlab(zlib.compress(struct.pack("<IIIIIIIIII", 14, 64, 6, 8, kind, 0, 5, 8, 2**30, 2**30) + bytes(32)))
       for kind in range(1, 13)},
}


@pytest.mark.parametrize("case", METAS)
def test_hostile_tables(tmp_path, case):
    unpacked(tmp_path)
    path = tmp_path / DEVKIT / "data" / "meta.mat"
    path.write_bytes(METAS[case])
    error = read_within_limits(lambda _: ImageNet(tmp_path, train=False), path)
    assert type(error) is DataError and "meta.mat" in str(error), error


def test_tables_as_scipy_writes_them(tmp_path):
    """Numbers of each kind, text, and what is neither; compressed and not."""
    scipy, out = pytest.importorskip("scipy.io"), {}
    rows = np.array([(1, "n01", "a, b", 0.5, [[1, 2]]), (300, "n02", "\u00e9t\u00e9", 2.0, [[3]])],
                    [(name, object) for name in ("number", "wnid", "words", "height", "children")])
    for compressed in (False, True):
        file = io.BytesIO()
        scipy.savemat(file, {"other": np.eye(3), "synsets": rows[:, None]}, do_compression=compressed)
        out[compressed] = read_table(file.getvalue(), "synsets")
    assert out[False] == out[True] == [
        {"number": 1, "wnid": "n01", "words": "a, b", "height": 0.5, "children": None},
        {"number": 300, "wnid": "n02", "words": "\u00e9t\u00e9", "height": 2.0, "children": 3}]
    with pytest.raises(DataError, match="has no table rows"):
        read_table(file.getvalue(), "rows")


def test_class_names():
    names = class_names()
    assert len(names) == 1000 and names[0] == "tench" and names[207] == "golden retriever" and names[999] == "toilet tissue"
    assert all(name and name == name.strip() for name in names)


# Imagenette


def test_unpacking(tmp_path):
    """What leaves the folder, or has a name of other letters, is passed over; parts come whole."""
    files = {"i/train/n01440764/a.JPEG": colour(1), "i/val/n01440764/b.JPEG": colour(2), "i/val/../../../x.JPEG": colour(3),
             "i/val/n01440764/..": b"", "/train/n0/\n.JPEG": b"", "i/other/n01440764/c.JPEG": colour(4), "i/notes.csv": b"text"}
    (tmp_path / "a.tgz").write_bytes(tar_of(files, "w:gz"))
    target = tmp_path / "target"
    target.mkdir()
    unpack([tmp_path / "a.tgz"], target, ("train", "val"))
    found = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert found == ["a.tgz", "target/train/n01440764/a.JPEG", "target/val/n01440764/b.JPEG"]
    pictures = Imagenette(target, train=False)
    assert pictures.classes == ["tench"] and contents(pictures) == [(2, 0)]


def test_unpacking_goes_on_after_an_interruption(tmp_path):
    """A part that is there stays as it is; the other is unpacked."""
    (tmp_path / "a.tgz").write_bytes(tar_of({"i/train/c/a.JPEG": colour(1), "i/val/c/b.JPEG": colour(2)}, "w:gz"))
    fill(tmp_path / "train" / "c", mine=3)
    unpack([tmp_path / "a.tgz"], tmp_path, ("train", "val"))
    assert [path.name for path in (tmp_path / "train" / "c").iterdir()] == ["mine.png"]
    assert [path.name for path in (tmp_path / "val" / "c").iterdir()] == ["b.JPEG"]


def test_an_archive_that_ends_early(tmp_path):
    data = tar_of({f"i/train/n01440764/{k}.JPEG": encoded(noise(seed=k)) for k in range(50)}, "w:gz")
    (tmp_path / "a.tgz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a\.tgz: "):
        unpack([tmp_path / "a.tgz"], tmp_path, ("train",))
    assert [path.name for path in tmp_path.iterdir()] == ["a.tgz"]


def test_real_pictures():
    folder = real_data("imagenette224")
    train, test = Imagenette(folder), Imagenette(folder, train=False)
    assert np.bincount(train.labels).tolist() == [75] * 10 and np.bincount(test.labels).tolist() == [20] * 10
    assert train.classes[0] == "tench" and train[5][0].shape == (3, 224, 224)
    assert len(PackedImages(folder / "imagenette224-jpeg.npz", "val")) == 200
