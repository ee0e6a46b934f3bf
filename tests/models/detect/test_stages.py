"""What the stages of Faster R-CNN see is what the detector computes, in pixels of the picture."""

import math

import numpy as np
import pytest

import minidl
from minidl.data import Scenes
from minidl.models import faster_rcnn_small
from minidl.models.detect.parts.anchors import AnchorGenerator
from minidl.models.detect.parts.backbones import SmallBackbone
from minidl.models.detect.parts.roi_heads import RegionPooling
from minidl.models.detect.parts.rpn import RegionProposalNetwork
from minidl.models.detect.stages import bins_of, picture, stages
from minidl.ops.boxes import box_iou
from minidl.ops.nms import batched_nms

IMAGE = Scenes(length=1, size=(96, 144)).load(0)[0]


@pytest.fixture(scope="module")
def detector():
    minidl.manual_seed(0)
    return faster_rcnn_small(["cat", "dog"], min_size=64, max_size=100)  # the picture gets smaller: boxes must be brought back


def test_stages(detector):
    detector.train()
    seen = stages(detector, IMAGE)
    expected = detector.predict([IMAGE])[0]
    assert detector.training
    for one, other in zip(seen.detections[:3], expected[:3], strict=True):
        np.testing.assert_array_equal(one.numpy(), other.numpy())
    kept = batched_nms(*(seen.candidates[k] for k in (0, 2, 1)), detector.roi_heads.nms_threshold)[:100]
    np.testing.assert_array_equal(np.sort(seen.candidates.scores[kept].numpy()), np.sort(expected.scores.numpy()))
    assert len(seen.candidates.boxes) > len(expected.boxes) > 0
    assert len(seen.anchors) == len(seen.objectness) == 12 * 8 * 12 and 0 <= seen.objectness.min().item() <= 1
    width, height = seen.proposals[:, 2].max().item(), seen.proposals[:, 3].max().item()
    assert 100 < width <= 144.001 and 64 < height <= 96.001 and len(seen.proposals) <= 100
    best = seen.anchors[seen.objectness.argmax().item()].tolist()
    assert best in seen.place.tolist() and len(seen.place) == 12
    overlaps = box_iou(expected.boxes[:1], seen.proposals).numpy()[0]
    assert seen.region.tolist() == seen.proposals[int(overlaps.argmax())].tolist()
    figure = picture(IMAGE, seen, detector.classes)
    assert [axes.get_title() for axes in figure.axes][:2] == ["12 of 1,152 anchors: those around one place",
                                                              "the 100 anchors with the best objectness"]


def test_nothing_is_found_and_nothing_proposed(detector, monkeypatch):
    monkeypatch.setattr(detector.roi_heads, "score_threshold", 1.0)
    seen = stages(detector, IMAGE)
    assert len(seen.detections.boxes) == 0 and seen.region.tolist() == seen.proposals[0].tolist()
    monkeypatch.setattr(detector.rpn, "min_size", 1e6)
    seen = stages(detector, IMAGE)
    assert seen.proposals.shape == (0, 4) and seen.region.tolist() == [0, 0, 0, 0]
    picture(IMAGE, seen, detector.classes)


def test_the_place_is_of_the_map_with_the_best_anchor():
    from minidl.models.detect.stages import _place

    anchors = [minidl.arange(24.0).reshape(6, 4), minidl.arange(16.0).reshape(4, 4) + 100]
    scores = [minidl.tensor([0.1, 0.2, 0.9, 0.1, 0.5, 0.5]), minidl.tensor([0.1, 0.2, 0.3, 0.91])]
    assert _place(anchors, scores, 2).tolist() == anchors[1][2:].tolist()
    assert _place(anchors, [scores[0], scores[1] * 0], 2).tolist() == anchors[0][2:4].tolist()


def test_bins_of_roi_align():
    """Equal parts of the box; one that is smaller than an element of the map is taken for one."""
    sizes, image = [(8, 12)], (64, 96)
    found = bins_of(minidl.tensor([4.0, 8.0, 40.0, 20.0]), RegionPooling(3, sampling=2), sizes, image).numpy()
    wanted = [[4 + 12 * j, 8 + 4 * i, 16 + 12 * j, 12 + 4 * i] for i in range(3) for j in range(3)]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    small = bins_of(minidl.tensor([4.0, 8.0, 5.0, 9.0]), RegionPooling(2, sampling=2), sizes, image).numpy()
    np.testing.assert_allclose(small[-1], [8, 12, 12, 16], rtol=1e-5)


def test_bins_of_roi_pool():
    """A loop over the paper's rounding: edges to whole elements, both ends included, and parts that overlap."""
    stride, size, box = 16, 7, [37.0, 20.0, 219.0, 100.0]
    found = bins_of(minidl.tensor(box), RegionPooling(size), [(10, 20)], (160, 320)).numpy()
    x1, y1, x2, y2 = (math.floor(edge / stride + 0.5) for edge in box)
    k = 0
    for i in range(size):
        for j in range(size):
            edges = []
            for first, last, part, limit in ((x1, x2, j, 20), (y1, y2, i, 10)):
                share = (last - first + 1) / size
                edges.append([min(max(first + edge, 0), limit) * stride
                              for edge in (math.floor(part * share), math.ceil((part + 1) * share))])
            np.testing.assert_array_equal(found[k], [edges[0][0], edges[1][0], edges[0][1], edges[1][1]])
            k += 1
    assert k == len(found)


def test_bins_of_several_maps():
    """A small box is on the first map, a large one on the last: what its bins are rounded to tells."""
    sizes, image = [(64, 64), (32, 32), (16, 16)], (256, 256)
    pooling = RegionPooling(2, maps=3)
    small, large = (bins_of(minidl.tensor(box), pooling, sizes, image).numpy() for box in ([4.0, 4, 27, 27], [4.0, 4, 250, 250]))
    assert (small % 4 == 0).all() and (small % 8 != 0).any() and (large % 16 == 0).all()


def test_several_maps(detector):
    """Each with anchors of its own."""

    class Two(SmallBackbone):
        def forward(self, x):
            y = super().forward(x)[0]
            return [y, y[:, :, ::2, ::2]]

    minidl.manual_seed(1)
    model = faster_rcnn_small(["cat"])
    model.backbone = Two()
    model.rpn = RegionProposalNetwork(128, AnchorGenerator([[16], [48]]), after_nms=(50, 50))
    model.roi_heads.box_roi_pool = RegionPooling(5, sampling=2, maps=2)
    seen = stages(model, IMAGE)
    assert len(seen.anchors) == 3 * (16 * 24 + 8 * 12) and len(seen.place) == 3
    sides = (seen.place[:, 2] - seen.place[:, 0]).numpy() * (seen.place[:, 3] - seen.place[:, 1]).numpy()
    assert len({round(math.sqrt(area) / 10) for area in sides.tolist()}) == 1
