"""Non-maximum suppression: of boxes that overlap, the best stays. boxes (N, 4) are (x1, y1, x2, y2), float32 or float64.

Two boxes overlap by more than t where intersection > t (a + b - intersection), a and b being their areas. Boxes that are empty,
inverted or hold a NaN overlap nothing. No rounding suppresses a box whose overlap is t exactly.

Source: Felzenszwalb et al., "Object detection with discriminatively trained part-based models" (2010), section 7; Bodla et al.,
"Soft-NMS: improving object detection with one line of code" (2017), section 3.
"""

import numpy as np

from minidl.kernels import namespace


def nms(boxes, threshold):
    """Which boxes stay, bool (N,), if they come in falling order of score: each goes that overlaps one which stays and comes
    before it by more than ``threshold``.
    """
    stay, limit = namespace(boxes).ones(len(boxes), bool), limit_above(threshold, boxes.dtype)
    for i in range(len(boxes)):
        if stay[i]:
            shared, union = _overlap(boxes[i], boxes[i + 1 :])
            stay[i + 1 :] &= ~(shared > limit * union)
    return stay


def limit_above(threshold, dtype):
    """The threshold rounded up, so that products with it are."""
    return np.nextafter(dtype.type(threshold), dtype.type(np.inf))


def soft_nms(boxes, scores, threshold, sigma, least):
    """The boxes in the order in which they are chosen, int64 (M,), and their scores by then (M,).

    Again and again the highest score is chosen, of equal ones the first, and all others sink: to s exp(-IoU² / sigma), or, if
    ``sigma`` is 0, to s (1 - IoU) where IoU > ``threshold``. Those that are not at least ``least``, which is 0 or more, are out.
    """
    xp, scores, chosen, reached = namespace(boxes), scores.copy(), [], []
    while (scores >= least).any():
        best = int(xp.where(scores >= least, scores, -1).argmax())
        chosen.append(best)
        reached.append(float(scores[best]))
        shared, union = _overlap(boxes[best], boxes)
        iou = shared / union
        iou = xp.where(iou > 0, iou, 0)  # NaN becomes 0, too
        scores *= xp.exp(-iou * iou / sigma) if sigma else xp.where(iou > threshold, 1 - iou, 1)
        scores[best] = -1
    return xp.asarray(chosen, dtype=np.int64), xp.asarray(reached, dtype=scores.dtype)


def _overlap(box, boxes):
    """Intersection and union of one box with each of others."""
    xp = namespace(boxes)
    sides = xp.minimum(box[2:], boxes[:, 2:]) - xp.maximum(box[:2], boxes[:, :2])
    shared, area, areas = (xp.maximum(extent, 0).prod(-1) for extent in (sides, box[2:] - box[:2], boxes[:, 2:] - boxes[:, :2]))
    return shared, area + areas - shared
