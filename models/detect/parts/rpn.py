"""The region proposal network: a small window slides over the feature map, and says of each anchor whether an object is there.

    feature map (N, C, H, W) -> conv 3x3 -> objectness (N, A, H, W) and offsets (N, 4A, H, W) of A anchors at each place
                             -> the best boxes, non-maximum suppression -> proposals

Source: Ren, He, Girshick and Sun, "Faster R-CNN: Towards real-time object detection with region proposal networks" (2015),
section 3. Names of parameters, and what is said to be torchvision's, are those of its RegionProposalNetwork.
"""

from minidl import nn
from minidl.models.detect.parts.anchors import AnchorGenerator
from minidl.models.detect.parts.coder import BoxCoder
from minidl.models.detect.parts.inputs import Batch
from minidl.models.detect.parts.matcher import BETWEEN, BalancedSampler, Matcher
from minidl.ops.boxes import clip_boxes_to_image, remove_small_boxes
from minidl.ops.create import full
from minidl.ops.join import cat
from minidl.ops.loss import binary_cross_entropy_with_logits, smooth_l1_loss
from minidl.ops.nms import batched_nms
from minidl.ops.sort import topk
from minidl.tape import no_grad
from minidl.tensor import Tensor, wrap


class RPNHead(nn.Module):
    """For each of several maps x (N, channels, H, W), objectness (N, A, H, W) and offsets (N, 4 A, H, W) of A anchors a place.

    The same weights for all maps, drawn from N(0, 0.01). ``hidden``: maps between the convolutions, by default as many as come
    in.
    """

    def __init__(self, channels: int, anchors: int, hidden: int | None = None):
        super().__init__()
        hidden = hidden or channels
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(channels, hidden, 3, padding=1), nn.ReLU()))
        self.cls_logits, self.bbox_pred = nn.Conv2d(hidden, anchors, 1), nn.Conv2d(hidden, 4 * anchors, 1)
        draw(self, nn.Conv2d)

    def forward(self, features: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        hidden = [self.conv(x) for x in features]
        return [self.cls_logits(x) for x in hidden], [self.bbox_pred(x) for x in hidden]


def draw(model: nn.Module, kind: type) -> None:
    """Weights of all layers of a kind from N(0, 0.01), biases 0."""
    for layer in model.modules():
        if isinstance(layer, kind):
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.zeros_(layer.bias)


class RegionProposalNetwork(nn.Module):
    """Proposals from feature maps, and in training the two losses that teach it.

    Args:
        channels: of the feature maps.
        anchors: see ``AnchorGenerator``.
        hidden: see ``RPNHead``.
        inside_only: train on the anchors alone that lie inside of the picture, as the paper does and torchvision does not.
        before_nms, after_nms: proposals of each map that go into suppression, and of each picture that come out of it, in
            training and in evaluation.
        nms_threshold: of the suppression, map by map.
        min_size: sides of the smallest proposals.

    An anchor is positive from an overlap (IoU) of 0.7 with an object on, or if none overlaps an object more; negative below 0.3.
    256 of a picture, up to half of them positive, count in the losses.
    """

    def __init__(self, channels: int, anchors: AnchorGenerator, hidden: int | None = None, *, inside_only=False,
                 before_nms: tuple[int, int] = (2000, 1000), after_nms: tuple[int, int] = (2000, 1000), nms_threshold=0.7,
                 min_size=1e-3):
        super().__init__()
        self.head = RPNHead(channels, anchors.per_place, hidden)
        self.anchors, self.coder = anchors, BoxCoder()
        self.matcher, self.sampler = Matcher(0.7, 0.3, low_quality=True), BalancedSampler(256, 0.5)
        self.inside_only, self.before_nms, self.after_nms = inside_only, before_nms, after_nms
        self.nms_threshold, self.min_size = nms_threshold, min_size

    def forward(self, features: list[Tensor], batch: Batch, targets: list[dict] | None = None) -> tuple[list[Tensor], dict]:
        """For maps (N, C, H, W) the proposals of each picture, (P, 4) with the best first; with targets also the losses
        "loss_objectness" and "loss_rpn_box_reg". Proposals are constants: the losses behind them do not reach the offsets.
        """
        logits, offsets = self.head(features)
        anchors = self.anchors(batch.size, [x.shape[2:] for x in features], batch.images.device)
        scores, offsets = [_by_place(x, 1).squeeze(-1) for x in logits], [_by_place(x, 4) for x in offsets]
        proposals = self.proposals(scores, offsets, anchors, batch)
        losses = {} if targets is None else self.losses(cat(scores, 1), cat(offsets, 1), cat(anchors), batch, targets)
        return proposals, losses

    @no_grad()
    def proposals(self, scores: list[Tensor], offsets: list[Tensor], anchors: list[Tensor], batch: Batch) -> list[Tensor]:
        """From scores (N, A) and offsets (N, A, 4) of the anchors (A, 4) of each map, the proposals (P, 4) of each picture."""
        before, after = self.before_nms[not self.training], self.after_nms[not self.training]
        found = []
        for picture, size in enumerate(batch.sizes):
            best, boxes = [], []
            for score, offset, anchor in zip(scores, offsets, anchors, strict=True):
                values, places = topk(score[picture].detach(), min(before, len(anchor)))
                best.append(values)
                boxes.append(self.coder.decode(offset[picture].detach()[places], anchor[places]))
            levels = cat([full((len(values),), k, device=values.device) for k, values in enumerate(best)])
            boxes, best = clip_boxes_to_image(cat(boxes), size), cat(best)
            kept = remove_small_boxes(boxes, self.min_size)
            boxes, best, levels = boxes[kept], best[kept], levels[kept]
            found.append(boxes[batched_nms(boxes, best, levels, self.nms_threshold)[:after]])
        return found

    def losses(self, scores: Tensor, offsets: Tensor, anchors: Tensor, batch: Batch, targets: list[dict]) -> dict:
        """For scores (N, A) and offsets (N, A, 4) of all anchors (A, 4). Both losses are means over the chosen anchors, smooth-L1
        with beta 1/9, which is the 3 of its authors' code.
        """
        chosen_scores, truths, errors = [], [], 0.0
        for picture, (target, size) in enumerate(zip(targets, batch.sizes, strict=True)):
            matched = self.assigned(target["boxes"], anchors, size)
            positive, negative = self.sampler(matched)
            chosen = cat([positive, negative])
            chosen_scores.append(scores[picture][chosen])
            truths.append((matched[chosen] >= 0).to(scores.dtype))
            wanted = self.coder.encode(target["boxes"][matched[positive]], anchors[positive])
            errors = smooth_l1_loss(offsets[picture][positive], wanted, beta=1 / 9, reduction="sum") + errors
        chosen_scores, truths = cat(chosen_scores), cat(truths)
        count = max(len(truths), 1)  # none, where no anchor lies inside
        objectness = binary_cross_entropy_with_logits(chosen_scores, truths, reduction="sum")
        return {"loss_objectness": objectness / count, "loss_rpn_box_reg": errors / count}

    @no_grad()
    def assigned(self, objects: Tensor, anchors: Tensor, size: tuple[int, int]) -> Tensor:
        """The object of each anchor, as ``Matcher`` says; in training inside the picture alone, others are neither."""
        if not self.inside_only:
            return self.matcher(objects, anchors)
        edges, (height, width) = anchors.array, size
        inside = ((edges[:, :2] >= 0).all(1) & (edges[:, 2] <= width) & (edges[:, 3] <= height)).nonzero()[0]
        matched = full((len(anchors),), BETWEEN, device=anchors.device)
        matched.array[inside] = self.matcher(objects, anchors[wrap(inside)]).array
        return matched


def _by_place(x: Tensor, numbers: int) -> Tensor:
    """(N, A · numbers, H, W) -> (N, H · W · A, numbers), the order of the anchors."""
    n, channels, height, width = x.shape
    return x.reshape(n, channels // numbers, numbers, height, width).permute(0, 3, 4, 1, 2).reshape(n, -1, numbers)
