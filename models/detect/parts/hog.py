"""Histograms of oriented gradients: what a picture looks like by its edges, blind to colour and to how bright the light is.

Source: N. Dalal and B. Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005: nine orientations of 20 degrees
without a sign, cells of 8 x 8 pixels, blocks of 2 x 2 cells that overlap by half, normalised by "L2-Hys".
Where this differs: a cell's histogram is the same in all of its blocks, so that it is computed once. So pixels at the edge of a
block weigh as much as others (the paper's Gaussian gains a percent), and vote in cells beyond it, too.
"""

import numpy as np

from minidl.errors import ShapeError
from minidl.models.detect.proposals.segments import unit_range

CELL = 8  # pixels
BINS = 9
CLIP = 0.2  # of a normalised block, so that one strong edge does not outvote all others
LEAST = 0.1  # the norm below which a block counts as flat; noise of one grey level in 256 has less


def hog(image) -> np.ndarray:
    """Features (36, H // 8 - 1, W // 8 - 1) float32 of an image (C, H, W) or (H, W): for each block of 2 x 2 cells the histograms
    of its cells, the upper left, upper right, lower left and lower right one. Bin 0 is of gradients that point to the right, or
    up to 20 degrees further down, or the opposite way.

    Each pixel votes with the gradient of the channel in which it is longest, shared by the two nearest orientations and the four
    nearest cells. Rows and columns beyond the last whole cell are left out. The image is uint8, or floating point from 0 to 1.
    Raises ShapeError, DtypeError, DataError for pixels that are not finite.

    >>> image = np.zeros((16, 24))
    >>> image[7:] = 1  # the gradients point down: 90 degrees
    >>> features = hog(image)
    >>> features.shape, features[:, 0, 0].reshape(4, 9).argmax(1)
    ((36, 1, 2), array([4, 4, 4, 4]))
    """
    return blocks(cells(unit_range(image)))


def cells(image: np.ndarray) -> np.ndarray:
    """The histogram of each cell, (9, H // 8, W // 8) float32."""
    image = image[:, :image.shape[1] // CELL * CELL, :image.shape[2] // CELL * CELL].astype(np.float32)
    if min(image.shape[1:]) < 2 * CELL:
        raise ShapeError(f"expected an image of at least one block, {2 * CELL} x {2 * CELL} pixels")
    x, y = longest_gradients(image)
    at = np.arctan2(y, x) * np.float32(BINS / np.pi) - np.float32(0.5)  # in bins, from the middle of the first
    below = np.floor(at)
    length, part, low = np.sqrt(x * x + y * y), at - below, below.astype(np.int64)
    votes = np.zeros((BINS, *x.shape), np.float32)
    np.put_along_axis(votes, (low % BINS)[None], (length * (1 - part))[None], 0)
    np.put_along_axis(votes, ((low + 1) % BINS)[None], (length * part)[None], 0)
    rows, columns = (tents(size) for size in x.shape)
    return rows @ votes @ columns.T


def longest_gradients(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The derivatives (H, W) to the right and downwards, [-1 0 1], of the channel in which the gradient is longest."""
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), "edge")
    x, y = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    channel = (x * x + y * y).argmax(0)[None]
    return np.take_along_axis(x, channel, 0)[0], np.take_along_axis(y, channel, 0)[0]


def tents(size: int) -> np.ndarray:
    """The share of its vote that each of ``size`` pixels gives to each cell, (size // 8, size): all of it in a cell's middle."""
    at = (np.arange(size) + 0.5) / CELL - 0.5
    return np.maximum(0, 1 - np.abs(at - np.arange(size // CELL)[:, None])).astype(np.float32)


def blocks(histograms: np.ndarray) -> np.ndarray:
    """Blocks of 2 x 2 cells, normalised twice with a limit between (L2-Hys), (36, R - 1, C - 1)."""
    joined = np.concatenate([histograms[:, y:y - 1 or None, x:x - 1 or None] for y in (0, 1) for x in (0, 1)])
    return normalised(np.minimum(normalised(joined), CLIP))


def normalised(block: np.ndarray) -> np.ndarray:
    return block / np.sqrt((block * block).sum(0) + np.float32(LEAST**2))
