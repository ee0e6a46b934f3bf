"""Handwriting in pictures, brought to the form in which the digits of UCI and MNIST were stored.

Whatever the picture, the digit ends as light ink on a dark ground, cropped to the ink, and of the size and place that the
preparation of its data set gave: in UCI's, 32 pixels high and 20 wide, in strokes of one thickness, then averaged to 8x8; in
MNIST's, 20 pixels in the longer direction, with the centre of mass in the middle of 28x28.
"""

import numpy as np

from minidl.data.image import open_image
from minidl.errors import require

LARGEST = 512  # pixels; larger pictures are reduced, which also takes out the grain of a photograph
INK = 0.35  # of the strongest contrast in the picture: less is paper
NARROW = 0.42  # width over height, below which UCI's preparation left a digit narrow
COVERED = 0.305  # by strokes, the mean of UCI's digits, which in every class lies within 0.01 of it


def read_grey(path) -> np.ndarray:
    """A picture as grey values (H, W) from 0 to 1, float32; transparent parts are white, rotation by EXIF is undone.

    Raises DataError as ``minidl.data.image.open_image`` does.
    """
    image = open_image(path)
    image.thumbnail((LARGEST, LARGEST), require("PIL.Image", extra="train").Resampling.BOX)
    return np.asarray(image.convert("L"), np.float32) / 255


def find_ink(grey: np.ndarray) -> np.ndarray:
    """The ink in a grey picture (H, W), from 0 to 1, cropped to where it is; one pixel of 0 for an empty picture.

    The ground is the median of the border; ink is what differs from it, be it darker or lighter.

    >>> paper = np.ones((5, 6), np.float32); paper[1:4, 2] = 0.2
    >>> find_ink(paper).tolist()
    [[1.0], [1.0], [1.0]]
    """
    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    contrast = grey - np.median(border)
    contrast *= -1 if -contrast.min() > contrast.max() else 1
    strongest = contrast.max()
    if strongest < 0.05:
        return np.zeros((1, 1), np.float32)
    ink = np.clip(contrast / strongest, 0, 1)
    ink[ink < INK] = 0
    rows, columns = (np.flatnonzero(ink.any(axis)) for axis in (1, 0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def as_uci(ink: np.ndarray) -> np.ndarray:
    """Ink as an image (8, 8) from 0 to 1 as in UCI's digits."""
    height, width = ink.shape
    wide = 20 if width > NARROW * height else max(1, round(20 / NARROW * width / height))
    image = np.zeros((32, 32), np.float32)
    left = (32 - wide) // 2
    image[:, left : left + wide] = resize(ink, (32, wide))
    image = _thickened(_smooth(image))  # smooth, so that thin strokes have a shoulder on which they can grow
    return image.reshape(8, 4, 8, 4).mean((1, 3))


def as_mnist(ink: np.ndarray) -> np.ndarray:
    """Ink as an image (28, 28) from 0 to 1 as in MNIST."""
    factor = 20 / max(ink.shape)
    height, width = (max(1, round(side * factor)) for side in ink.shape)
    small = resize(ink, (height, width))
    total = max(float(small.sum()), 1e-6)
    row, column = (small.sum(1) @ np.arange(height)) / total, (small.sum(0) @ np.arange(width)) / total
    top = int(np.clip(round(13.5 - row), 0, 28 - height))
    left = int(np.clip(round(13.5 - column), 0, 28 - width))
    image = np.zeros((28, 28), np.float32)
    image[top : top + height, left : left + width] = small
    return image / max(image.max(), 1e-6)


def resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W) in another size: means of the cells of a grid laid over it.

    >>> resize(np.array([[0.0, 3.0, 6.0]], np.float32), (1, 2)).tolist()
    [[1.0, 5.0]]
    """
    rows, columns = (_shares(old, new) for old, new in zip(image.shape, size, strict=True))
    return rows @ image @ columns.T


def _smooth(image: np.ndarray) -> np.ndarray:
    """Each pixel mixed with its neighbours, 1 : 2 : 1 in both directions, zeros around."""
    padded = np.pad(image, 1)
    rows = padded[:-2] + 2 * padded[1:-1] + padded[2:]
    return (rows[:, :-2] + 2 * rows[:, 1:-1] + rows[:, 2:]) / 16


def _thickened(image: np.ndarray) -> np.ndarray:
    """The image times the factor (by bisection, at most 64) with which it has the mean COVERED when no pixel exceeds 1."""
    low, high = 0.0, 64.0
    for _ in range(20):
        factor = (low + high) / 2
        low, high = (factor, high) if np.minimum(factor * image, 1).mean() < COVERED else (low, factor)
    return np.minimum(np.float32(high) * image, 1)


def _shares(old: int, new: int) -> np.ndarray:
    """(new, old): how much of each old cell lies in each new one; rows add up to 1."""
    edges = np.arange(new + 1) * (old / new)
    overlap = np.minimum(edges[1:, None], np.arange(old) + 1) - np.maximum(edges[:-1, None], np.arange(old))
    return (np.clip(overlap, 0, None) * (new / old)).astype(np.float32)
