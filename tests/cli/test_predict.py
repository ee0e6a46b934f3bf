"""predict: pictures of any kind, from the shipped network or a run of one's own."""

import struct
import zlib

import numpy as np
import pytest

import minidl
from minidl.cli import main
from minidl.cli.predict import prepare
from minidl.data import MNIST, Digits, digits, pictures
from minidl.errors import DataError
from minidl.models import lenet5
from tests.data.real import real_data

Image = pytest.importorskip("PIL.Image")


def as_pictures(count):
    """The first test digits as grey pictures of 96x96, black on white, with their labels."""
    images, labels = digits.load()
    images, labels = images[-digits.TEST :][:count], labels[-digits.TEST :][:count]
    large = digits.enlarge(images, 64) / 16
    return [255 - np.pad(255 * image, 16).astype(np.uint8) for image in large], labels


def answers(capsys, *arguments):
    assert main(["predict", *map(str, arguments)]) == 0
    return [line.split(": ")[1].split()[0] for line in capsys.readouterr().out.splitlines()]


def test_reads_the_digits(tmp_path, capsys):
    """60 test digits as PNG: at least 95 % right, as their network's test accuracy of 97 % suggests."""
    images, labels = as_pictures(60)
    paths = [tmp_path / f"{n}.png" for n in range(60)]
    for path, image in zip(paths, images, strict=True):
        Image.fromarray(image).save(path)
    found = answers(capsys, *paths)
    assert np.mean([int(guess) == label for guess, label in zip(found, labels, strict=True)]) >= 0.95


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "webp", "ppm"])
def test_kinds_colours_sizes(tmp_path, capsys, kind):
    """One digit in every format: dark on light, light on dark, coloured, transparent, wide, tall, huge, tiny."""
    images, labels = as_pictures(12)
    prints = {"plain": lambda i: i, "inverted": lambda i: i.point(lambda v: 255 - v), "small": lambda i: i.resize((20, 20)),
              "pale": lambda i: i.point(lambda v: 140 + v // 4), "large": lambda i: i.resize((1500, 1500)),
              "coloured": lambda i: Image.merge("RGB", (i, i.point(lambda v: 200), i)),
              "wide": lambda i: Image.fromarray(np.pad(np.asarray(i), ((0, 0), (200, 90)), constant_values=255))}
    if kind in ("png", "webp"):
        prints["transparent"] = lambda i: Image.merge("LA", (i.point(lambda v: 0), i.point(lambda v: 255 - v)))
    paths, expected = [], []
    for name, change in prints.items():
        for n in (0, 3, 4, 6, 8):
            path = tmp_path / f"{name}{n}.{kind}"
            change(Image.fromarray(images[n])).save(path)
            paths.append(path)
            expected.append(str(labels[n]))
    found = answers(capsys, *paths)
    wrong = [(path.name, guess, label) for path, guess, label in zip(paths, found, expected, strict=True) if guess != label]
    assert len(wrong) <= len(paths) * 0.05, wrong


def test_what_is_printed(tmp_path, capsys):
    images, labels = as_pictures(1)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png")]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"{tmp_path / 'a.png'}: {labels[0]}  ") and out.count(" %") == 3 and len(out.splitlines()) == 1


def test_a_run_of_ones_own(tmp_path, capsys):
    assert main(["train", "lenet", "--epochs", "1", "--batch-size", "256", "--out", str(tmp_path / "run")]) == 0
    capsys.readouterr()
    Image.fromarray(as_pictures(1)[0][0]).save(tmp_path / "a.png")
    assert len(answers(capsys, tmp_path / "a.png", "--run", tmp_path / "run")) == 1


def test_reads_another_hand():
    """MNIST's writers are not those of the training images, and 85 % of theirs are read (78 % without equal strokes)."""
    test = MNIST(real_data("mnist"), train=False)
    images = [pictures.as_uci(pictures.find_ink(1 - image / np.float32(255))) for image in test.images[:1000, 0]]
    inputs = (digits.enlarge(np.stack(images), 28)[:, None] - np.float32(Digits.mean)) / np.float32(Digits.std)
    model = lenet5("digits").eval()
    with minidl.no_grad():
        found = model(minidl.tensor(inputs)).numpy().argmax(1)
    assert (found == test.labels[:1000]).mean() > 0.82


def test_mnist_form():
    """20 pixels in the longer direction, the centre of mass in the middle."""
    ink = np.zeros((80, 40), np.float32)
    ink[:, 10:] = 1
    image = pictures.as_mnist(ink)
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    assert len(rows) == 20 and rows[0] == 4 and image.max() == 1
    assert abs((image.sum(0) @ np.arange(28)) / image.sum() - 13.5) <= 0.5
    assert len(columns) == 8  # 30 of 40 columns, and a quarter of the size


def test_uci_form():
    """Rings of any thickness come out in that of UCI's digits; a bar stays narrow, in the middle."""
    distance = np.hypot(*np.ogrid[-40:41, -40:41])
    for thickness in (4, 8, 16):
        ring = ((distance < 40) & (distance > 40 - thickness)).astype(np.float32)
        image = pictures.as_uci(ring)
        assert abs(image.mean() - pictures.COVERED) < 0.01 and 0 <= image.min() and image.max() <= 1
        assert image[2:6, 3:5].mean() < 0.25  # the hole stays open
    bar = pictures.as_uci(np.ones((60, 6), np.float32))
    assert bar.shape == (8, 8) and bar[:, :3].sum() == bar[:, 5:].sum() == 0


def test_an_empty_page(tmp_path, capsys):
    """No ink is no error: the network says what it says to nothing."""
    for name, value in (("white", 255), ("black", 0)):
        Image.new("L", (30, 50), value).save(tmp_path / f"{name}.png")
        for data in ("digits", "mnist"):
            assert np.isfinite(prepare(tmp_path / f"{name}.png", {"model": "lenet", "data": data})).all()
    Image.new("L", (1, 1)).save(tmp_path / "one.png")
    assert len(answers(capsys, tmp_path / "white.png", tmp_path / "one.png")) == 2


def png(width, height) -> bytes:
    """A PNG that claims a size and holds next to nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
            + struct.pack(">I", 4) + b"IDATabcd" + struct.pack(">I", zlib.crc32(b"IDATabcd")))


@pytest.mark.parametrize("content", [b"", b"text", b"%PDF-1.4", b"%!PS-Adobe-3.0 EPSF", png(10, 10), png(60_000, 60_000),
                                     png(9000, 9000), png(0, 10), b"GIF89a", b"P6 10 10 255\n123"])
def test_what_is_no_picture(tmp_path, capsys, content):
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.png: "):
        pictures.read_grey(tmp_path / "a.png")
    assert main(["predict", str(tmp_path / "a.png")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_truncated_picture(tmp_path):
    Image.fromarray(as_pictures(1)[0][0]).save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    with pytest.raises(DataError, match="not a picture that can be read"):
        pictures.read_grey(tmp_path / "a.png")


def test_rotation_by_exif(tmp_path):
    """A phone's picture that lies on its side is turned as viewers turn it."""
    image = Image.fromarray(np.tile(np.arange(0, 250, 10, dtype=np.uint8), (40, 1)))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert pictures.read_grey(tmp_path / "a.png").shape == (25, 40)
