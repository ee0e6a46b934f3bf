"""What a detector finds in a picture."""

from typing import NamedTuple

from minidl.tensor import Tensor


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
