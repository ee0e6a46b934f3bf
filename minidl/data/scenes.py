"""Scenes of coloured shapes with boxes, masks and keypoints, drawn when they are asked for: detection without data.

A scene depends on a seed and its index alone, and its pixels are the same on every machine: all random numbers come from Philox,
and drawing needs sums, products, quotients and comparisons alone, which IEEE 754 defines to the last bit (no sine, no root).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minidl.data.detection import DetectionDataset, target_of
from minidl.errors import UsageError
from minidl.kernels.shapes import pair
from minidl.random import Generator, derive

TRIES = 8  # at a place for each object; one that fits nowhere is left out
SAMPLES = 3  # for each pixel in each direction, which smooths edges; the middle one decides about the mask
LEAST = 8.0  # half of the larger axis of the smallest shapes, in pixels
MOST_HIDDEN = 0.3  # of a shape behind others
MOST_SHARED = 0.3  # intersection over union of two boxes, so that non-maximum suppression can tell them apart
MUTED, NOISE = (70, 170), 8  # the background's colours; the noise that every pixel gets, in both directions

# Outlines in a shape's own coordinates, x to the right and y down, from -1 to 1.
POLYGONS = {
    "triangle": [(0, -1), (1, 1), (-1, 1)],
    "diamond": [(0, -1), (1, 0), (0, 1), (-1, 0)],
    "cross": [(-.35, -1), (.35, -1), (.35, -.35), (1, -.35), (1, .35), (.35, .35), (.35, 1), (-.35, 1), (-.35, .35), (-1, .35),
              (-1, -.35), (-.35, -.35)],
    "star": [(0, -1), (.25, -.35), (1, -.3), (.4, .15), (.6, 1), (0, .5), (-.6, 1), (-.4, .15), (-1, -.3), (-.25, -.35)],
}
HOLES = {"disc": 0.0, "ring": 0.5}  # the inner radius of round shapes
KEYPOINTS = {"disc": [(0, -1), (1, 0), (0, 1), (-1, 0)], "ring": [(0, -1), (1, 0), (0, 1), (-1, 0)],
             "triangle": [(0, -1), (1, 1), (0, 1), (-1, 1)], "diamond": [(0, -1), (1, 0), (0, 1), (-1, 0)],
             "cross": [(0, -1), (1, 0), (0, 1), (-1, 0)], "star": [(0, -1), (1, -.3), (0, .5), (-1, -.3)]}


class Scenes(DetectionDataset):
    """Shapes of six classes and any colour, from 16 pixels long to 0.6 of the picture, turned by up to 25 degrees, some in
    front of others, on muted backgrounds with blocks and noise.

    Args:
        train: the scenes for training, or those for testing, which are others.
        length: how many; by default 2,000 for training and 500 for testing.
        size: of the pictures, an int or rows and columns, at least 32.
        most: objects in a picture; each has 1 to so many.
        seed: other seeds, other scenes.
        transform: see ``minidl.data.box_transforms``.

    Samples are (image, target), see ``minidl.data.detection``, with masks and four keypoints: where a shape's own axes meet its
    outline on top, right, at the bottom and left. At most 0.3 of a shape is hidden; boxes are the bounds of what is to be seen.

    >>> scenes = Scenes(train=False)
    >>> image, target = scenes[2]
    >>> image.shape, [scenes.classes[label] for label in target["labels"]], target["keypoints"].shape
    ((3, 128, 128), ['diamond', 'triangle'], (2, 4, 3))
    """

    classes = ("disc", "ring", "triangle", "diamond", "cross", "star")
    keypoint_names = ("top", "right", "bottom", "left")
    keypoint_pairs = ((1, 3),)  # which change places in a mirror

    def __init__(self, train=True, length: int | None = None, size=128, most: int = 6, seed: int = 0,
                 transform: Callable | None = None):
        super().__init__(transform)
        self.train, self.size, self.most, self.seed = train, pair(size, "size"), most, seed
        self.length = (2000 if train else 500) if length is None else length
        if min(self.size) < 32 or most < 1 or self.length < 0:
            raise UsageError(f"Scenes needs pictures of at least 32 x 32, at least 1 object and a length of at least 0, got size "
                             f"{self.size}, most {most} and length {self.length}")

    def __len__(self):
        return self.length

    def load(self, index: int) -> tuple[np.ndarray, dict]:
        """A scene and its target; raises IndexError beyond the length."""
        if not 0 <= index < self.length:
            raise IndexError(f"scene {index} of {self.length}")
        generator = derive(self.seed, int(self.train), index)
        canvas, owner = _background(generator, self.size), np.zeros(self.size, np.int64)
        shapes = _arranged(generator, owner, self.most)
        for shape in shapes:
            _paint(canvas, shape)
        noise = generator.integers(-NOISE, NOISE + 1, size=canvas.shape)
        return np.clip(canvas + noise, 0, 255).astype(np.uint8), _target(shapes, owner, index)


class _Shape(NamedTuple):
    """A shape in its place: centre and half-axes in pixels, (x, y), and the cosine and sine of its turn."""

    label: int
    centre: tuple[float, float]
    axes: tuple[float, float]
    turn: tuple[float, float]
    colours: np.ndarray  # (2, 3, 1, 1): at the left and at the right end of it

    @property
    def name(self) -> str:
        return Scenes.classes[self.label]

    @property
    def reach(self) -> tuple[float, float]:
        """How far it may extend from its centre, in x and y."""
        (a, b), (cos, sin) = self.axes, self.turn
        return abs(cos) * a + abs(sin) * b, abs(sin) * a + abs(cos) * b

    def window(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """The rows and columns of a picture of this size that it may touch."""
        x, y = (slice(max(0, int(c - r)), min(n, int(c + r) + 1))
                for c, r, n in zip(self.centre, self.reach, size[::-1], strict=True))
        return y, x

    def own(self, x, y) -> tuple:
        """Places of the picture in the shape's own coordinates."""
        (a, b), (cos, sin), (cx, cy) = self.axes, self.turn, self.centre
        return (cos * (x - cx) + sin * (y - cy)) / a, (cos * (y - cy) - sin * (x - cx)) / b

    def place(self, u: float, v: float) -> tuple[float, float]:
        """A place in the shape's own coordinates, in the picture."""
        (a, b), (cos, sin), (cx, cy) = self.axes, self.turn, self.centre
        return cx + cos * a * u - sin * b * v, cy + sin * a * u + cos * b * v

    def covers(self, x, y) -> np.ndarray:
        """Which places of the picture lie in it."""
        u, v = self.own(x, y)
        if self.name in HOLES:
            radius = u * u + v * v
            return (radius <= 1) & (radius >= HOLES[self.name] ** 2)
        inside, corners = np.zeros(u.shape, bool), POLYGONS[self.name]
        for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
            if y1 != y2:  # a ray to the right crosses this side, or not
                inside ^= ((v < y1) != (v < y2)) & (u < (v - y1) * ((x2 - x1) / (y2 - y1)) + x1)
        return inside


def _arranged(generator: Generator, owner: np.ndarray, most: int) -> list[_Shape]:
    """1 to ``most`` shapes that do not hide each other too much; ``owner`` gets the number of the shape, from 1, that is to be
    seen at each pixel.
    """
    wanted = int(generator.integers(1, most + 1))
    shapes, boxes, areas, visible = [], [], np.zeros(1), np.zeros(1)
    for numbers in generator.uniform(size=(wanted * TRIES, 12)).tolist():
        shape = _proposed(numbers, owner.shape)
        window = shape.window(owner.shape)
        mask = shape.covers(*_places(window, 1))
        box, area = _bounds(mask, window), mask.sum()
        left = visible - np.bincount(owner[window][mask], minlength=len(areas))  # number 0 is the background
        if (left[1:] >= (1 - MOST_HIDDEN) * areas[1:]).all() and all(_iou(box, other) <= MOST_SHARED for other in boxes):
            shapes.append(shape)
            boxes.append(box)
            owner[window][mask] = len(shapes)
            areas, visible = np.append(areas, area), np.append(left, area)
        if len(shapes) == wanted:
            break
    return shapes


def _proposed(numbers: list[float], size: tuple[int, int]) -> _Shape:
    """A shape from uniform numbers, wholly inside of a picture of this size. There are more small ones than large ones."""
    kind, large, narrow, flat, tangent, x, y, order, *levels = numbers
    label = int(kind * len(Scenes.classes))
    half = LEAST + (0.3 * min(size) - LEAST) * large * large
    other = half * (0.7 + 0.3 * narrow)
    t = 0.22 * (2 * tangent - 1)  # of half the angle, since sines are not the same everywhere
    turn = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    if Scenes.classes[label] in HOLES:
        turn = 1.0, 0.0  # a turned disc has no other top
    colours = np.stack([_vivid(order, *levels[:2]), _vivid(order, *levels[2:])])
    shape = _Shape(label, (0, 0), (half, other) if flat < 0.5 else (other, half), turn, colours)
    centre = (reach + (n - 2 * reach) * u for u, n, reach in zip((x, y), size[::-1], shape.reach, strict=True))
    return shape._replace(centre=tuple(centre))


def _vivid(order: float, strength: float, between: float) -> np.ndarray:
    """A colour with one bright and one dark channel, which no background has, (3, 1, 1)."""
    a, b, c = 200 + 55 * strength, 50 * strength, 255 * between
    return np.array([(a, b, c), (a, c, b), (b, a, c), (c, a, b), (b, c, a), (c, b, a)][int(6 * order)])[:, None, None]


def _background(generator: Generator, size: tuple[int, int]) -> np.ndarray:
    """Soft muted clouds, with a few blocks before them: (3, H, W) of float64."""
    low, high = MUTED
    canvas = low + (high - low) * (_clouds(generator, size, 3) + _clouds(generator, size, 9)) / 2
    for x, y, width, height, *colour in generator.uniform(size=(6, 7)).tolist():
        top, left = int(y * size[0]), int(x * size[1])
        rows, columns = slice(top, top + 2 + int(height * size[0] / 3)), slice(left, left + 2 + int(width * size[1] / 3))
        canvas[:, rows, columns] = (canvas[:, rows, columns] + low + (high - low) * np.array(colour)[:, None, None]) / 2
    return canvas


def _clouds(generator: Generator, size: tuple[int, int], cells: int) -> np.ndarray:
    """Random numbers at the corners of ``cells`` x ``cells`` cells, and linear ones between them: (3, H, W) from 0 to 1."""
    values = generator.uniform(size=(3, cells + 1, cells + 1))
    for axis, n in ((1, size[0]), (2, size[1])):
        at = np.arange(n) * cells / n
        before = at.astype(np.int64)
        part = (at - before).reshape((-1, 1) if axis == 1 else (1, -1))
        first, second = values.take(before, axis), values.take(before + 1, axis)
        values = first + (second - first) * part
    return values


def _paint(canvas: np.ndarray, shape: _Shape) -> None:
    """A shape over what is there, with smooth edges, its colour changing from left to right."""
    window = shape.window(canvas.shape[1:])
    rows, columns = (axis.stop - axis.start for axis in window)
    covered = shape.covers(*_places(window, SAMPLES)).reshape(rows, SAMPLES, columns, SAMPLES).sum((1, 3)) / SAMPLES**2
    left, right = shape.colours
    part = (np.clip(shape.own(*_places(window, 1))[0], -1, 1) + 1) / 2
    below = canvas[:, *window]
    canvas[:, *window] = below + (left + (right - left) * part - below) * covered


def _places(window: tuple[slice, slice], samples: int) -> tuple[np.ndarray, np.ndarray]:
    """x and y of ``samples`` places in each direction in each pixel of a window, evenly spread."""
    y, x = ((np.arange(axis.start * samples, axis.stop * samples) + 0.5) / samples for axis in window)
    return x[None, :], y[:, None]


def _bounds(mask: np.ndarray, window: tuple[slice, slice]) -> tuple[int, int, int, int]:
    """The box around a mask of a window."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    y, x = (axis.start for axis in window)
    return x + int(columns[0]), y + int(rows[0]), x + int(columns[-1]) + 1, y + int(rows[-1]) + 1


def _iou(a, b) -> float:
    """Intersection over union of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = max(0, width) * max(0, height)
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def _target(shapes: list[_Shape], owner: np.ndarray, index: int) -> dict:
    """What is known of a scene, of the parts of its shapes that are to be seen."""
    masks = owner == np.arange(1, len(shapes) + 1)[:, None, None]
    whole = slice(0, owner.shape[0]), slice(0, owner.shape[1])
    keypoints = np.zeros((len(shapes), len(Scenes.keypoint_names), 3), np.float32)
    for number, shape in enumerate(shapes, 1):
        for point, at in zip(keypoints[number - 1], KEYPOINTS[shape.name], strict=True):
            x, y = shape.place(*at)
            in_front = owner[min(int(y), owner.shape[0] - 1), min(int(x), owner.shape[1] - 1)] > number
            point[:] = x, y, 1 if in_front else 2
    boxes = [_bounds(mask, whole) for mask in masks]
    return target_of(boxes, [shape.label for shape in shapes], index, masks=masks, keypoints=keypoints)
