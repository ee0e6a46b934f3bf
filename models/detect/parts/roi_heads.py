"""What looks at each region: features of one size for all, two layers, and then a class and a better box.

    feature maps, proposals -> regions (K, C, P, P) -> head -> features (K, F) -> class logits (K, 1 + classes), 0 is background
                                                                               -> offsets (K, 4 (1 + classes)), for each class

Sources: Girshick, "Fast R-CNN" (2015), section 2; for several feature maps Lin et al., "Feature pyramid networks for object
detection" (2017), section 4.2. Names of parameters are torchvision's.
"""

import math

import numpy as np

from minidl import nn
from minidl.models.detect.parts.coder import BoxCoder
from minidl.models.detect.parts.detections import Detections, best
from minidl.models.detect.parts.inputs import Batch, rescaled
from minidl.models.detect.parts.matcher import BalancedSampler, Matcher, with_objects
from minidl.models.detect.parts.rpn import draw
from minidl.ops.boxes import box_area, clip_boxes_to_image
from minidl.ops.cross_entropy import cross_entropy
from minidl.ops.gather import nonzero
from minidl.ops.join import cat
from minidl.ops.loss import smooth_l1_loss
from minidl.ops.roi import roi_align, roi_pool
from minidl.ops.softmax import softmax
from minidl.tape import no_grad
from minidl.tensor import Tensor

CANONICAL_SIZE, CANONICAL_LEVEL = 224, 4  # a box of ImageNet's size goes to the map at 1/16


class RegionPooling(nn.Module):
    """The features of each region at one size: maps (N, C, H, W) and boxes (L, 4) of each picture -> (K, C, P, P).

    Args:
        size: P.
        sampling: samples along a bin, for RoIAlign; None for RoIPool.
        maps: how many, each half as large as the one before. Of several, a box goes to the one in which it is about as large as
            ImageNet's pictures are at 1/16: k = floor(4 + log2(sqrt(area) / 224)), a map that is not there being replaced by the
            next. More maps may be given; they are left alone.
    """

    def __init__(self, size: int, sampling: int | None = None, maps: int = 1):
        super().__init__()
        self.size, self.sampling, self.maps = size, sampling, maps

    def forward(self, features: list[Tensor], boxes: list[Tensor], image_size: tuple[int, int]) -> Tensor:
        scales = [2.0 ** round(math.log2(x.shape[2] / image_size[0])) for x in features[: self.maps]]
        if self.maps == 1:
            return self._pooled(features[0], boxes, scales[0])
        levels = [self.levels(of_picture, scales) for of_picture in boxes]
        parts = []
        for k, (x, scale) in enumerate(zip(features[: self.maps], scales, strict=True)):
            of_level = [each[nonzero(level == k, as_tuple=True)[0]] for each, level in zip(boxes, levels, strict=True)]
            parts.append(self._pooled(x, of_level, scale))
        order = cat(levels).argsort(stable=True)  # of the parts: level by level, in each picture by picture
        return cat(parts)[order.argsort()]

    @no_grad()
    def levels(self, boxes: Tensor, scales: list[float]) -> Tensor:
        """Which of the maps each box belongs to, int64 (L,)."""
        low, high = (-round(math.log2(scale)) for scale in (scales[0], scales[-1]))
        level = (CANONICAL_LEVEL + (box_area(boxes).sqrt() / CANONICAL_SIZE).log2() + 1e-6).floor()
        return level.clamp(low, high).long() - low

    def _pooled(self, x: Tensor, boxes: list[Tensor], scale: float) -> Tensor:
        if self.sampling is None:
            return roi_pool(x, boxes, self.size, scale)
        return roi_align(x, boxes, self.size, scale, self.sampling)


class TwoMLPHead(nn.Module):
    """Regions (K, C, P, P) -> two linear layers with ReLU, and dropout if any -> (K, F)."""

    def __init__(self, fc6: nn.Linear, fc7: nn.Linear, dropout: float = 0.0):
        super().__init__()
        self.fc6, self.fc7, self.dropout = fc6, fc7, nn.Dropout(dropout)

    @classmethod
    def new(cls, channels: int, size: int, width: int = 1024) -> "TwoMLPHead":
        """One that is yet to learn, for regions (K, channels, size, size)."""
        return cls(nn.Linear(channels * size * size, width), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.dropout(self.fc6(x.flatten(1)).relu())
        return self.dropout(self.fc7(x).relu())


class BoxPredictor(nn.Module):
    """Features (K, F) -> class logits (K, 1 + classes), of which the first is the background's, and offsets (K, 4 (1 + classes)).

    Weights are drawn from N(0, 0.01), those of the offsets from N(0, 0.001), as in Fast R-CNN.
    """

    def __init__(self, features: int, classes: int):
        super().__init__()
        self.cls_score, self.bbox_pred = nn.Linear(features, 1 + classes), nn.Linear(features, 4 * (1 + classes))
        draw(self, nn.Linear)
        nn.init.normal_(self.bbox_pred.weight, 0, 0.001)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.cls_score(x), self.bbox_pred(x)


class RoIHeads(nn.Module):
    """Detections from feature maps and proposals, and in training the two losses that teach it.

    Args:
        pooling, head: from maps and boxes to features (K, F), see ``RegionPooling`` and ``TwoMLPHead``.
        predictor: see ``BoxPredictor``.
        samples: proposals of a picture in the losses, a quarter of them with an object, as far as there are any.
        background_from: the least overlap (IoU) of a proposal that is taken for background; Fast R-CNN's 0.1 leaves out the easy
            ones.
        beta: of smooth-L1: 1 in the papers, 1/9 in torchvision.
        score_threshold, nms_threshold, most: of the detections in a picture: the least score, the most overlap of two of the same
            class, and how many.

    A proposal belongs to the object that it overlaps by at least 0.5. Offsets are scaled by (10, 10, 5, 5).
    """

    def __init__(self, pooling: nn.Module, head: nn.Module, predictor: nn.Module, *, samples: int = 128, background_from=0.0,
                 beta=1.0, score_threshold=0.05, nms_threshold=0.3, most: int = 100):
        super().__init__()
        self.box_roi_pool, self.box_head, self.box_predictor = pooling, head, predictor
        self.coder, self.sampler = BoxCoder((10.0, 10.0, 5.0, 5.0)), BalancedSampler(samples, 0.25)
        self.matcher, self.beta = Matcher(0.5, 0.5, least=background_from), beta
        self.score_threshold, self.nms_threshold, self.most = score_threshold, nms_threshold, most

    def forward(self, features: list[Tensor], proposals: list[Tensor], batch: Batch) -> tuple[Tensor, Tensor]:
        """Class logits (K, 1 + classes) and offsets (K, 1 + classes, 4) of the proposals (L, 4) of all pictures."""
        logits, offsets = self.box_predictor(self.box_head(self.box_roi_pool(features, proposals, batch.size)))
        return logits, offsets.reshape(*logits.shape, 4)

    def losses(self, features: list[Tensor], proposals: list[Tensor], batch: Batch, targets: list[dict]) -> dict[str, Tensor]:
        """"loss_classifier" and "loss_box_reg", means over the chosen proposals. Objects count as proposals, too."""
        chosen, labels, wanted = [], [], []
        for boxes, target in zip(with_objects(proposals, targets), targets, strict=True):
            matched = self.matcher(target["boxes"], boxes)
            positive, negative = self.sampler(matched)
            of = matched[positive]
            chosen.append(boxes[cat([positive, negative])])
            labels.append(cat([target["labels"][of] + 1, negative * 0]))
            wanted.append(self.coder.encode(target["boxes"][of], boxes[positive]))
        logits, offsets = self(features, chosen, batch)
        labels, wanted = cat(labels), cat(wanted)
        rows = nonzero(labels > 0, as_tuple=True)[0]
        count = max(len(labels), 1)  # none, where all proposals are too far from objects
        errors = smooth_l1_loss(offsets[rows, labels[rows]], wanted, beta=self.beta, reduction="sum")
        return {"loss_classifier": cross_entropy(logits, labels, reduction="sum") / count, "loss_box_reg": errors / count}

    @no_grad()
    def detect(self, features: list[Tensor], proposals: list[Tensor], batch: Batch) -> list[Detections]:
        """What is in each picture, in pixels of the original."""
        logits, offsets = self(features, proposals, batch)
        ends = np.cumsum([len(boxes) for boxes in proposals])
        found = []
        for boxes, end, *sizes in zip(proposals, ends.tolist(), batch.sizes, batch.originals, strict=True):
            rows = slice(end - len(boxes), end)
            found.append(self._detections(boxes, logits[rows], offsets[rows], *sizes))
        return found

    def _detections(self, proposals, logits, offsets, size, original) -> Detections:
        """Of one picture."""
        boxes = clip_boxes_to_image(self.coder.decode(offsets[:, 1:], proposals[:, None]), size)
        found = best(boxes, softmax(logits, 1)[:, 1:], self.score_threshold, self.nms_threshold, self.most)
        return found._replace(boxes=rescaled(found.boxes, size, original))
