"""Non-maximum suppression on the GPU: see nms.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import THREADS, launch, ready
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
