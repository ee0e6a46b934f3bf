"""Non-maximum suppression, block by block: the best boxes that are left are compared with each other, those of them that stay
with all others, and what goes is taken out, so that a box that is suppressed early costs little.
"""

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split
from minidl.kernels.portable.nms import limit_above

BLOCK = 256  # boxes that are settled together
TILE = 1024  # boxes that stay in the first-level cache while a block passes over them


def nms(boxes, threshold):
    """As the portable kernel."""
    stay, limit = np.zeros(len(boxes), bool), limit_above(threshold, boxes.dtype)
    edges, places = np.empty((5, len(boxes)), boxes.dtype), np.arange(len(boxes))
    edges[:4] = boxes.T
    edges[4] = np.maximum(edges[2] - edges[0], 0) * np.maximum(edges[3] - edges[1], 0)
    excess, left = np.zeros(len(boxes), boxes.dtype), len(boxes)
    while left:
        block = min(BLOCK, left)
        _settle(edges, block, limit, excess)
        split(_sweep, -(-(left - block) // TILE), block * left, edges, block, left, limit, excess)
        left = _close_ranks(edges, places, block, left, excess, stay)
    return stay


@jit
def _settle(edges, block, limit, excess):
    """Suppress among the first ``block`` boxes."""
    for i in range(block):
        if not excess[i] > 0:
            _suppress(edges, i, i + 1, block, limit, excess)


@jit
def _sweep(start, stop, edges, block, left, limit, excess):
    """Suppress the boxes behind the block, in tiles start to stop, by those in it that stay."""
    for tile in range(start, stop):
        first = block + tile * TILE
        for i in range(block):
            if not excess[i] > 0:
                _suppress(edges, i, first, min(left, first + TILE), limit, excess)


@jit
def _suppress(edges, i, first, last, limit, excess):
    """Raise the excess of those boxes of first to last that overlap box i too much above 0. Numbers instead of bools let the loop
    be vectorized, and so does choosing without min and max, which look for NaN; a NaN is in the area then.
    """
    size, zero = last - first, edges.dtype.type(0)
    x1, y1, x2, y2, area = edges[0, i], edges[1, i], edges[2, i], edges[3, i], edges[4, i]
    left, upper, right, lower = edges[0, first:last], edges[1, first:last], edges[2, first:last], edges[3, first:last]
    areas, worst = edges[4, first:last], excess[first:last]
    for j in range(size):
        width = (x2 if x2 < right[j] else right[j]) - (x1 if x1 > left[j] else left[j])
        height = (y2 if y2 < lower[j] else lower[j]) - (y1 if y1 > upper[j] else upper[j])
        shared = (width if width > zero else zero) * (height if height > zero else zero)
        over = shared - limit * (area + areas[j] - shared)
        worst[j] = over if over > worst[j] else worst[j]


@jit
def _close_ranks(edges, places, block, left, excess, stay):
    """Note which boxes of the block stay; move up those behind it that do so far. Returns how many these are."""
    for i in range(block):
        stay[places[i]] = not excess[i] > 0
    count = 0
    for j in range(block, left):
        if not excess[j] > 0:
            for k in range(5):
                edges[k, count] = edges[k, j]
            places[count] = places[j]
            count += 1
    excess[:count] = 0
    return count


def soft_nms(boxes, scores, threshold, sigma, least):
    """As the portable kernel."""
    order, reached = np.empty(len(boxes), np.int64), np.empty(len(boxes), boxes.dtype)
    count = _soften(ready(boxes), scores.copy(), float(threshold), float(sigma), float(least), order, reached)
    return order[:count], reached[:count]


@jit
def _soften(boxes, scores, threshold, sigma, least, order, reached):
    """Fill ``order`` and ``reached``; returns how many are chosen."""
    left, count = np.arange(len(scores)), 0
    while left.size:
        best = -1
        for place in range(left.size):
            score = scores[left[place]]
            if score >= least and (best < 0 or score > scores[left[best]]):
                best = place
        if best < 0:
            break
        chosen, used = left[best], 0
        order[count], reached[count] = chosen, scores[chosen]
        count += 1
        for place in range(left.size):
            j = left[place]
            if place != best and scores[j] >= least:
                iou = _iou(boxes[chosen], boxes[j])
                if sigma > 0:
                    scores[j] *= np.exp(-iou * iou / sigma)
                elif iou > threshold:
                    scores[j] *= 1 - iou
                left[used] = j
                used += 1
        left = left[:used]
    return count


@jit
def _iou(a, b):
    """Intersection over union of two boxes; 0 where that is NaN."""
    shared = max(min(a[2], b[2]) - max(a[0], b[0]), 0) * max(min(a[3], b[3]) - max(a[1], b[1]), 0)
    iou = shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
    return iou if iou > 0 else 0.0
