"""Average precision by the rules of PASCAL VOC.

Source: the challenge's devkits, VOCevaldet.m and VOCap.m; M. Everingham et al., "The PASCAL Visual Object Classes (VOC)
Challenge", IJCV 2010, section 4.2. Going through the detections of a class by falling score, each belongs to the object of that
class that it overlaps most, if by at least half (intersection over union). The first detection of an object is true, further ones
and those without an object are false; those of difficult objects do not count, and neither do these objects.

The devkit's boxes name first and last pixels, so that a width is x2 - x1 + 1. Boxes here reach from edge to edge: the same widths
without the 1, hence the same numbers.
"""

import itertools
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from minidl.data.collate import arrays
from minidl.errors import DataError, ShapeError, require
from minidl.ops.boxes import box_iou
from minidl.study.pictures import figure_of
from minidl.tensor import from_numpy

RECALLS = np.arange(0, 1.1, 0.1)  # with the rounding errors that the devkit's have, too
CLASSES_IN_A_COLUMN = 24  # of the legend


class Curve(NamedTuple):
    """One class: precision and recall (D,) after each detection by falling score (D,), which objects there are, and the AP."""

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray
    objects: int
    ap: float


class VOCResult(NamedTuple):
    """Curves by class name; ``ap`` has the average precision of each, NaN where there is no object, ``mean_ap`` the mean of the
    others.
    """

    curves: dict[str, Curve]

    @property
    def ap(self) -> dict[str, float]:
        return {name: curve.ap for name, curve in self.curves.items()}

    @property
    def mean_ap(self) -> float:
        known = [curve.ap for curve in self.curves.values() if curve.objects]
        return float(np.mean(known)) if known else float("nan")


def evaluate_voc(detections: Iterable, targets: Iterable[dict], classes: Sequence[str], iou_threshold: float = 0.5,
                 use_07_metric=False) -> VOCResult:
    """Average precision of each class.

    Args:
        detections: of each image, with ``boxes`` (D, 4), ``labels`` (D,) and ``scores`` (D,), tensors or arrays.
        targets: of the same images in the same order, see ``minidl.data.detection``.
        classes: their names, in the order of the labels.
        iou_threshold: from which overlap on a detection belongs to an object.
        use_07_metric: the mean precision at the recalls 0, 0.1, ... 1, as in the challenges up to 2009, in place of the area
            under the curve. In both, precision is the highest one at a recall or beyond it.

    Both may be generators. Raises ShapeError where lengths differ, DataError for labels without a class, and for scores or boxes
    that are NaN.

    >>> from types import SimpleNamespace
    >>> target = {"boxes": np.array([[0, 0, 10, 10.0]]), "labels": np.array([1]), "difficult": np.array([False])}
    >>> boxes = np.array([[0, 0, 10, 9], [0, 0, 9, 9]])
    >>> found = SimpleNamespace(boxes=boxes, labels=np.array([1, 1]), scores=np.array([0.9, 0.5]))
    >>> result = evaluate_voc([found], [target], ["cat", "dog"])
    >>> result.ap, result.mean_ap, result.curves["dog"].precision.tolist()
    ({'cat': nan, 'dog': 1.0}, 1.0, [1.0, 0.5])
    """
    scores, hits, objects = ([[] for _ in classes] for _ in range(3))
    for number, (found, target) in enumerate(pairs(detections, targets)):
        boxes, labels, confidences, true_boxes, true_labels, difficult = check_pair(number, found, target, len(classes))
        for label in np.union1d(labels, true_labels).tolist():
            of_class, true = np.flatnonzero(labels == label), true_labels == label
            order = of_class[np.argsort(-confidences[of_class], kind="stable")]
            counts, right = match(boxes[order], true_boxes[true], difficult[true], iou_threshold)
            scores[label].append(confidences[order][counts])
            hits[label].append(right[counts])
            objects[label].append(int((~difficult[true]).sum()))
    average = eleven_points if use_07_metric else area
    return VOCResult({name: _curve(scores[k], hits[k], sum(objects[k]), average) for k, name in enumerate(classes)})


def match(boxes: np.ndarray, true_boxes: np.ndarray, difficult: np.ndarray, iou_threshold: float) -> tuple:
    """Which of the detections (D, 4) of one class in one image, by falling score, count, and which of them are right: (D,) bool.

    >>> objects = np.array([[0, 0, 10, 10], [20, 0, 30, 10]])
    >>> match(np.array([[0, 0, 10, 8], [0, 0, 10, 10], [20, 0, 30, 10]]), objects, np.array([False, True]), 0.5)
    (array([ True,  True, False]), array([ True, False, False]))
    """
    counts, right = np.ones(len(boxes), bool), np.zeros(len(boxes), bool)
    if len(true_boxes) == 0:
        return counts, right
    overlaps = box_iou(*(from_numpy(each.astype(np.float64)) for each in (boxes, true_boxes))).numpy()
    overlaps = np.nan_to_num(overlaps)  # empty boxes overlap nothing
    best, taken = overlaps.argmax(1), np.zeros(len(true_boxes), bool)
    for k in np.flatnonzero(overlaps.max(1) >= iou_threshold):
        if difficult[best[k]]:
            counts[k] = False
        elif not taken[best[k]]:
            right[k] = taken[best[k]] = True
    return counts, right


def area(precision: np.ndarray, recall: np.ndarray) -> float:
    """The area under the curve, in which precision is the largest one at this recall or a higher one.

    >>> area(np.array([1.0, 0.5, 2 / 3]), np.array([0.5, 0.5, 1.0])).round(4)
    np.float64(0.8333)
    """
    highest = np.maximum.accumulate(precision[::-1])[::-1]
    return (np.diff(recall, prepend=0) * highest).sum()


def eleven_points(precision: np.ndarray, recall: np.ndarray) -> float:
    """The mean of the highest precision at the recalls 0, 0.1, ... 1 or higher ones; 0 where no recall is so high.

    >>> eleven_points(np.array([1.0, 0.5, 2 / 3]), np.array([0.5, 0.5, 1.0])).round(4)
    np.float64(0.8485)
    """
    return np.mean([precision[recall >= least].max(initial=0) for least in RECALLS])


def precision_recall(result: VOCResult):
    """A picture of all curves, as a matplotlib figure, with the average precisions in the legend."""
    columns = max(1, -(-len(result.curves) // CLASSES_IN_A_COLUMN))
    figure = figure_of(6 + 1.5 * columns, 5)
    axes, colours = figure.add_subplot(), require("matplotlib", extra="train").colormaps["tab20"]
    for k, (name, curve) in enumerate(result.curves.items()):
        label = f"{name}  {100 * curve.ap:.1f}" if curve.objects else f"{name}  -"
        recall, precision = np.append(0, curve.recall), np.append(curve.precision[:1], curve.precision)
        axes.plot(recall[: len(precision)], precision, color=colours(k % 20), linewidth=1.6, label=label)
    axes.set(xlim=(0, 1.01), ylim=(0, 1.02))
    axes.set_xlabel("recall", fontsize=9)
    axes.set_ylabel("precision", fontsize=9)
    axes.set_title(f"mean average precision {100 * result.mean_ap:.1f} %", loc="left", fontsize=10)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), title="average precision, %",
                title_fontsize=8, ncols=columns)
    return figure


def pairs(detections: Iterable, targets: Iterable):
    """Detections and target of one image after another; raises ShapeError if there are more of one kind."""
    missing = object()
    for number, pair in enumerate(itertools.zip_longest(detections, targets, fillvalue=missing)):
        if missing in pair:
            few, many = ("detections", "targets") if pair[0] is missing else ("targets", "detections")
            raise ShapeError(f"there are {number} {few}, and more {many}: expected one of each for every image")
        yield pair


def check_pair(number: int, found, target: dict, classes: int) -> list[np.ndarray]:
    """Boxes, labels and scores of what was found in an image, boxes, labels and difficulty of what is there, as arrays; raises
    ShapeError or DataError for what they must not be.
    """
    there = [target[key] for key in ("boxes", "labels", "difficult")]
    everything = [np.asarray(part) for part in arrays([found.boxes, found.labels, found.scores, *there])]
    boxes, labels, scores, _, true_labels, _ = everything
    if boxes.shape != (len(labels), 4) or scores.shape != labels.shape or labels.ndim != 1:
        raise ShapeError(f"image {number}: expected boxes (D, 4), labels (D,) and scores (D,), got {boxes.shape}, {labels.shape} "
                         f"and {scores.shape}")
    for what, of in (("a detection", labels), ("an object", true_labels)):
        if of.size and not 0 <= of.min() <= of.max() < classes:
            raise DataError(f"image {number}: {what} has a label that is not from 0 to {classes - 1}")
    if np.isnan(scores).any() or np.isnan(boxes).any():
        raise DataError(f"image {number}: a score or a box of a detection is NaN")
    return everything


def _curve(scores: list, hits: list, objects: int, average) -> Curve:
    """From what was found of one class in each image."""
    scores, hits = (np.concatenate([np.zeros(0, kind), *parts]) for kind, parts in ((np.float64, scores), (bool, hits)))
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    precision = right / np.arange(1, len(right) + 1)
    recall = right / objects if objects else np.full(len(right), np.nan)
    return Curve(precision, recall, scores[order], objects, float(average(precision, recall)) if objects else float("nan"))
