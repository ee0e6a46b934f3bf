"""How a head's four numbers mean a box: relative to another box, the anchor."""

import math
from collections.abc import Sequence

from minidl.ops.arithmetic import mul
from minidl.ops.boxes import box_convert, check_boxes
from minidl.ops.choose import clamp
from minidl.ops.elementwise import exp, log
from minidl.ops.join import stack, unbind
from minidl.tensor import Tensor

MOST = math.log(1000 / 16)  # by which a logarithm of a size may grow; Detectron's limit


class BoxCoder:
    """Boxes as offsets from anchors: t = w · ((x - xa) / wa, (y - ya) / ha, log(width / wa), log(height / ha)), of centres.

    ``weights`` bring the four offsets to a common scale: (10, 10, 5, 5) are those of Faster R-CNN's head, in place of targets
    divided by deviations of 0.1 and 0.2. Sizes that are decoded grow at most ``clip`` in their logarithm, so that a wild offset
    does not become an infinite box.

    Source: Girshick et al., "Rich feature hierarchies" (2014), appendix C; Ren et al., "Faster R-CNN" (2015), eq. 2.

    >>> import minidl
    >>> anchors, boxes = minidl.tensor([[0.0, 0.0, 10.0, 20.0]]), minidl.tensor([[1.0, 0.0, 11.0, 40.0]])
    >>> offsets = BoxCoder().encode(boxes, anchors)
    >>> offsets, BoxCoder().decode(offsets, anchors)
    (tensor([[0.1   , 0.5   , 0.    , 0.6931]]), tensor([[ 1.,  0., 11., 40.]]))
    """

    def __init__(self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0), clip: float = MOST):
        self.weights, self.clip = tuple(weights), clip

    def encode(self, boxes, anchors) -> Tensor:
        """Offsets (..., 4) of boxes (..., 4) from anchors (..., 4), which broadcast. Empty boxes or anchors give infinities."""
        x, y, width, height = _centred(boxes)
        xa, ya, wa, ha = _centred(anchors)
        offsets = (x - xa) / wa, (y - ya) / ha, log(width / wa), log(height / ha)
        return stack([mul(offset, weight) for offset, weight in zip(offsets, self.weights, strict=True)], -1)

    def decode(self, offsets, anchors) -> Tensor:
        """Boxes (..., 4) from offsets (..., 4) and anchors (..., 4), which broadcast."""
        dx, dy, dw, dh = (part / weight for part, weight in
                          zip(unbind(check_boxes(offsets, "decode"), -1), self.weights, strict=True))
        xa, ya, wa, ha = _centred(anchors)
        x, y = xa + dx * wa, ya + dy * ha
        half_width, half_height = (0.5 * size * exp(clamp(d, max=self.clip)) for size, d in ((wa, dw), (ha, dh)))
        return stack([x - half_width, y - half_height, x + half_width, y + half_height], -1)


def _centred(boxes) -> tuple[Tensor, ...]:
    """Centre and size."""
    return unbind(box_convert(boxes, "xyxy", "cxcywh"), -1)
