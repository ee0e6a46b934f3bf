"""Boxes drawn onto pictures: what a detector found, or what a data set says is there."""

from collections.abc import Sequence

import numpy as np

from minidl.data.collate import arrays
from minidl.errors import DataError, DtypeError, ShapeError, require

COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#ffe119", "#46f0f0", "#f032e6", "#bcf60c", "#008080")
LIGHT = 150  # of 255, from which on writing is black
LEAST_FONT, FONT, WIDTH = 10, 40, 160  # pixels; parts of the shorter side of a picture


def draw_bounding_boxes(image, boxes, labels=None, scores=None, classes: Sequence[str] | None = None):
    """A copy of a picture with boxes on it, as Pillow's image, which can be saved; notebooks show it.

    Args:
        image: (3, H, W) of uint8, array or tensor.
        boxes: (L, 4), x1, y1, x2, y2 from edge to edge in pixels; parts outside of the picture are left out.
        labels: (L,) ints; each gets a colour of its own, and its name from ``classes``, if there are any.
        scores: (L,) from 0 to 1, written in per cent. Those with the highest come on top.

    Raises DtypeError for pixels that are not uint8, ShapeError for shapes that do not belong together, DataError for boxes that
    are not finite, IndexError for a label without a class.

    >>> picture = draw_bounding_boxes(np.zeros((3, 60, 80), np.uint8), [[10, 20, 50, 55]], [1], [0.9], ["cat", "dog"])
    >>> picture.size, picture.getpixel((10, 55 - 1)), picture.getpixel((30, 40))
    ((80, 60), (60, 180, 75), (0, 0, 0))
    """
    image, boxes = (np.asarray(arrays(part)) for part in (image, boxes))
    boxes = boxes.reshape(-1, 4) if boxes.size == 0 else boxes
    labels = np.zeros(len(boxes), int) if labels is None else np.asarray(arrays(labels), int)
    scores = None if scores is None else np.asarray(arrays(scores))
    _check(image, boxes, labels, scores)
    canvas = require("PIL.Image", extra="train").fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    draw = require("PIL.ImageDraw", extra="train").Draw(canvas)
    short = min(canvas.size)
    font = require("PIL.ImageFont", extra="train").load_default(max(LEAST_FONT, short // FONT))
    for k in range(len(boxes)) if scores is None else np.argsort(scores, kind="stable"):
        text = [] if classes is None else [classes[labels[k]]]
        text += [] if scores is None else [f"{100 * scores[k]:.0f} %"]
        _draw(draw, boxes[k], COLOURS[labels[k] % len(COLOURS)], max(1, short // WIDTH), "  ".join(text), font, canvas.size)
    return canvas


def _draw(draw, box: np.ndarray, colour: str, width: int, text: str, font, size: tuple[int, int]) -> None:
    """One box, and its text above it, or inside at the top where there is no room above."""
    limits = np.array([size, size]).ravel()
    x1, y1, x2, y2 = np.clip(np.round(box), -limits, 2 * limits).astype(int).tolist()
    draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=width)
    if not text:
        return
    left, top, right, bottom = draw.textbbox((0, 0), text, font)
    wide, high = right - left + 4, bottom - top + 4
    x = max(0, min(x1, size[0] - wide))
    y = y1 - high if y1 >= high else max(0, y1)
    draw.rectangle((x, y, x + wide - 1, y + high - 1), fill=colour)
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    dark = 0.3 * red + 0.6 * green + 0.1 * blue < LIGHT
    draw.text((x + 2 - left, y + 2 - top), text, "white" if dark else "black", font)


def _check(image: np.ndarray, boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray | None) -> None:
    if image.dtype != np.uint8:
        raise DtypeError(f"expected the pixels of a picture, uint8, got {image.dtype}")
    if image.ndim != 3 or len(image) != 3 or boxes.shape != (len(boxes), 4):
        raise ShapeError(f"expected an image (3, H, W) and boxes (L, 4), got {image.shape} and {boxes.shape}")
    for name, found in (("labels", labels), ("scores", scores)):
        if found is not None and found.shape != (len(boxes),):
            raise ShapeError(f"expected {name} ({len(boxes)},), one for each box, got {found.shape}")
    if not np.isfinite(boxes).all():
        raise DataError(f"box {np.flatnonzero(~np.isfinite(boxes).all(1))[0]} is not finite")
