"""Selective Search: the boxes of regions that are grouped in several ways, as objects differ in what holds them together.

Source: J. Uijlings, K. van de Sande, T. Gevers and A. Smeulders, "Selective Search for Object Recognition", IJCV 2013.
Where the paper leaves it open: histograms of texture end at the largest derivative of a channel; regions are neighbours that
touch at a corner, too, as pixels are in the segmentation.
"""

from typing import NamedTuple

import numpy as np

from minidl.errors import ShapeError, UsageError
from minidl.models.detect.proposals.colours import COLOURS
from minidl.models.detect.proposals.regions import colour_bins, describe, group, texture_bins, touching
from minidl.models.detect.proposals.segments import Graph, smooth, unit_range
from minidl.random import Generator

SIGMA = 0.8  # pixels, of the Gaussian before segmentation


class Mode(NamedTuple):
    """Each colour space is segmented with each k, and each segmentation grouped by each sum of similarities."""

    colours: tuple[str, ...]
    measures: tuple[str, ...]
    ks: tuple[int, ...]


MODES = {
    "single": Mode(("HSV",), ("CTSF",), (100,)),
    "fast": Mode(("HSV", "Lab"), ("CTSF", "TSF"), (50, 100)),
    "quality": Mode(("HSV", "Lab", "rgI", "H", "I"), ("CTSF", "TSF", "F", "S"), (50, 100, 150, 300)),
}


def selective_search(image, mode: str = "fast", seed: int = 0, min_side: float = 20) -> np.ndarray:
    """Boxes that may hold an object, (N, 4) float32: x1, y1, x2, y2 in pixels, each once, the best first.

    Args:
        image: (3, H, W), (1, H, W) or (H, W), array or tensor: uint8, or floating point from 0 to 1. The published figures are
            of pictures of about 500 pixels; k and ``min_side`` are in pixels.
        mode: "single" (300 boxes or so in the paper), "fast" (2,000) or "quality" (10,000): the paper's table 5.
        seed: of the ranking. Region i of a grouping, counted from the whole image, gets the rank i times a random number
            from 0 to 1, so that large regions tend to be first, but not always.
        min_side: boxes less wide or high are left out, as in R-CNN; 0 keeps all.

    Raises ShapeError, DtypeError, DataError for pixels that are not finite, UsageError for an unknown mode.

    >>> image = np.zeros((3, 60, 80), np.uint8)
    >>> image[0, 20:50, 30:70] = 255
    >>> [30, 20, 70, 50] in selective_search(image).tolist()
    True
    """
    if mode not in MODES:
        raise UsageError(f"unknown mode {mode!r}: choose one of {', '.join(MODES)}")
    rgb = unit_range(image)
    if len(rgb) not in (1, 3):
        raise ShapeError(f"expected an image (3, H, W), (1, H, W) or (H, W), got {np.shape(image)}")
    rgb = np.broadcast_to(rgb, (3, *rgb.shape[1:]))
    boxes = [part[::-1] for part in hierarchies(rgb, MODES[mode])]
    random = Generator(seed)
    ranks = [np.arange(1, len(part) + 1) * random.uniform(size=len(part)) for part in boxes]
    ordered = np.concatenate(boxes)[np.argsort(np.concatenate(ranks), kind="stable")]
    first = np.sort(np.unique(ordered, axis=0, return_index=True)[1])
    found = ordered[first]
    return found[(found[:, 2:] - found[:, :2]).min(1) >= min_side].astype(np.float32)


def hierarchies(rgb: np.ndarray, mode: Mode):
    """The boxes of each grouping in turn, the whole image last."""
    for name in mode.colours:
        image = COLOURS[name](rgb)
        graph, bins = Graph(smooth(image, SIGMA)), (colour_bins(image), texture_bins(image))
        for k in mode.ks:
            labels = graph.segments(k / 255, k)
            regions, pairs = describe(labels, *bins), touching(labels)
            for measures in mode.measures:
                yield group(regions, pairs, measures)
