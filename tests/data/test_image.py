"""Picture files of every kind as arrays, and hostile ones."""

import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from minidl.data.image import open_image, read_image
from minidl.errors import DataError
from tests.data.pictures import COLOURS, chunk, encoded, noise, png_of
from tests.io.limits import read_within_limits


def hwc(data) -> np.ndarray:
    found = read_image(data, "it")
    assert found.dtype == np.uint8 and found.flags.c_contiguous
    return found.transpose(1, 2, 0)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "WEBP"])
def test_lossless(kind):
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(hwc(encoded(COLOURS, kind, **options)), COLOURS)


def test_jpeg():
    picture = noise()
    assert np.abs(hwc(encoded(picture, "JPEG", quality=95)).astype(int) - picture).mean() < 4


def test_grey_and_two_colours():
    grey = COLOURS[..., 0]
    np.testing.assert_array_equal(hwc(encoded(grey)), np.repeat(grey[..., None], 3, 2))
    two = Image.fromarray(grey).convert("1", dither=Image.Dither.NONE)
    np.testing.assert_array_equal(hwc(encoded(two))[..., 0], np.where(grey > 127, 255, 0))


def test_palette_with_and_without_transparency():
    palette = Image.fromarray(COLOURS).quantize(6)
    np.testing.assert_array_equal(hwc(encoded(palette)), np.asarray(palette.convert("RGB")))
    red = int(np.asarray(palette)[0, 0])
    assert hwc(encoded(palette, transparency=red))[0, 0].tolist() == [255, 255, 255]


def test_transparent_parts_are_white():
    alpha = np.array([[0, 255], [0, 255], [128, 255]], np.uint8)
    found = hwc(encoded(np.dstack([COLOURS, alpha])))
    np.testing.assert_array_equal(found[:, 1], COLOURS[:, 1])
    assert found[0, 0].tolist() == found[1, 0].tolist() == [255, 255, 255] and found[2, 0, 0] in (127, 128)
    both = np.dstack([COLOURS[..., 0], alpha])
    assert hwc(encoded(both))[0, 0].tolist() == [255, 255, 255]


def test_cmyk():
    """As printers have it: no ink is white, all cyan is the opposite of red."""
    ink = np.zeros((8, 16, 4), np.uint8)
    ink[:, 8:, 0] = 255
    found = hwc(encoded(Image.fromarray(ink, "CMYK"), "JPEG", quality=95))
    assert found[4, 2].min() > 245 and found[4, 12, 0] < 10 and found[4, 12, 1:].min() > 245


def test_sixteen_bits():
    """65535 is white, half of it is half as bright: not cut off at 255."""
    deep = np.array([[0, 257 * 100, 65535]], np.uint16)
    np.testing.assert_array_equal(hwc(encoded(deep))[0, :, 0], [0, 100, 255])


@pytest.mark.parametrize("turned", range(1, 9))
def test_rotation_by_exif(turned):
    """Eight ways to hold a camera; the picture always comes upright."""
    moves = {2: (Image.Transpose.FLIP_LEFT_RIGHT,), 3: (Image.Transpose.ROTATE_180,), 4: (Image.Transpose.FLIP_TOP_BOTTOM,),
             5: (Image.Transpose.TRANSPOSE,), 6: (Image.Transpose.ROTATE_90,), 7: (Image.Transpose.TRANSVERSE,),
             8: (Image.Transpose.ROTATE_270,)}
    image = Image.fromarray(COLOURS)
    for move in moves.get(turned, ()):
        image = image.transpose(move)
    exif = Image.Exif()
    exif[0x0112] = turned
    np.testing.assert_array_equal(hwc(encoded(image, exif=exif)), COLOURS)


def test_the_first_of_several_frames():
    frames = [Image.fromarray(np.full((4, 5, 3), value, np.uint8)) for value in (10, 200)]
    assert hwc(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])).max() < 20


def test_from_a_path_and_a_missing_one(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(COLOURS))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").transpose(1, 2, 0), COLOURS)
    with pytest.raises(DataError, match=r"b\.png: there is no such file"):
        read_image(tmp_path / "b.png")


def test_no_warnings(recwarn):
    """Odd metadata are Pillow's concern, not the user's."""
    exif = b"Exif\0\0II*\0\xff\xff\xff\xff"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_image(encoded(COLOURS, "JPEG", exif=exif))
        open_image(encoded(Image.fromarray(COLOURS).quantize(4), transparency=bytes([0, 255])))


PROGRESSIVE = encoded(noise(), "JPEG", progressive=True)
JPEG, PNG, GIF = encoded(noise(), "JPEG"), encoded(noise()), encoded(noise(), "GIF")
WEBP, BMP, PPM = encoded(noise(), "WEBP"), encoded(noise(), "BMP"), encoded(noise(), "PPM")
ZEROS = zlib.compress(bytes(9000 * 9001))
HOSTILE = {
    "empty": b"", "one byte": b"\xff", "text": b"no picture", "html": b"<html><img></html>", "pdf": b"%PDF-1.4 ...",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
    "a python pickle": b"\x80\x02cos\nsystem\n(U\x02lst.", "tiff": encoded(COLOURS, "TIFF"), "icon": encoded(noise(16, 16),
    "ICO"),
    "60,000 x 60,000 pixels": png_of(60_000, 60_000), "2^31 - 1 pixels wide": png_of(2**31 - 1, 1),
    "9000 x 9000 of zeros": png_of(9000, 9000, ZEROS),
    "5000 x 5000 of zeros": png_of(5000, 5000, zlib.compress(bytes(5000 * 5001))),
    "scan upon scan": PROGRESSIVE[: PROGRESSIVE.rindex(b"\xff\xda")]
    + 200 * PROGRESSIVE[PROGRESSIVE.rindex(b"\xff\xda") : -2] + b"\xff\xd9",
    "8000 x 8000 and zeros behind": png_of(8000, 8000, zlib.compress(bytes(8000 * 8001), 9)) + bytes(2_000_000),
    "no pixels": png_of(0, 0), "no width": png_of(0, 10), "no data": png_of(10, 10),
    "data that is no zlib": png_of(10, 10, b"abc"), "a depth of 3 bits": png_of(4, 4, zlib.compress(bytes(20)), depth=3),
    "a colour type of 9": png_of(4, 4, colour=9),
    "a text chunk that unfolds": png_of(4, 4, more=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "a profile that unfolds": png_of(4, 4, more=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(10**8)))),
    "a chunk longer than the file": PNG[:33] + struct.pack(">I", 2**31 - 1) + PNG[37:60],
    "a wrong checksum": PNG[:29] + b"abcd" + PNG[33:],
    "jpeg: 65,535 x 65,535": JPEG.replace(struct.pack(">HH", 24, 32), b"\xff\xff\xff\xff"),
    "jpeg: no tables": JPEG[:20] + JPEG[-30:], "jpeg: only markers": b"\xff\xd8" + b"\xff\xe0\0\x02" * 1000,
    "gif: 65,535 x 65,535": GIF[:6] + b"\xff\xff\xff\xff" + GIF[10:], "gif: header alone": GIF[:13],
    "webp: header alone": WEBP[:30], "webp: a length of 2^32 - 1": WEBP[:4] + b"\xff" * 4 + WEBP[8:20],
    "bmp: header alone": BMP[:54], "bmp: -2^31 pixels": BMP[:18] + struct.pack("<ii", -(2**31), 8) + BMP[26:],
    "bmp: data beyond the end": BMP[:10] + struct.pack("<I", 2**31) + BMP[14:],
    "ppm: header alone": b"P6 10 10 255\n", "ppm: huge": b"P6 99999999 99999999 255\n", "ppm: no number": b"P6 a b c\n",
    "ppm: a maximum of 0": b"P6 2 2 0\n" + bytes(12), "ppm: long number": b"P6 " + b"9" * 10_000 + b" 1 255\n",
    **{f"{name} cut at {at}": data[:at] for name, data in {"jpeg": JPEG, "png": PNG, "ppm": PPM, "bmp": BMP}.items()
       for at in (4, len(data) // 4, len(data) // 2)},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_pictures(tmp_path, case):
    path = tmp_path / "a.jpg"
    path.write_bytes(HOSTILE[case])
    error = read_within_limits(read_image, path)
    assert type(error) is DataError and str(path) in str(error), error
    assert len(str(error).splitlines()) == 1


def test_every_changed_byte(tmp_path):
    """A picture, or one typed error."""
    rng = np.random.default_rng(0)
    for data in (JPEG, PNG, GIF, WEBP, BMP):
        for at in rng.integers(0, min(len(data), 700), 150):
            changed = data[:at] + bytes([data[at] ^ int(rng.integers(1, 256))]) + data[at + 1 :]
            try:
                found = read_image(changed, "it")
            except DataError:
                continue
            assert found.ndim == 3 and len(found) == 3
