"""Segments drawn onto a picture: what a segmentation sees of it."""

import numpy as np

from minidl.data.collate import arrays
from minidl.errors import DtypeError, ShapeError, require

LINE = (255, 255, 255)


def draw_segments(image, labels):
    """A picture with each segment in its mean colour and white lines between them, as Pillow's image.

    Args:
        image: (3, H, W) of uint8, array or tensor.
        labels: (H, W) ints, the segment of each pixel.

    Raises DtypeError for pixels that are not uint8 or labels that are not ints, ShapeError for shapes that do not fit.

    >>> picture = draw_segments(np.array([[[0, 20, 50]]] * 3, np.uint8), np.array([[0, 0, 1]]))
    >>> picture.getpixel((0, 0)), picture.getpixel((1, 0)), picture.getpixel((2, 0))
    ((10, 10, 10), (255, 255, 255), (50, 50, 50))
    """
    image, labels = np.asarray(arrays(image)), np.asarray(arrays(labels))
    if image.dtype != np.uint8 or not np.issubdtype(labels.dtype, np.integer):
        raise DtypeError(f"expected pixels as uint8 and segments as ints, got {image.dtype} and {labels.dtype}")
    if image.ndim != 3 or len(image) != 3 or labels.shape != image.shape[1:]:
        raise ShapeError(f"expected an image (3, H, W) and segments (H, W), got {image.shape} and {labels.shape}")
    _, owner = np.unique(labels, return_inverse=True)
    size = np.bincount(owner.ravel())
    means = np.stack([np.bincount(owner.ravel(), channel.ravel()) / size for channel in image], 1)
    pixels = means.round().astype(np.uint8)[owner.reshape(labels.shape)]
    line = np.zeros(labels.shape, bool)
    line[:-1] |= labels[1:] != labels[:-1]
    line[:, :-1] |= labels[:, 1:] != labels[:, :-1]
    pixels[line] = LINE
    return require("PIL.Image", extra="train").fromarray(pixels)
