"""Which object each box of many is responsible for, and which of them a loss looks at."""

from minidl.kernels import namespace
from minidl.ops.boxes import box_iou
from minidl.ops.create import full
from minidl.ops.gather import nonzero
from minidl.ops.join import cat
from minidl.ops.random import randperm
from minidl.tape import no_grad
from minidl.tensor import Tensor, wrap

BACKGROUND, BETWEEN = -1, -2


class Matcher:
    """Each box gets the object it overlaps most, by intersection over union, if that is ``high`` or more.

    Boxes below ``low`` are background, those between the two are neither. With ``low_quality`` the boxes that overlap an object
    more than all others do, ties included, get the object that they overlap most, however little it is: no object is left out
    that a box overlaps at all. (In torchvision one that no box overlaps makes all boxes without overlap positive.)
    Boxes that overlap none by ``least`` are too easy to be background, and neither as well.

    Source: Ren et al., "Faster R-CNN" (2015), section 3.1.2.

    >>> import minidl
    >>> objects = minidl.tensor([[0.0, 0.0, 10.0, 10.0]])
    >>> boxes = minidl.tensor([[0.0, 0.0, 10.0, 9.0], [0.0, 0.0, 10.0, 5.0], [20.0, 0.0, 30.0, 10.0]])
    >>> Matcher(high=0.7, low=0.3)(objects, boxes)
    tensor([ 0, -2, -1])
    """

    def __init__(self, high: float, low: float, low_quality: bool = False, least: float = 0.0):
        self.high, self.low, self.low_quality, self.least = high, low, low_quality, least

    @no_grad()
    def __call__(self, objects, boxes) -> Tensor:
        """For objects (L, 4) and boxes (N, 4) of one image the object of each box, int64 (N,): -1 background, -2 neither."""
        if len(objects) == 0:
            return full((len(boxes),), BETWEEN if self.least else BACKGROUND, device=boxes.device)
        iou = box_iou(objects, boxes).array
        iou = namespace(iou).nan_to_num(iou)  # two empty boxes overlap by 0 / 0: not at all
        best, found = iou.max(0), iou.argmax(0)
        matched = found.copy()
        matched[best < self.high] = BETWEEN
        matched[best < self.low] = BACKGROUND
        matched[best < self.least] = BETWEEN
        if self.low_quality and matched.size:
            closest = ((iou > 0) & (iou == iou.max(1, keepdims=True))).any(0)
            matched[closest] = found[closest]
        return wrap(matched)


class BalancedSampler:
    """So many boxes of an image for a loss, ``positive_fraction`` of them with an object, as far as there are any.

    What is missing of these is filled up with background; where that is short, there are fewer.

    >>> import minidl
    >>> positive, negative = BalancedSampler(4, 0.5)(minidl.tensor([7, -1, -1, -1, -2]))
    >>> positive, negative.shape
    (tensor([0]), (3,))
    """

    def __init__(self, batch_size: int, positive_fraction: float):
        self.batch_size, self.positive_fraction = batch_size, positive_fraction

    def __call__(self, matched: Tensor) -> tuple[Tensor, Tensor]:
        """The indices of those chosen, with an object and of the background, from what ``Matcher`` says of all boxes (N,)."""
        positive = _some(nonzero(matched >= 0, as_tuple=True)[0], int(self.batch_size * self.positive_fraction))
        return positive, _some(nonzero(matched == BACKGROUND, as_tuple=True)[0], self.batch_size - len(positive))


def _some(indices: Tensor, count: int) -> Tensor:
    """So many of them at random, or all if there are not as many."""
    return indices if len(indices) <= count else indices[randperm(len(indices), device=indices.device)[:count]]


def with_objects(proposals: list[Tensor], targets: list[dict]) -> list[Tensor]:
    """The proposals of each image and, behind them, its objects, which are the best proposals at first."""
    return [cat([found, target["boxes"]]) for found, target in zip(proposals, targets, strict=True)]
