"""Regions of a picture, how alike two of them are, and how they are grouped to ever larger ones.

Source: J. Uijlings et al., "Selective Search for Object Recognition", IJCV 2013, sections 3.1 and 3.2. Of two regions a and b,

    colour  = sum over bins of min(c_a, c_b)        c: histograms of 25 bins a channel, with sum 1
    texture = sum over bins of min(t_a, t_b)        t: histograms of the derivatives in 8 directions, 10 bins each, with sum 1
    size    = 1 - (|a| + |b|) / |image|             small regions are grouped early, everywhere in the picture
    fill    = 1 - (|box of both| - |a| - |b|) / |image|      regions that fit into each other
"""

import heapq
from typing import NamedTuple

import numpy as np

from minidl.models.detect.proposals.segments import filtered, neighbours

COLOUR_BINS, TEXTURE_BINS, DIRECTIONS = 25, 10, 8
MEASURES = "CTSF"  # colour, texture, size, fill


class Regions(NamedTuple):
    """R regions: numbers of pixels (R,), boxes (R, 4), and histograms of colour (R, 25 C) and texture (R, 80 C)."""

    sizes: np.ndarray
    boxes: np.ndarray
    colour: np.ndarray
    texture: np.ndarray


def colour_bins(image: np.ndarray) -> np.ndarray:
    """The bin of each channel, from 0 to 24, of an image with values from 0 to 1: (C, H, W) int64.

    >>> colour_bins(np.array([[[0, 0.05, 1.0]]])).tolist()
    [[[0, 1, 24]]]
    """
    return (image * COLOUR_BINS).astype(np.int64).clip(0, COLOUR_BINS - 1)


def texture_bins(image: np.ndarray) -> np.ndarray:
    """The bin, from 0 to 9, of the Gaussian derivative of each channel in each direction: (8 C, H, W) int64.

    Derivatives have a standard deviation of one pixel; negative ones count as 0, as the opposite direction has them. The last bin
    ends at the largest derivative of a channel.
    """
    offsets = np.arange(-4, 5)
    bell = np.exp(-0.5 * offsets**2)
    bell /= bell.sum()
    along_x, along_y = (filtered(filtered(image, bell, 3 - axis), offsets * bell, axis) for axis in (2, 1))
    bins = []
    for x, y in zip(along_x, along_y, strict=True):
        largest = np.hypot(x, y).max()
        for angle in 2 * np.pi / DIRECTIONS * np.arange(DIRECTIONS):
            derivative = np.cos(angle) * x + np.sin(angle) * y
            bins.append((derivative * (TEXTURE_BINS / (largest or 1))).astype(np.int64).clip(0, TEXTURE_BINS - 1))
    return np.stack(bins)


def describe(labels: np.ndarray, colours: np.ndarray, textures: np.ndarray) -> Regions:
    """The regions of a segmentation (H, W), from the bins of each pixel.

    >>> regions = describe(np.array([[0, 0, 1]]), np.array([[[0, 24, 3]]]), np.zeros((8, 1, 3), int))
    >>> regions.sizes.tolist(), regions.boxes.tolist(), regions.colour[0, [0, 24]].tolist(), regions.texture[0, ::10].sum()
    ([2.0, 1.0], [[0, 0, 2, 1], [2, 0, 3, 1]], [0.5, 0.5], np.float64(1.0))
    """
    sizes = np.bincount(labels.ravel()).astype(float)
    boxes = np.tile([*labels.shape[::-1], 0, 0], (len(sizes), 1))
    y, x = (at.ravel() for at in np.indices(labels.shape))
    for k, (extreme, at) in enumerate(((np.minimum, x), (np.minimum, y), (np.maximum, x + 1), (np.maximum, y + 1))):
        extreme.at(boxes[:, k], labels.ravel(), at)
    return Regions(sizes, boxes, *(_histograms(labels, bins, count, sizes)
                                   for bins, count in ((colours, COLOUR_BINS), (textures, TEXTURE_BINS))))


def _histograms(labels: np.ndarray, bins: np.ndarray, count: int, sizes: np.ndarray) -> np.ndarray:
    """(H, W) and (K, H, W) -> (R, K count), rows with sum 1."""
    start = (labels * count).ravel()
    parts = [np.bincount(start + part.ravel(), minlength=len(sizes) * count).reshape(-1, count) for part in bins]
    return np.concatenate(parts, 1) / (sizes[:, None] * len(bins))


def similarities(regions: Regions, a, b, pixels: int) -> np.ndarray:
    """Colour, texture, size and fill of pairs: regions ``a`` and ``b``, (P,) each, in an image of so many pixels -> (4, P)."""
    both = regions.sizes[a] + regions.sizes[b]
    sides = np.maximum(regions.boxes[a, 2:], regions.boxes[b, 2:]) - np.minimum(regions.boxes[a, :2], regions.boxes[b, :2])
    return np.stack([np.minimum(regions.colour[a], regions.colour[b]).sum(-1),
                     np.minimum(regions.texture[a], regions.texture[b]).sum(-1),
                     1 - both / pixels, 1 - (sides[..., 0] * sides[..., 1] - both) / pixels])


def touching(labels: np.ndarray) -> np.ndarray:
    """The pairs of regions with pixels that are neighbours, also diagonally: (2, P), each pair once, the lower number first.

    >>> touching(np.array([[0, 0, 1], [2, 2, 2]])).tolist()
    [[0, 0, 1], [1, 2, 2]]
    """
    ends, count = neighbours(labels), labels.max() + 1
    ends = np.sort(ends[:, ends[0] != ends[1]], axis=0)
    return np.stack(np.divmod(np.unique(ends[0] * count + ends[1]), count))


def group(regions: Regions, pairs: np.ndarray, measures: str = MEASURES) -> np.ndarray:
    """Group the two most similar neighbours, again and again, until one region is left.

    Args:
        regions: R of them, which together are the image.
        pairs: (2, P), those that are neighbours.
        measures: which similarities are added up: letters of "CTSF".

    Returns the boxes of all regions, (2 R - 1, 4) int64, in the order in which they came to be: the whole image is the last.
    Of pairs that are equally similar, the one that has been there for longer is grouped first.
    """
    count, pixels = len(regions.sizes), int(regions.sizes.sum())
    used = np.array([name in measures for name in MEASURES], float)
    known = Regions(*(np.concatenate([part, np.zeros((count - 1, *part.shape[1:]), part.dtype)]) for part in regions))
    near = {region: set() for region in range(count)}
    for a, b in pairs.T.tolist():
        near[a].add(b)
        near[b].add(a)
    queue = list(zip((-(used @ similarities(known, *pairs, pixels))).tolist(), *pairs.tolist(), strict=True))
    heapq.heapify(queue)
    for new in range(count, 2 * count - 1):
        a = b = None
        while a not in near or b not in near:  # pairs of a region that is part of another by now are left behind
            _, a, b = heapq.heappop(queue)
        _merge(known, a, b, new)
        near[new] = (near.pop(a) | near.pop(b)) - {a, b}
        others = sorted(near[new])
        for other in others:
            near[other] -= {a, b}
            near[other].add(new)
        if others:
            alike = (-(used @ similarities(known, np.array(others), np.array([new]), pixels))).tolist()
            for similarity, other in zip(alike, others, strict=True):
                heapq.heappush(queue, (similarity, other, new))
    return known.boxes


def _merge(regions: Regions, a: int, b: int, new: int) -> None:
    """Region ``new`` becomes the union of two: histograms are means, weighted by size."""
    sizes, boxes, *histograms = regions
    sizes[new] = sizes[a] + sizes[b]
    boxes[new] = [*np.minimum(boxes[a, :2], boxes[b, :2]), *np.maximum(boxes[a, 2:], boxes[b, 2:])]
    for rows in histograms:
        rows[new] = (sizes[a] * rows[a] + sizes[b] * rows[b]) / sizes[new]
