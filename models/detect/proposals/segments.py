"""Graph-based segmentation: regions of pixels that differ less inside than they differ from their neighbours.

Source: P. Felzenszwalb and D. Huttenlocher, "Efficient Graph-Based Image Segmentation", IJCV 2004. Pixels are the nodes of a
graph, each joined to its eight neighbours by edges that weigh how far apart their colours are. Going through the edges by rising
weight w, two segments A and B become one if w is less than both

    Int(A) + k / |A|    and    Int(B) + k / |B|,

where Int is the heaviest edge by which a segment grew, and |A| its number of pixels. Large k gives large segments.
"""

import numpy as np

from minidl.data.collate import arrays
from minidl.errors import DataError, DtypeError, ShapeError, UsageError
from minidl.kernels import kernel

TRUNCATE = 4  # standard deviations, after which a Gaussian is taken as zero


def felzenszwalb(image, scale: float = 1, sigma: float = 0.8, min_size: int = 20) -> np.ndarray:
    """The segment of each pixel, (H, W) int64, numbered from 0 by their first pixels in reading order.

    Args:
        image: (C, H, W) or (H, W), array or tensor: uint8, or floating point where 0 to 1 is the range of a channel.
        scale: the paper's k, for channels from 0 to 255.
        sigma: of the Gaussian by which the image is smoothed before, in pixels.
        min_size: segments of fewer pixels join a neighbour.

    Names and results are those of scikit-image's function. Edges of equal weight follow each other as they do in the image: down,
    right, and both diagonals.

    Raises ShapeError, DtypeError, DataError for pixels that are not finite, UsageError for a negative scale, sigma or size.

    >>> image = np.zeros((4, 6), np.uint8)
    >>> image[:, 3:] = 200
    >>> felzenszwalb(image, scale=50, sigma=0, min_size=1)[0]
    array([0, 0, 0, 1, 1, 1])
    """
    if min(scale, sigma, min_size) < 0 or not np.isfinite([scale, sigma, min_size]).all():
        raise UsageError(f"expected scale, sigma and min_size of at least 0, got {scale}, {sigma} and {min_size}")
    return Graph(smooth(unit_range(image), sigma)).segments(scale / 255, min_size)


class Graph:
    """Pixels, and the edges between neighbours by rising weight, of an image (C, H, W): segmented once or several times."""

    def __init__(self, image: np.ndarray):
        self.shape = image.shape[1:]
        ends = neighbours(np.arange(image[0].size).reshape(self.shape))
        weights = np.concatenate([np.sqrt(((a - b) ** 2).sum(0)).ravel() for a, b in pairs(image)])
        order = np.argsort(weights, kind="stable")
        self.weights, self.first, self.second = weights[order], ends[0][order], ends[1][order]

    def segments(self, k: float, min_size: int) -> np.ndarray:
        """As ``felzenszwalb``, with k in units of the image."""
        join = kernel("join_edges", self.weights)
        roots = join(self.weights, self.first, self.second, self.shape[0] * self.shape[1], k, min_size)
        return np.unique(roots, return_inverse=True)[1].reshape(self.shape)


def pairs(image: np.ndarray):
    """Views of an image (..., H, W) and of what lies below, to the right, and diagonally below and above of it."""
    yield image[..., 1:, :], image[..., :-1, :]
    yield image[..., :, 1:], image[..., :, :-1]
    yield image[..., 1:, 1:], image[..., :-1, :-1]
    yield image[..., :-1, 1:], image[..., 1:, :-1]


def neighbours(labels: np.ndarray) -> np.ndarray:
    """The labels (H, W) at both ends of each edge, (2, E).

    >>> neighbours(np.array([[0, 1], [2, 3]])).tolist()
    [[2, 3, 1, 3, 3, 1], [0, 1, 0, 2, 0, 2]]
    """
    return np.stack([np.concatenate([part.ravel() for part in side]) for side in zip(*pairs(labels), strict=True)])


def unit_range(image) -> np.ndarray:
    """An image as float64 (C, H, W), where 0 to 1 is the range of a channel; raises for what is none."""
    image = np.asarray(arrays(image))
    image = image[None] if image.ndim == 2 else image
    if image.ndim != 3 or image.size == 0:
        raise ShapeError(f"expected an image (C, H, W) or (H, W) with pixels in it, got {image.shape}")
    if image.dtype == np.uint8:
        return image / 255
    if not np.issubdtype(image.dtype, np.floating):
        raise DtypeError(f"expected pixels as uint8, or as floating point from 0 to 1, got {image.dtype}")
    if not np.isfinite(image).all():
        raise DataError("the image has pixels that are NaN or infinite")
    return image.astype(np.float64)


def smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    """An image (C, H, W) smoothed by a Gaussian along both of its last axes; it goes on beyond its edges as in a mirror.

    >>> smooth(np.array([[[0.0, 1, 0]]]), 0.5).round(3).tolist()
    [[[0.107, 0.787, 0.107]]]
    """
    radius = int(TRUNCATE * sigma + 0.5)
    if radius == 0:
        return image
    bell = np.exp(-0.5 / sigma**2 * np.arange(-radius, radius + 1) ** 2)
    return filtered(filtered(image, bell / bell.sum(), 1), bell / bell.sum(), 2)


def filtered(image: np.ndarray, weights: np.ndarray, axis: int) -> np.ndarray:
    """sum over d of weights[d + R] * image[i + d] along one axis, for 2R + 1 weights that are symmetric, or antisymmetric."""
    radius, size, sign = len(weights) // 2, image.shape[axis], np.sign(weights[0] * weights[-1])
    edges = [(radius, radius) if k == axis else (0, 0) for k in range(image.ndim)]
    wide = np.moveaxis(np.pad(image, edges, mode="symmetric"), axis, 0)
    total = wide[radius : radius + size] * weights[radius]
    for d in range(radius, 0, -1):
        total = total + (wide[radius - d : radius - d + size] + sign * wide[radius + d : radius + d + size]) * weights[radius - d]
    return np.moveaxis(total, 0, axis)
