"""Detection before deep networks: templates of edges at every place of a picture, in every size.

Source: N. Dalal and B. Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005. The picture is brought to many
sizes and described by its gradients (``minidl.models.detect.parts.hog``). A window slides over each of them, and a linear SVM
says of each place whether it holds an object: w . x + b for the features x of every window, which is one convolution of the
features of the whole picture with the template w.

Where this differs from the paper, which looks for pedestrians: several classes, each with one template or a few; hard negatives
are mined picture by picture as in R-CNN (``minidl.models.detect.parts.svm``); non-maximum suppression in place of mean shift.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from minidl import ops
from minidl.data.collate import arrays
from minidl.data.dataset import Dataset
from minidl.data.transforms import Resize
from minidl.errors import DataError, UsageError
from minidl.models.detect.parts.detections import Detections
from minidl.models.detect.parts.hog import CELL, hog
from minidl.models.detect.parts.svm import HARD, HardNegativeMining, LinearSVM
from minidl.models.detect.proposals.segments import unit_range
from minidl.tensor import from_numpy

MARGIN = 1  # cells around an object that belong to its window, too
NORM = 3  # of a block with edges: then windows have norms of about 20, for which the SVM's hyperparameters are
POSITIVE, NEGATIVE = 0.7, 0.3  # overlaps with an object of the class from which, and below which, a window is one of them
PER_OCTAVE = 4  # sizes of a picture from one to half of it
NMS, MOST = 0.3, 100  # overlap of two detections of a class; detections in a picture


class Level(NamedTuple):
    """The features (36, R, C) of a picture in one size, and how many times larger in x and y it is than the original."""

    features: np.ndarray
    scale: tuple[float, float]

    def windows(self, shape: tuple[int, int]) -> np.ndarray:
        """A view of all windows for objects of ``shape``, rows and columns of cells: (r, c, 36, h, w)."""
        size = [cells + 2 * MARGIN - 1 for cells in shape]
        if any(n < least for n, least in zip(self.features.shape[1:], size, strict=True)):
            return np.zeros((0, 0, len(self.features), *size), np.float32)
        return np.lib.stride_tricks.sliding_window_view(self.features, size, (1, 2)).transpose(1, 2, 0, 3, 4)

    def boxes(self, shape: tuple[int, int]) -> np.ndarray:
        """The box of each window in the original picture, (r, c, 4)."""
        y, x = np.indices(self.windows(shape).shape[:2])
        corners = np.stack([x, y, x + shape[1], y + shape[0]], 2) * CELL
        return (corners / np.array([*self.scale, *self.scale])).astype(np.float32)

    def scores(self, shape: tuple[int, int], svms: Sequence[LinearSVM]) -> np.ndarray:
        """The score of each window by each of the SVMs, (K, r, c)."""
        rows, columns, *size = self.windows(shape).shape
        if not rows:
            return np.zeros((len(svms), rows, columns), np.float32)
        templates = np.stack([svm.weight.reshape(size) for svm in svms])
        biases = np.array([svm.bias for svm in svms], np.float32)
        return ops.conv2d(from_numpy(self.features[None]), from_numpy(templates), from_numpy(biases)).numpy()[0]


def pyramid(image, largest: float, least_side: int) -> Iterator[Level]:
    """A picture from ``largest`` times its size down to ``least_side`` pixels, with room for windows of objects at its edges."""
    image = unit_range(image).astype(np.float32)
    size, scale, room = image.shape[1:], largest, MARGIN * CELL
    while min(size) * scale >= least_side:
        new = [round(n * scale) for n in size]
        resized = Resize(tuple(new))(image[None])[0]
        features = hog(np.pad(resized, [(0, 0)] + [(room, room + -n % CELL) for n in new], "edge"))
        yield Level(np.float32(NORM) * features, (new[1] / size[1], new[0] / size[0]))
        scale /= 2 ** (1 / PER_OCTAVE)


class SlidingWindow:
    """A detector of gradients' histograms and linear SVMs.

    Args:
        shapes: of the templates, (rows, columns) of the object in cells of 8 pixels; each class gets one of each.
        largest: how many times the picture is enlarged at most: 3 makes a template of 6 x 6 cells fit objects of 16 pixels.

    ``fit`` needs the package scikit-learn: ``pip install "minidl[svm]"``; sizes of pictures need Pillow. Once fitted, ``classes``
    are the names of the labels, and ``svms`` has the machine of each label and shape.

    >>> from minidl.data import Scenes
    >>> scenes = Scenes(length=4, size=64, most=1)
    >>> detector = SlidingWindow(shapes=[(4, 4)], largest=2).fit(scenes)
    >>> image, target = scenes[0]
    >>> [found] = detector.predict([image])
    >>> scenes.classes[target["labels"][0]], scenes.classes[found.labels[0].item()]
    ('disc', 'disc')
    """

    def __init__(self, shapes: Sequence[tuple[int, int]] = ((6, 6),), largest: float = 3):
        if not shapes or min(map(min, shapes)) < 1 or not 0 < largest < np.inf:
            raise UsageError(f"expected shapes of at least one cell and a finite largest above 0, got {shapes} and {largest}")
        self.shapes, self.largest = tuple(map(tuple, shapes)), largest
        self.classes: tuple[str, ...] = ()
        self.svms: dict[tuple[int, tuple[int, int]], LinearSVM] = {}

    def fit(self, dataset: Dataset) -> "SlidingWindow":
        """Train on a data set of ``minidl.data.detection``, in two passes: one for the positives, the windows that overlap an
        object by 0.7 or more; one for the negatives, those that overlap every object of the class by less than 0.3. Returns the
        detector itself.

        Difficult objects give no positives. Where no window of a shape overlaps an object of a class so well, this class gets no
        template of that shape; raises DataError if no class gets any.
        """
        positives = defaultdict(list)
        for level, target in self._levels(dataset):
            for shape in self.shapes:
                overlaps, windows = _overlaps(level.boxes(shape), target, ~target["difficult"]), level.windows(shape)
                for label, object_overlaps in overlaps.items():
                    positives[label, shape].append(_features(windows, object_overlaps >= POSITIVE))
        mining = {key: HardNegativeMining(np.concatenate(parts)) for key, parts in positives.items() if any(map(len, parts))}
        if not mining:
            raise DataError(f"no object of the {len(dataset)} pictures fits a window of {self.shapes} cells: give other shapes, "
                            "or another largest")
        for level, target in self._levels(dataset):
            for shape in self.shapes:
                overlaps, windows = _overlaps(level.boxes(shape), target, slice(None)), level.windows(shape)
                for label in [label for label, its_shape in mining if its_shape == shape]:
                    machine = mining[label, shape]
                    negative = overlaps.get(label, np.zeros(windows.shape[:2])) < NEGATIVE
                    if machine.svm is not None:
                        negative &= level.scores(shape, [machine.svm])[0] > HARD
                    machine.add(_features(windows, negative))
        self.classes = tuple(dataset.classes)
        self.svms = {key: machine.fit() for key, machine in mining.items()}
        return self

    def predict(self, images: Sequence, score_threshold: float = -1) -> list[Detections]:
        """What is in each of the pictures (3, H, W): at most 100 boxes whose score, the distance from the SVM's plane in margins,
        is above ``score_threshold``. Raises UsageError before ``fit``.
        """
        if not self.svms:
            raise UsageError("this detector has no templates yet: call fit(dataset) first")
        return [self._predict_one(image, score_threshold) for image in images]

    def _predict_one(self, image, score_threshold: float) -> Detections:
        boxes, labels, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
        for level in pyramid(image, self.largest, self._least_side):
            for shape in self.shapes:
                svms = {label: svm for (label, its_shape), svm in self.svms.items() if its_shape == shape}
                if svms:
                    found = level.scores(shape, list(svms.values()))
                    which, y, x = np.nonzero(found > score_threshold)
                    boxes.append(level.boxes(shape)[y, x])
                    labels.append(np.array(list(svms))[which])
                    scores.append(found[which, y, x])
        boxes, labels, scores = (from_numpy(np.concatenate(parts)) for parts in (boxes, labels, scores))
        boxes = ops.clip_boxes_to_image(boxes, np.shape(image)[-2:])
        kept = ops.batched_nms(boxes, scores, labels, NMS)[:MOST]
        return Detections(boxes[kept], labels[kept], scores[kept])

    @property
    def _least_side(self) -> int:
        """Of a picture in which an object may still fill a window."""
        return CELL * min(map(min, self.shapes))

    def _levels(self, dataset: Dataset) -> Iterator[tuple[Level, dict]]:
        for index in range(len(dataset)):
            image, target = dataset[index]
            for level in pyramid(image, self.largest, self._least_side):
                yield level, arrays(target)


def _features(windows: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The features of the chosen windows, (N, D)."""
    return windows[chosen].reshape(np.count_nonzero(chosen), int(np.prod(windows.shape[2:])))


def _overlaps(boxes: np.ndarray, target: dict, objects) -> dict[int, np.ndarray]:
    """By label, the overlap (r, c) of each box (r, c, 4) with that one of the objects of this class that it overlaps most."""
    labels = target["labels"][objects]
    overlaps = ops.box_iou(from_numpy(boxes.reshape(-1, 4)), from_numpy(target["boxes"][objects])).numpy()
    return {label: overlaps[:, labels == label].max(1).reshape(boxes.shape[:2]) for label in np.unique(labels).tolist()}
