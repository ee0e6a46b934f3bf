"""Pictures of what detectors find, as matplotlib figures."""

from collections.abc import Sequence

import numpy as np

from minidl.data.collate import arrays
from minidl.study.boxes import draw_bounding_boxes
from minidl.study.pictures import figure_of

SIDE = 300  # pixels; smaller pictures are enlarged, since writing in them is not


def beside(samples: Sequence[tuple], found: Sequence, classes: Sequence[str], threshold: float = 0.5):
    """Each picture twice in a row: with the objects of its target, and with what was found from a score of ``threshold`` on.

    ``samples`` are (image, target) of ``minidl.data.detection``, ``found`` the ``Detections`` in each.
    """
    figure = figure_of(8, 3.2 * len(samples) + 0.3)
    grid = figure.subplots(len(samples), 2, squeeze=False)
    for row, (image, target), detections in zip(grid, samples, found, strict=True):
        show(row[0], image, target["boxes"], target["labels"], None, classes)
        show(row[1], image, *above(detections, threshold), classes)
    grid[0, 0].set_title("what is there", fontsize=10)
    grid[0, 1].set_title(f"what was found, from a score of {100 * threshold:.0f} % on", fontsize=10)
    return figure


def above(detections, threshold: float) -> list[np.ndarray]:
    """Boxes, labels and scores of the detections with at least this score.

    >>> from types import SimpleNamespace
    >>> found = SimpleNamespace(boxes=np.ones((2, 4)), labels=np.array([3, 4]), scores=np.array([0.9, 0.3]))
    >>> [part.tolist() for part in above(found, 0.5)]
    [[[1.0, 1.0, 1.0, 1.0]], [3], [0.9]]
    """
    parts = [np.asarray(arrays(part)) for part in (detections.boxes, detections.labels, detections.scores)]
    return [part[parts[2] >= threshold] for part in parts]


def show(axes, *picture) -> None:
    """What ``drawn`` draws, in axes without marks."""
    axes.imshow(drawn(*picture))
    axes.set_axis_off()


def drawn(image, boxes, labels=None, scores=None, classes: Sequence[str] | None = None):
    """A picture with boxes, as ``draw_bounding_boxes`` makes it, but small pictures are enlarged.

    >>> drawn(np.zeros((3, 100, 120), np.uint8), [[10, 10, 20, 20]]).size
    (360, 300)
    """
    image, boxes = pixels(image), np.asarray(arrays(boxes)).reshape(-1, 4)
    times = -(-SIDE // min(image.shape[1:]))
    return draw_bounding_boxes(image.repeat(times, 1).repeat(times, 2), times * boxes, labels, scores, classes)


def pixels(image) -> np.ndarray:
    """A picture (3, H, W) of uint8 or of floating numbers from 0 to 1, as uint8.

    >>> pixels(np.full((3, 1, 1), 0.5, np.float32)).ravel()
    array([128, 128, 128], dtype=uint8)
    """
    image = np.asarray(arrays(image))
    return image if image.dtype == np.uint8 else np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
