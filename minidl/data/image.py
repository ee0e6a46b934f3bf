"""Picture files as arrays, whatever they hold: grey, palette, CMYK, 16 bits, transparent, turned by EXIF."""

import contextlib
import warnings
from io import BytesIO
from pathlib import Path

import numpy as np

from minidl.errors import DataError, require

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
SUFFIXES = (".jpeg", ".jpg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".pgm")
MOST_PIXELS = 64_000_000
# A photograph has a byte for every few pixels. A file that promises far more pixels than that is a decompression bomb.
PIXELS_ALWAYS, PIXELS_A_BYTE = 8_000_000, 8
MOST_SCANS = 100  # of a progressive JPEG, each of which goes over the whole picture; cameras and programs write about ten


def open_image(source, name=None):
    """A picture as Pillow's RGB image, upright, transparent parts white. ``source``: a path, or the bytes of a file; errors call
    it ``name``.

    Raises DataError for a file that is missing, no picture, damaged, truncated, or too large.
    """
    with _opened(source, name) as image:
        return _as_rgb(require("PIL.ImageOps", extra="train").exif_transpose(image))


@contextlib.contextmanager
def _opened(source, name):
    """The picture that Pillow reads from a path or bytes, checked before it is decoded; what goes wrong is a DataError."""
    pillow = require("PIL.Image", extra="train")
    name = source if name is None else name
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about odd metadata, and about sizes that are checked here
            data = source if isinstance(source, bytes) else Path(source).read_bytes()
            with pillow.open(BytesIO(data), formats=FORMATS) as image:
                _check_size(image.width * image.height, len(data), name)
                if data.count(b"\xff\xda") > MOST_SCANS and image.format == "JPEG":
                    raise DataError(f"{name}: a JPEG file of more than {MOST_SCANS} scans, which is not decoded")
                yield image
    except FileNotFoundError:
        raise DataError(f"{name}: there is no such file") from None
    except DataError:
        raise
    except Exception as error:  # hostile files make the decoders raise almost anything
        raise DataError(f"{name}: not a picture that can be read ({', '.join(FORMATS)}): {error}") from None


def read_image(source, name=None) -> np.ndarray:
    """A picture as an array (3, H, W) of uint8, red, green, blue; arguments and errors as of ``open_image``.

    >>> import io, PIL.Image
    >>> file = io.BytesIO()
    >>> PIL.Image.new("L", (3, 2), 200).save(file, "PNG")
    >>> read_image(file.getvalue()).shape
    (3, 2, 3)
    """
    return np.ascontiguousarray(np.asarray(open_image(source, name)).transpose(2, 0, 1))


def read_indices(path) -> np.ndarray:
    """The numbers of a palette picture (H, W), uint8, such as the objects of a segmentation, in place of their colours.

    Raises DataError as ``open_image``, and for a picture that has neither palette nor grey values.
    """
    with _opened(path, None) as image:
        if image.mode not in ("P", "L"):
            raise DataError(f"{path}: expected a picture with a palette, got one of mode {image.mode}")
        return np.asarray(image)


def _check_size(pixels: int, size: int, name) -> None:
    if pixels > MOST_PIXELS:
        raise DataError(f"{name}: {pixels:,} pixels; the limit is {MOST_PIXELS:,}")
    if pixels > PIXELS_ALWAYS + PIXELS_A_BYTE * size:
        raise DataError(f"{name}: {pixels:,} pixels out of {size:,} bytes: more than a photograph has, so it is not decoded")


def _as_rgb(image):
    pillow = require("PIL.Image", extra="train")
    if image.mode.startswith("I;16") or image.mode == "I":
        image = pillow.fromarray((np.asarray(image).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8))  # 65535 is white
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pillow.new("RGB", image.size, "white")
        white.paste(image, mask=image.getchannel("A"))
        return white
    return image.convert("RGB")
