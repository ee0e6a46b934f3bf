"""What is particular to Faster and Fast R-CNN: the losses and proposals by loops, constants, published sizes."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import DataError, UsageError
from minidl.models.detect.fast_rcnn import fast_rcnn_small, fast_rcnn_vgg16, truncated
from minidl.models.detect.faster_rcnn import (
    COCO_CLASSES,
    faster_rcnn_resnet50_c4,
    faster_rcnn_resnet50_fpn,
    faster_rcnn_small,
    faster_rcnn_vgg16,
)
from minidl.models.detect.parts.anchors import AnchorGenerator
from minidl.models.detect.parts.inputs import Batch
from minidl.models.detect.parts.matcher import BalancedSampler
from minidl.models.detect.parts.roi_heads import BoxPredictor, RegionPooling, RoIHeads, TwoMLPHead
from minidl.models.detect.parts.rpn import RegionProposalNetwork
from minidl.ops import roi_align, roi_pool

VOC = [str(k) for k in range(20)]


def batch(sizes, height=32, width=48):
    return Batch(minidl.zeros(len(sizes), 3, height, width), sizes, sizes)


def network(**options):
    minidl.manual_seed(0)
    rpn = RegionProposalNetwork(5, AnchorGenerator([[8, 12]], [0.5, 1.0, 2.0]), **options)
    for layer in rpn.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, 0, 0.5)
    return rpn, minidl.randn(2, 5, 4, 6), batch([(32, 48), (24, 40)])


def overlap(a, b):
    shared = max(0.0, min(a[2], b[2]) - max(a[0], b[0])) * max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def test_rpn_losses_by_loops():
    """All anchors count; the order of anchors in the maps is that of the loops here: row, column, ratio, size."""
    rpn, features, pictures = network()
    rpn.sampler = BalancedSampler(10**6, 0.5)
    objects = [[[3.0, 4.0, 14.0, 13.0], [20.0, 10.0, 40.0, 30.0]], []]
    targets = [{"boxes": minidl.tensor(np.array(b, np.float32).reshape(-1, 4)), "labels": minidl.arange(len(b))} for b in objects]
    logits, offsets = (x[0].detach().numpy() for x in rpn.head([features]))
    entropy, errors, count = 0.0, 0.0, 0
    for n in range(2):
        anchors = [(x * 8 + round(-w / 2), y * 8 + round(-h / 2), x * 8 + round(w / 2), y * 8 + round(h / 2))
                   for y in range(4) for x in range(6) for r in (0.5, 1.0, 2.0) for s in (8, 12)
                   for w, h in [(s / math.sqrt(r), s * math.sqrt(r))]]
        table = [[overlap(o, a) for a in anchors] for o in objects[n]]
        for k, anchor in enumerate(anchors):
            place, a = divmod(k, 6)
            y, x = divmod(place, 6)
            column = [row[k] for row in table] or [0.0]
            best = column.index(max(column))
            positive = column[best] >= 0.7 or any(row[k] == max(row) for row in table)
            if not positive and column[best] >= 0.3:
                continue
            count += 1
            logit = logits[n, a, y, x].item()
            entropy += math.log1p(math.exp(-logit if positive else logit))
            if positive:
                (x1, y1, x2, y2), (a1, b1, a2, b2) = objects[n][best], anchor
                wanted = ((x1 + x2 - a1 - a2) / 2 / (a2 - a1), (y1 + y2 - b1 - b2) / 2 / (b2 - b1),
                          math.log((x2 - x1) / (a2 - a1)), math.log((y2 - y1) / (b2 - b1)))
                for d, value in enumerate(wanted):
                    off = abs(offsets[n, 4 * a + d, y, x].item() - value)
                    errors += off - 0.5 / 9 if off >= 1 / 9 else 0.5 * 9 * off * off
    _, found = rpn([features], pictures, targets)
    assert found["loss_objectness"].item() == pytest.approx(entropy / count, rel=1e-5)
    assert found["loss_rpn_box_reg"].item() == pytest.approx(errors / count, rel=1e-5)


def test_proposals_are_the_best_inside_the_picture_and_apart():
    rpn, features, pictures = network(before_nms=(60, 40), after_nms=(8, 4), min_size=3)
    for mode, most in ((True, 8), (False, 4)):
        rpn.train(mode)
        proposals, losses = rpn([features], pictures)
        assert losses == {}
        for boxes, (height, width) in zip(proposals, pictures.sizes, strict=True):
            boxes = boxes.numpy()
            assert 1 < len(boxes) <= most and (boxes[:, 2:] - boxes[:, :2] >= 3).all()
            assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
            assert all(overlap(a, b) <= 0.7 for k, a in enumerate(boxes.tolist()) for b in boxes[:k].tolist())


def test_proposals_are_constants():
    rpn, features, pictures = network()
    proposals, _ = rpn([features], pictures)
    assert not proposals[0].requires_grad


def test_anchors_across_the_edge_do_not_count_if_so_asked():
    rpn, _, _ = network(inside_only=True)
    anchors = minidl.tensor([[-1.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 9.0, 33.0], [0.0, 20.0, 48.0, 32.0]])
    objects = minidl.tensor([[-1.0, 0.0, 9.0, 9.0]])
    assert rpn.assigned(objects, anchors, (32, 48)).tolist() == [-2, 0, -2, -1]
    rpn.inside_only = False
    assert rpn.assigned(objects, anchors, (32, 48)).tolist() == [0, 0, -1, -1]


def test_no_anchor_inside_gives_no_loss():
    rpn, features, _ = network(inside_only=True)
    tiny = batch([(4, 4), (4, 4)])
    targets = [{"boxes": minidl.tensor([[0.0, 0.0, 4.0, 4.0]]), "labels": minidl.tensor([0])}] * 2
    _, losses = rpn([features], tiny, targets)
    assert [loss.item() for loss in losses.values()] == [0, 0]


def heads(classes=3, **options):
    minidl.manual_seed(1)
    made = RoIHeads(RegionPooling(2), TwoMLPHead.new(5, 2, 7), BoxPredictor(7, classes), **options)
    nn.init.normal_(made.box_predictor.cls_score.weight, 0, 2.0)
    nn.init.normal_(made.box_predictor.bbox_pred.weight, 0, 1.0)
    return made


def test_head_losses_by_loops():
    """All proposals count; of the offsets only those of the object's own class."""
    made, pictures, features = heads(beta=0.5), batch([(32, 48), (24, 40)]), [minidl.randn(2, 5, 4, 6)]
    made.sampler = BalancedSampler(10**6, 0.25)
    proposals = [[[2.0, 3.0, 15.0, 14.0], [0.0, 0.0, 30.0, 30.0]], [[4.0, 4.0, 20.0, 20.0]]]
    objects, labels = [[[3.0, 4.0, 14.0, 13.0]], [[5.0, 5.0, 20.0, 22.0], [30.0, 2.0, 39.0, 20.0]]], [[2], [1, 0]]
    targets = [{"boxes": minidl.tensor(b), "labels": minidl.tensor(k)} for b, k in zip(objects, labels, strict=True)]
    everything = [minidl.tensor(p + o) for p, o in zip(proposals, objects, strict=True)]
    logits, offsets = (x.detach().numpy().astype(float) for x in made(features, everything, pictures))
    entropy, errors, row = 0.0, 0.0, 0
    for boxes, of, kinds in zip(everything, objects, labels, strict=True):
        for box in boxes.tolist():
            overlaps = [overlap(box, o) for o in of]
            best = overlaps.index(max(overlaps))
            label = kinds[best] + 1 if overlaps[best] >= 0.5 else 0
            entropy += math.log(np.exp(logits[row]).sum()) - logits[row, label]
            if label:
                (x1, y1, x2, y2), (a1, b1, a2, b2) = of[best], box
                wanted = (5 * (x1 + x2 - a1 - a2) / (a2 - a1), 5 * (y1 + y2 - b1 - b2) / (b2 - b1),
                          5 * math.log((x2 - x1) / (a2 - a1)), 5 * math.log((y2 - y1) / (b2 - b1)))
                for found, value in zip(offsets[row, label], wanted, strict=True):
                    off = abs(found - value)
                    errors += off - 0.25 if off >= 0.5 else off * off
            row += 1
    found = made.losses(features, [minidl.tensor(p) for p in proposals], pictures, targets)
    assert row == 6 and errors > 0
    assert found["loss_classifier"].item() == pytest.approx(entropy / row, rel=1e-4)
    assert found["loss_box_reg"].item() == pytest.approx(errors / row, rel=1e-4)


def test_easy_background_is_left_out():
    made, pictures, features = heads(background_from=0.1), batch([(32, 48)]), [minidl.randn(1, 5, 4, 6)]
    seen = []
    made.register_forward_pre_hook(lambda module, args: seen.append(args[1][0].tolist()))
    target = {"boxes": minidl.tensor([[0.0, 0.0, 10.0, 10.0]]), "labels": minidl.tensor([1])}
    far, near = [30.0, 20.0, 40.0, 30.0], [0.0, 0.0, 30.0, 10.0]
    made.losses(features, [minidl.tensor([far, near])], pictures, [target])
    assert near in seen[0] and far not in seen[0]


def test_detections_by_loops():
    made, pictures = heads(score_threshold=0.2, nms_threshold=0.3, most=6), batch([(32, 48), (24, 40)])
    features = [minidl.randn(2, 5, 4, 6)]
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 15, (2, 9, 2))
    proposals = [minidl.tensor(np.concatenate([c, c + rng.uniform(4, 12, (9, 2))], 1).astype(np.float32)) for c in corners]
    logits, offsets = (x.detach().numpy() for x in made(features, proposals, pictures))
    for n, found in enumerate(made.detect(features, proposals, pictures)):
        candidates = []
        for k in range(9 * n, 9 * n + 9):
            p = np.exp(logits[k] - logits[k].max())
            x1, y1, x2, y2 = proposals[n][k - 9 * n].tolist()
            for c in range(1, 4):
                dx, dy, dw, dh = (offsets[k, c] / [10, 10, 5, 5]).tolist()
                x, y = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
                w, h = (x2 - x1) * np.exp(dw), (y2 - y1) * np.exp(dh)
                box = np.clip([x - w / 2, y - h / 2, x + w / 2, y + h / 2], 0, [*pictures.sizes[n][::-1]] * 2)
                if p[c] / p.sum() > 0.2 and box[2] - box[0] >= 0.01 and box[3] - box[1] >= 0.01:
                    candidates.append((p[c] / p.sum(), c - 1, box))
        kept = []
        for score, label, box in sorted(candidates, key=lambda each: -each[0]):
            if all(other != label or overlap(box, b) <= 0.3 for _, other, b in kept):
                kept.append((score, label, box))
        assert 1 < len(found.boxes) == min(len(kept), 6) and len(candidates) > len(kept)
        for k, (score, label, box) in enumerate(kept[: len(found.boxes)]):
            np.testing.assert_allclose(found.boxes[k].numpy(), box, atol=1e-3)
            assert found.labels[k].item() == label and found.scores[k].item() == pytest.approx(score, abs=1e-5)


def test_no_proposals():
    made, pictures, features = heads(), batch([(32, 48)]), [minidl.randn(1, 5, 4, 6)]
    found, = made.detect(features, [minidl.zeros(0, 4)], pictures)
    assert found.boxes.shape == (0, 4) and found.labels.shape == found.scores.shape == (0,)
    nothing = {"boxes": minidl.zeros(0, 4), "labels": minidl.zeros(0).long()}
    assert made.losses(features, [minidl.zeros(0, 4)], pictures, [nothing])["loss_classifier"].item() == 0


def test_regions_come_in_their_order_from_several_maps():
    maps = [minidl.randn(2, 3, 64 // 2**k, 128 // 2**k) for k in range(3)]
    boxes = [minidl.tensor([[0.0, 0.0, 250.0, 250.0], [1.0, 2.0, 60.0, 70.0], [9.0, 9.0, 120.0, 119.0], [0.0, 0.0, 40.0, 40.0]]),
             minidl.tensor([[5.0, 5.0, 125.0, 121.0], [3.0, 3.0, 500.0, 250.0]])]
    pooling = RegionPooling(2, sampling=2, maps=3)
    found, row, used = pooling(maps, boxes, (256, 512)), 0, set()
    for n, of_picture in enumerate(boxes):
        for box in of_picture.tolist():
            size = math.sqrt((box[2] - box[0]) * (box[3] - box[1]))
            k = min(max(math.floor(4 + math.log2(size / 224)), 2), 4) - 2
            expected = roi_align(maps[k], minidl.tensor([[float(n), *box]]), 2, 0.25 / 2**k, 2)
            np.testing.assert_array_equal(found.numpy()[row], expected.numpy()[0])
            used.add(k)
            row += 1
    assert used == {0, 1, 2} and row == len(found)


def test_one_map_is_pooled_by_the_maximum():
    x, boxes = minidl.randn(1, 3, 8, 12), [minidl.tensor([[0.0, 0.0, 30.0, 30.0]])]
    np.testing.assert_array_equal(RegionPooling(3)([x], boxes, (32, 48)).numpy(), roi_pool(x, boxes, 3, 0.25).numpy())


# Fast R-CNN

def test_fast_rcnn_needs_proposals_in_training():
    with pytest.raises(DataError, match="each target needs its `proposals`"):
        fast_rcnn_small(["cat"])([np.zeros((3, 32, 32), np.uint8)],
                                 [{"boxes": minidl.zeros(0, 4), "labels": minidl.zeros(0).long()}])


def test_proposals_are_in_pixels_of_the_picture():
    """A picture twice as large, with boxes twice as large, is brought to the same size and judged alike."""
    picture = np.random.default_rng(0).integers(0, 256, (3, 32, 48), np.uint8)
    boxes = np.array([[2, 3, 20, 25], [10, 1, 40, 30]], np.float32)
    model = fast_rcnn_small(["a", "b"], 32, 64).eval()
    model.roi_heads.score_threshold = 0.0
    with minidl.no_grad():
        small, = model.detect_in([picture], [boxes])
        large, = model.detect_in([picture.repeat(2, 1).repeat(2, 2)], [2 * boxes])
    np.testing.assert_allclose(large.scores.numpy(), small.scores.numpy(), atol=0.02)
    np.testing.assert_allclose(large.boxes.numpy(), 2 * small.boxes.numpy(), atol=1)


def test_truncation_is_the_best_of_its_rank():
    minidl.manual_seed(0)
    layer = nn.Linear(9, 6)
    pair = truncated(layer, 2)
    first, second = (each.weight.detach().numpy() for each in pair)
    u, s, vt = np.linalg.svd(layer.weight.detach().numpy())
    np.testing.assert_allclose(second @ first, (u[:, :2] * s[:2]) @ vt[:2], atol=1e-6)
    assert first.shape == (2, 9) and first.dtype == np.float32 and pair[0].bias is None and pair[1].bias is layer.bias
    with pytest.raises(UsageError, match="from 1 to 6, got 7"):
        truncated(layer, 7)


def test_a_truncated_detector_still_detects():
    model = fast_rcnn_small(["a"], 32, 64, proposer=lambda image: np.array([[2, 3, 20, 25]], np.float32))
    model.roi_heads.score_threshold = 0.0
    picture = np.random.default_rng(0).integers(0, 256, (3, 32, 48), np.uint8)
    before = model.predict([picture])[0].scores.numpy()
    after = model.truncate(256, 200).predict([picture])[0].scores.numpy()
    np.testing.assert_allclose(after, before, atol=0.02)


# Sizes

def parameters(model):
    return sum(p.numel() for p in model.parameters())


def test_the_small_one_is_small():
    assert parameters(faster_rcnn_small(VOC)) < 1.3e6


@pytest.mark.slow
def test_published_numbers_of_parameters():
    """py-faster-rcnn's 137,078,239 less a second output for the objectness of nine anchors, 9 · 513; Fast R-CNN's."""
    assert parameters(faster_rcnn_vgg16(VOC)) == 137_078_239 - 9 * 513
    assert parameters(fast_rcnn_vgg16(VOC)) == 134_690_729


@pytest.mark.slow
def test_pyramid_has_torchvision_s_parameters():
    model = faster_rcnn_resnet50_fpn()
    assert parameters(model) == 41_808_406 and len(model.state_dict()) == 348 and len(COCO_CLASSES) == 90


@pytest.mark.slow
def test_c4_learns_and_detects():
    model = faster_rcnn_resnet50_c4(["a", "b"])
    picture = np.random.default_rng(0).integers(0, 256, (3, 64, 96), np.uint8)
    model.inputs.min_size, model.inputs.max_size = 64, 96
    losses = model([picture], [{"boxes": minidl.tensor([[10.0, 10.0, 50.0, 60.0]]), "labels": minidl.tensor([1])}])
    minidl.stack(list(losses.values())).sum().backward()
    assert model.backbone.conv1.weight.grad is not None and len(model.predict([picture])) == 1


def test_small_detectors_have_one_backbone_and_head():
    ours, theirs = faster_rcnn_small(VOC), fast_rcnn_small(VOC)
    for part in ("backbone", "roi_heads"):
        assert getattr(ours, part).state_dict().keys() == getattr(theirs, part).state_dict().keys()
