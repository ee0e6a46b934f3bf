"""Non-maximum suppression on the GPU: see nms.cu. The soft one is left to the CPU."""

import numpy as np

from minidl.kernels import kernel, namespace
from minidl.kernels.cuda.launch import THREADS, launch, ready
from minidl.kernels.portable import nms as portable
from minidl.kernels.portable.nms import limit_above

BITS = 32  # as in nms.cu


def nms(boxes, threshold):
    """As the portable kernel."""
    xp, count, words = namespace(boxes), len(boxes), -(-len(boxes) // BITS)
    table, gone, stay = xp.empty((count, words), np.uint32), xp.zeros(words, np.uint32), xp.empty(count, bool)
    limit = float(limit_above(threshold, boxes.dtype))
    launch("nms.compare", count * words, ready(boxes), limit, table, count, words, dtype=boxes.dtype)
    launch("nms.settle", min(count, 1), table, gone, stay, count, words, dtype=boxes.dtype, per_item=THREADS)
    return stay


def soft_nms(boxes, scores, threshold, sigma, least):
    """As the portable kernel, on the CPU: each choice depends on all before it, and a GPU would be waited for at each."""
    if isinstance(boxes, np.ndarray):
        return portable.soft_nms(boxes, scores, threshold, sigma, least)
    boxes, scores, xp = boxes.get(), scores.get(), namespace(boxes)
    order, reached = kernel("soft_nms", boxes)(boxes, scores, threshold, sigma, least)
    return xp.asarray(order), xp.asarray(reached)
