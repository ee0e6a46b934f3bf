"""What each stage of Faster R-CNN sees in one picture: anchors, proposals, the bins of a region, boxes before and after NMS."""

import copy
import math
from typing import NamedTuple

import numpy as np

from minidl.kernels.rois import sampled_bins, whole_bins
from minidl.models.detect.faster_rcnn import FasterRCNN
from minidl.models.detect.parts.detections import Detections
from minidl.models.detect.parts.inputs import rescaled
from minidl.models.detect.parts.roi_heads import RegionPooling
from minidl.models.detect.pictures import show
from minidl.nn.utils import device_of, preserved
from minidl.ops.boxes import box_iou
from minidl.ops.join import cat
from minidl.study.pictures import figure_of
from minidl.tape import no_grad
from minidl.tensor import Tensor, from_numpy

BEST_ANCHORS, BEST_PROPOSALS = 100, 50  # that are drawn


class Stages(NamedTuple):
    """All boxes are in pixels of the picture as it was given.

    ``anchors`` (A, 4), and their ``objectness`` (A,) from 0 to 1; ``place`` (A', 4): those around the place of the best one.
    ``proposals`` (P, 4), the best first. ``candidates``: every class of every proposal whose score is above the threshold,
    before suppression, and ``detections`` after it. ``region`` (4,): the proposal that the best detection overlaps most;
    ``bins`` (B, 4): its parts, each of which becomes one element for the head.
    """

    anchors: Tensor
    objectness: Tensor
    place: Tensor
    proposals: Tensor
    candidates: Detections
    detections: Detections
    region: Tensor
    bins: Tensor


def stages(detector: FasterRCNN, image) -> Stages:
    """What happens to a picture (3, H, W) on its way to detections; the detector stays in its mode.

    >>> from minidl.data import Scenes
    >>> from minidl.models import faster_rcnn_small
    >>> seen = stages(faster_rcnn_small(Scenes.classes), Scenes()[0][0])
    >>> seen.place.shape, seen.anchors.shape, seen.bins.shape, len(seen.candidates.boxes) >= len(seen.detections.boxes)
    ((12, 4), (3072, 4), (25, 4), True)
    """
    with preserved(detector), no_grad():
        detector.eval()
        batch = detector.inputs([image], device_of(detector))
        features = detector.backbone(batch.images)
        sizes = [x.shape[2:] for x in features]
        anchors = detector.rpn.anchors(batch.size, sizes, batch.images.device)
        scores = [x.permute(0, 2, 3, 1).reshape(-1).sigmoid() for x in detector.rpn.head(features)[0]]
        proposals, _ = detector.rpn(features, batch)
        everything = copy.copy(detector.roi_heads)
        everything.nms_threshold, everything.most = 1.0, len(proposals[0]) * len(detector.classes)
        candidates, detections = (heads.detect(features, proposals, batch)[0] for heads in (everything, detector.roi_heads))
        back = batch.sizes[0], batch.originals[0]
        region = _region(rescaled(proposals[0], *back), detections)
        bins = bins_of(rescaled(region, *reversed(back)), detector.roi_heads.box_roi_pool, sizes, batch.size)
        place = _place(anchors, scores, detector.rpn.anchors.per_place)
        return Stages(rescaled(cat(anchors), *back), cat(scores), rescaled(place, *back), rescaled(proposals[0], *back),
                      candidates, detections, region, rescaled(bins, *back))


def bins_of(box: Tensor, pooling: RegionPooling, sizes: list[tuple[int, int]], image_size: tuple[int, int]) -> Tensor:
    """The parts (P · P, 4) of a box (4,), in its pixels, that become one element each; feature maps have ``sizes``, those of the
    batch ``image_size``. RoIPool rounds them to whole elements of the map, RoIAlign does not.

    >>> bins_of(Tensor(np.array([4.0, 0, 60, 32], np.float32)), RegionPooling(2), [(4, 8)], (64, 128)).tolist()
    [[0.0, 0.0, 48.0, 32.0], [32.0, 0.0, 80.0, 32.0], [0.0, 16.0, 48.0, 48.0], [32.0, 16.0, 80.0, 48.0]]
    """
    scales = [2.0 ** round(math.log2(size[0] / image_size[0])) for size in sizes[: pooling.maps]]
    level = pooling.levels(box[None], scales).item() if pooling.maps > 1 else 0
    x1, y1, x2, y2 = box.cpu().numpy()[:, None]
    rows, columns = (_edges(low, high, scales[level], size, pooling)
                     for low, high, size in ((y1, y2, sizes[level][0]), (x1, x2, sizes[level][1])))
    found = [[left, top, right, bottom] for top, bottom in rows for left, right in columns]
    return from_numpy(np.array(found, np.float32)).to(box.device)


def picture(image, seen: Stages, classes):
    """Six views of a picture, in the order of the stages, as a matplotlib figure."""
    figure = figure_of(12, 8)
    grid = figure.subplots(2, 3).ravel()
    best = seen.objectness.argsort(descending=True)[:BEST_ANCHORS]
    show(grid[0], image, seen.place)
    grid[0].set_title(f"{len(seen.place)} of {len(seen.anchors):,} anchors: those around one place")
    show(grid[1], image, seen.anchors[best])
    grid[1].set_title(f"the {len(best)} anchors with the best objectness")
    show(grid[2], image, seen.proposals[:BEST_PROPOSALS])
    grid[2].set_title(f"the best {min(BEST_PROPOSALS, len(seen.proposals))} of {len(seen.proposals):,} proposals")
    show(grid[3], image, cat([seen.bins, seen.region[None]]), [0] * len(seen.bins) + [2])
    grid[3].set_title(f"a region, and its {len(seen.bins)} bins")
    show(grid[4], image, seen.candidates.boxes, seen.candidates.labels)
    grid[4].set_title(f"before suppression: {len(seen.candidates.boxes)} boxes, classes by colour")
    show(grid[5], image, *seen.detections[:3], classes)
    grid[5].set_title(f"after it: {len(seen.detections.boxes)} detections")
    for axes in grid:
        axes.title.set_fontsize(10)
    return figure


def _region(proposals: Tensor, detections: Detections) -> Tensor:
    """The proposal that the best detection overlaps most; without detections the best proposal, without these nothing."""
    if not len(proposals):
        return Tensor(np.zeros(4, np.float32)).to(proposals.device)
    if not len(detections.boxes):
        return proposals[0]
    return proposals[box_iou(detections.boxes[:1], proposals)[0].argmax().item()]


def _place(anchors: list[Tensor], scores: list[Tensor], per_place: int) -> Tensor:
    """The anchors of the place that has the best one, of the map that has it."""
    level = int(np.argmax([score.max().item() for score in scores]))
    start = scores[level].argmax().item() // per_place * per_place
    return anchors[level][start : start + per_place]


def _edges(low, high, scale: float, size: int, pooling: RegionPooling) -> list[tuple[float, float]]:
    """Where the bins along one axis begin and end, in pixels."""
    if pooling.sampling is None:
        bins = whole_bins(low, high, scale, pooling.size, size, last=1)
        starts, stops = bins.starts[0], bins.stops[0]
    else:
        bins = sampled_bins(low, high, scale, pooling.size, pooling.sampling, aligned=False)
        starts = bins.starts[0] + bins.steps[0] * np.arange(pooling.size)
        stops = starts + bins.steps[0]
    return list(zip((starts / scale).tolist(), (stops / scale).tolist(), strict=True))
