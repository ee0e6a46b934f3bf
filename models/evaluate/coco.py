"""Average precision by the rules of COCO, computed by its authors' own library, pycocotools.

Source: https://cocodataset.org/#detection-eval and cocoeval.py there. The mean over the classes, over the overlaps 0.5, 0.55, ...
0.95 from which on a detection belongs to an object, and over 101 recalls, also of small (up to 32 x 32 pixels), medium and large
objects (from 96 x 96) alone; and the mean of the highest recalls with 1, 10 or 100 detections of each class in each image.
"""

import contextlib
import io
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from minidl.data.collate import arrays
from minidl.errors import require
from minidl.models.evaluate.voc import check_pair, pairs

STATS = ("AP", "AP50", "AP75", "AP small", "AP medium", "AP large", "AR1", "AR10", "AR100", "AR small", "AR medium", "AR large")


class COCOResult(NamedTuple):
    """The twelve numbers by their names in ``STATS``, and the AP of each class; NaN where there are no such objects."""

    stats: dict[str, float]
    ap: dict[str, float]


def evaluate_coco(detections: Iterable, targets: Iterable[dict], classes: Sequence[str]) -> COCOResult:
    """COCO's twelve numbers; arguments and errors as of ``minidl.models.evaluate.voc.evaluate_voc``.

    Difficult objects are taken for crowds: any number of detections may lie in them, and do not count. The size of an object is
    that of its mask, ``target["area"]``, where it is known, else that of its box. Raises MissingDependencyError without
    pycocotools.
    """
    library, evaluation = (require(f"pycocotools.{name}", extra="coco") for name in ("coco", "cocoeval"))
    objects, found = [], []
    count = 0
    for image, (detection, target) in enumerate(pairs(detections, targets)):
        boxes, labels, scores, true_boxes, true_labels, difficult = check_pair(image, detection, target, len(classes))
        sizes = np.asarray(arrays(target["area"])) if "area" in target else None
        objects += _entries(image, true_boxes, true_labels, sizes, iscrowd=difficult)
        found += _entries(image, boxes, labels, None, score=scores)
        count += 1
    with contextlib.redirect_stdout(io.StringIO()):  # where the library reports its progress
        run = evaluation.COCOeval(*(_indexed(library, count, len(classes), entries) for entries in (objects, found)), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    precision = run.eval["precision"][:, :, :, 0, -1]  # (overlaps, recalls, classes), of all sizes, with 100 detections
    of_class = {name: _known(precision[:, :, k].mean()) for k, name in enumerate(classes)}
    return COCOResult(dict(zip(STATS, map(_known, run.stats), strict=True)), of_class)


def _entries(image: int, boxes: np.ndarray, labels: np.ndarray, sizes: np.ndarray | None, **more: np.ndarray) -> list[dict]:
    """Annotations as COCO writes them, without their ids."""
    corners, sides = boxes[:, :2].astype(float), boxes[:, 2:].astype(float) - boxes[:, :2]
    sizes = sides.prod(1) if sizes is None else sizes
    columns = {"bbox": np.concatenate([corners, sides], 1), "category_id": labels, "area": sizes, "iscrowd": 0 * labels} | more
    columns = {key: column.tolist() for key, column in columns.items()}
    return [{"image_id": image} | dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _indexed(library, images: int, classes: int, entries: list[dict]):
    """Entries as the library keeps them. Ids begin at 1, since it takes 0 for none."""
    coco = library.COCO()
    coco.dataset = {"images": [{"id": k} for k in range(images)], "categories": [{"id": k} for k in range(classes)],
                    "annotations": [entry | {"id": k} for k, entry in enumerate(entries, 1)]}
    coco.createIndex()
    return coco


def _known(number: float) -> float:
    """The library's -1 stands for no objects."""
    return float("nan") if number < 0 else float(number)
