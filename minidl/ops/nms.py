"""Non-maximum suppression: of boxes that overlap, the one with the best score stays. Nothing here has a gradient.

Scores are taken in falling order; of equal ones the lower index is first, and NaN is last. Boxes are (N, 4) as (x1, y1, x2, y2).
"""

from minidl.device import check_same_device
from minidl.errors import ShapeError
from minidl.kernels import kernel, namespace
from minidl.kernels.half import widened
from minidl.ops.boxes import check_boxes
from minidl.ops.cast import as_floating
from minidl.tensor import Tensor, astensor, wrap


def _arrays(name, boxes, scores, iou_threshold):
    """The boxes as an array of at least float32, and the scores; checked."""
    boxes, scores = as_floating(check_boxes(boxes, name, ndim=2)), as_floating(scores)
    if scores.shape != boxes.shape[:1]:
        raise ShapeError(f"{name} needs a score for each box: boxes {boxes.shape}, scores {scores.shape}")
    if not 0 <= iou_threshold <= 1:
        raise ValueError(f"{name} needs an iou_threshold from 0 to 1, got {iou_threshold}")
    check_same_device(name, boxes, scores)
    return widened(boxes.array), widened(scores.array)


def _falling(scores):
    """Indices in falling order of score."""
    return namespace(scores).argsort(-scores, kind="stable")


def nms(boxes, scores, iou_threshold) -> Tensor:
    """The indices (int64) of the boxes that stay, in falling order of score.

    A box goes if it overlaps one that stays and has a better score by an IoU above ``iou_threshold``; at exactly that it stays.
    Boxes that are empty, inverted or hold a NaN suppress nothing.

    Raises ShapeError for boxes other than (N, 4) or scores other than (N,), ValueError for a threshold outside [0, 1]. Source:
    Felzenszwalb et al., "Object detection with discriminatively trained part-based models" (2010), section 7.

    >>> import minidl
    >>> boxes = minidl.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 5.0], [8.0, 8.0, 9.0, 9.0]])
    >>> nms(boxes, minidl.tensor([0.5, 0.9, 0.7]), 0.5)
    tensor([1, 2])
    """
    boxes, scores = _arrays("nms", boxes, scores, iou_threshold)
    order = _falling(scores)
    return wrap(order[kernel("nms", boxes)(boxes[order], iou_threshold)])


def batched_nms(boxes, scores, idxs, iou_threshold) -> Tensor:
    """``nms`` among boxes of the same category alone: ``idxs`` (N,) are integers that name classes, images or levels.

    Each category is computed by itself, so that coordinates of any size stay exact. Raises as ``nms``, and ShapeError for
    ``idxs`` other than (N,).

    >>> import minidl
    >>> boxes = minidl.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 5.0], [0.0, 0.0, 4.0, 4.0]])
    >>> batched_nms(boxes, minidl.tensor([0.5, 0.9, 0.7]), minidl.tensor([1, 1, 2]), 0.5)
    tensor([1, 2])
    """
    boxes, scores = _arrays("batched_nms", boxes, scores, iou_threshold)
    idxs = astensor(idxs)
    if idxs.shape != scores.shape:
        raise ShapeError(f"batched_nms needs a category for each box: {len(boxes)} boxes, idxs {idxs.shape}")
    check_same_device("batched_nms", wrap(boxes), idxs)
    xp, order = namespace(boxes), _falling(scores)
    groups = idxs.array[order]
    by_group = xp.argsort(groups, kind="stable")  # places in the order, category by category
    groups = groups[by_group]
    edges = [0, *((groups[1:] != groups[:-1]).nonzero()[0] + 1).tolist(), len(groups)]
    stay = xp.zeros(len(boxes), bool)
    for first, last in zip(edges[:-1], edges[1:], strict=True):
        members = by_group[first:last]
        stay[members] = kernel("nms", boxes)(boxes[order[members]], iou_threshold)
    return wrap(order[stay])


def soft_nms(boxes, scores, iou_threshold=0.3, *, method="linear", sigma=0.5, score_threshold=0.001) -> tuple[Tensor, Tensor]:
    """The indices (int64) of boxes in the order in which they are chosen, and their scores by then: overlap costs score instead
    of life.

    Each time the best box is chosen, every other sinks by its IoU with it: to s (1 - IoU) where that is above ``iou_threshold``
    with ``method="linear"``, to s exp(-IoU² / sigma) with ``method="gaussian"``. Boxes below ``score_threshold`` are out.
    Those on a GPU are copied to the CPU and computed there.

    Raises as ``nms``, and ValueError for an unknown method, a ``sigma`` that is not positive or a negative ``score_threshold``.
    Source: Bodla et al., "Soft-NMS: improving object detection with one line of code" (2017), eq. 2 and 3, with its defaults.

    >>> import minidl
    >>> boxes = minidl.tensor([[0.0, 0.0, 4.0, 4.0], [0.0, 0.0, 4.0, 5.0], [8.0, 8.0, 9.0, 9.0]])
    >>> soft_nms(boxes, minidl.tensor([0.5, 0.9, 0.7]))
    (tensor([1, 2, 0]), tensor([0.9, 0.7, 0.1]))
    """
    if method not in ("linear", "gaussian"):
        raise ValueError(f"soft_nms knows the methods 'linear' and 'gaussian', got {method!r}")
    if not (sigma > 0 and score_threshold >= 0):
        raise ValueError(f"soft_nms needs a positive sigma and a score_threshold of 0 or more, got {sigma} and {score_threshold}")
    dtype = as_floating(scores).dtype
    boxes, scores = _arrays("soft_nms", boxes, scores, iou_threshold)
    width = 0.0 if method == "linear" else sigma
    order, reached = kernel("soft_nms", boxes)(boxes, scores.astype(boxes.dtype), iou_threshold, width, score_threshold)
    return wrap(order), wrap(reached.astype(dtype))
