"""What a detector finds in a picture."""

from typing import NamedTuple

from minidl.ops.boxes import remove_small_boxes
from minidl.ops.create import arange
from minidl.ops.gather import nonzero
from minidl.ops.nms import batched_nms
from minidl.tensor import Tensor

LEAST_SIDE = 1e-2  # pixels


class Detections(NamedTuple):
    """The D objects found in one picture, in falling order of score.

    ``boxes`` (D, 4) float32: x1, y1, x2, y2 in pixels of the picture as it was given. ``labels`` (D,) int64: places in the
    detector's ``classes``. ``scores`` (D,) float32 from 0 to 1, unless a detector says otherwise. ``masks`` (D, H, W) and
    ``keypoints`` (D, K, 3) where a detector finds them.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor | None = None
    keypoints: Tensor | None = None


def best(boxes: Tensor, scores: Tensor, score_threshold: float, nms_threshold: float, most: int) -> Detections:
    """The detections among candidates: every class of every proposal is one of its own, with a box (P, classes, 4) and a score
    (P, classes).

    First go those that do not score more than ``score_threshold`` and those without an area, then those that overlap a better
    one of their class by more than ``nms_threshold``, then all but the best ``most``.

    >>> import minidl
    >>> boxes = minidl.tensor([[0.0, 0.0, 8.0, 8.0], [0.0, 0.0, 8.0, 7.0]])[:, None].expand(2, 3, 4)
    >>> best(boxes, minidl.tensor([[0.1, 0.9, 0.6], [0.1, 0.8, 0.7]]), 0.5, 0.3, 100).labels
    tensor([1, 2])
    """
    labels = arange(scores.shape[1], device=scores.device).expand(*scores.shape).reshape(-1)
    boxes, scores = boxes.reshape(-1, 4), scores.reshape(-1)
    kept = nonzero(scores > score_threshold, as_tuple=True)[0]
    kept = kept[remove_small_boxes(boxes[kept], LEAST_SIDE)]
    kept = kept[batched_nms(boxes[kept], scores[kept], labels[kept], nms_threshold)[:most]]
    return Detections(boxes[kept], labels[kept], scores[kept])
