"""Faster R-CNN with a feature pyramid against torchvision's: each stage from the peer's inputs, the losses, and all of it."""

import inspect
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest

import minidl
from minidl.io import save
from minidl.models.detect.faster_rcnn import faster_rcnn_resnet50_fpn
from minidl.models.detect.parts.inputs import Batch, Inputs, for_training
from minidl.models.detect.parts.matcher import BalancedSampler
from tests.parity.vision import torchvision

torch = pytest.importorskip("torch")
CLASSES = tuple("abcd")
CLOSE = {"rtol": 1e-4, "atol": 1e-4}
EVERYTHING = 10**6  # samples: then nothing is left to chance


def naive_nms(boxes, scores, threshold):
    kept = []
    for k in torch.argsort(scores, descending=True, stable=True).tolist():
        corners = [torch.maximum(boxes[k, :2], boxes[j, :2]).tolist() + torch.minimum(boxes[k, 2:], boxes[j, 2:]).tolist()
                   for j in kept]
        for j, (x1, y1, x2, y2) in zip(kept, corners, strict=True):
            shared = max(x2 - x1, 0) * max(y2 - y1, 0)
            areas = sum(((boxes[i, 2:] - boxes[i, :2]).prod()).item() for i in (k, j))
            if shared > threshold * (areas - shared):
                break
        else:
            kept.append(k)
    return torch.tensor(kept, dtype=torch.int64)


@pytest.fixture(scope="module")
def models():
    """Theirs and ours with the same weights: random, but with scores far apart."""
    tv = torchvision()
    with pytest.MonkeyPatch.context() as patched:
        if not tv.extension._has_ops():
            align = sys.modules["torchvision.ops.roi_align"]
            patched.setattr(tv.ops.boxes, "nms", naive_nms)
            patched.setattr(align, "_roi_align", inspect.unwrap(align._roi_align))  # else it is compiled, for minutes
        yield _alike(tv)


def _alike(tv):
    torch.manual_seed(0)
    theirs = tv.models.detection.fasterrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=5, min_size=192, max_size=320, rpn_pre_nms_top_n_test=60,
        rpn_post_nms_top_n_test=20, rpn_pre_nms_top_n_train=60, rpn_post_nms_top_n_train=20, rpn_batch_size_per_image=EVERYTHING,
        box_batch_size_per_image=EVERYTHING)
    with torch.no_grad():
        for layer in theirs.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.weight.uniform_(0.3, 0.7)
                layer.bias.uniform_(-0.2, 0.2)
                layer.running_mean.uniform_(-0.1, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
        theirs.rpn.head.cls_logits.weight.mul_(300)
        theirs.roi_heads.box_predictor.cls_score.weight.mul_(300)
    ours = faster_rcnn_resnet50_fpn(CLASSES)
    ours.load_state_dict({name: value.numpy() for name, value in theirs.state_dict().items()})
    ours.inputs = Inputs(192, 320)
    ours.rpn.before_nms, ours.rpn.after_nms = (60, 60), (20, 20)
    ours.rpn.sampler = BalancedSampler(EVERYTHING, 0.5)
    ours.roi_heads.sampler = BalancedSampler(EVERYTHING, 0.25)
    return theirs.eval(), ours.eval()


@pytest.fixture(scope="module")
def pictures():
    rng = np.random.default_rng(0)
    return [rng.random((3, *size), np.float32) for size in ((70, 110), (90, 60))]


@pytest.fixture(scope="module")
def inner(models, pictures):
    """What goes into and comes out of each of their stages."""
    theirs, _ = models
    with torch.no_grad():
        batch, _ = theirs.transform([torch.tensor(p) for p in pictures])
        features = theirs.backbone(batch.tensors)
        logits, offsets = theirs.rpn.head(list(features.values()))
        proposals, _ = theirs.rpn(batch, features)
        pooled = theirs.roi_heads.box_roi_pool(features, proposals, batch.image_sizes)
        scores = theirs.roi_heads.box_predictor(theirs.roi_heads.box_head(pooled))
        found, _ = theirs.roi_heads(features, proposals, batch.image_sizes)
    return {"batch": batch, "features": list(features.values()), "logits": logits, "offsets": offsets, "proposals": proposals,
            "pooled": pooled, "scores": scores, "found": found}


def ours_of(tensors):
    return [minidl.tensor(t.detach().numpy()) for t in tensors]


def batch_of(inner):
    sizes = [tuple(size) for size in inner["batch"].image_sizes]
    return Batch(minidl.tensor(inner["batch"].tensors.numpy()), sizes, sizes)


def close(mine, other):
    mine = mine.detach().numpy()
    scale = max(1.0, abs(other.detach()).max().item()) if other.numel() else 1.0
    assert mine.shape == tuple(other.shape) and mine.dtype == np.float32
    np.testing.assert_allclose(mine / scale, other.detach().numpy() / scale, **CLOSE)


def test_inputs(models, pictures, inner):
    batch = models[1].inputs(pictures, "cpu")
    assert batch.sizes == [tuple(size) for size in inner["batch"].image_sizes]
    close(batch.images, inner["batch"].tensors)


@minidl.no_grad()
def test_backbone(models, inner):
    for mine, other in zip(models[1].backbone(batch_of(inner).images), inner["features"], strict=True):
        close(mine, other)


@minidl.no_grad()
def test_rpn(models, inner):
    theirs, ours = models
    features, batch = ours_of(inner["features"]), batch_of(inner)
    for mine, others in zip(ours.rpn.head(features), (inner["logits"], inner["offsets"]), strict=True):
        for one, other in zip(mine, others, strict=True):
            close(one, other)
    anchors = theirs.rpn.anchor_generator(inner["batch"], inner["features"])
    np.testing.assert_array_equal(minidl.cat(ours.rpn.anchors(batch.size, [x.shape[2:] for x in features])).numpy(),
                                  anchors[0].numpy())
    for mine, other in zip(ours.rpn(features, batch)[0], inner["proposals"], strict=True):
        close(mine, other)


@minidl.no_grad()
def test_heads(models, inner):
    heads, features, proposals = models[1].roi_heads, ours_of(inner["features"]), ours_of(inner["proposals"])
    pooled = heads.box_roi_pool(features, proposals, batch_of(inner).size)
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    assert len({level for boxes in proposals for level in heads.box_roi_pool.levels(boxes, scales).tolist()}) > 1
    close(pooled, inner["pooled"])
    logits, offsets = heads.box_predictor(heads.box_head(*ours_of([inner["pooled"]])))
    close(logits, inner["scores"][0])
    close(offsets, inner["scores"][1])
    for mine, other in zip(heads.detect(features, proposals, batch_of(inner)), inner["found"], strict=True):
        assert len(mine.boxes) > 0
        close(mine.boxes, other["boxes"])
        close(mine.scores, other["scores"])
        assert (mine.labels + 1).tolist() == other["labels"].tolist()


def test_all_of_it(models, pictures):
    """The same detections, as sets: boxes within 0.1 pixel, scores within 1e-3."""
    theirs, ours = models
    with torch.no_grad():
        expected = theirs([torch.tensor(p) for p in pictures])
    for mine, other in zip(ours.predict(pictures), expected, strict=True):
        assert len(mine.boxes) == len(other["boxes"]) > 3
        left = list(range(len(mine.boxes)))
        for box, label, score in zip(other["boxes"].numpy(), other["labels"].tolist(), other["scores"].tolist(), strict=True):
            same = [k for k in left if abs(mine.boxes[k].numpy() - box).max() < 0.1 and mine.labels[k].item() + 1 == label
                    and abs(mine.scores[k].item() - score) < 1e-3]
            assert same
            left.remove(same[0])


def test_losses(models, pictures):
    """The four losses where all anchors and proposals count, and gradients of the first convolution and of the last layer."""
    theirs, ours = models
    boxes = [np.array([[5, 6, 60, 50], [30, 10, 100, 65]], np.float32), np.zeros((0, 4), np.float32)]
    labels = [np.array([2, 0]), np.zeros(0, np.int64)]
    for layer in theirs.modules():  # statistics stay as they are on both sides
        layer.training = not isinstance(layer, torch.nn.BatchNorm2d)
    ours.train()
    for layer in ours.modules():
        if isinstance(layer, minidl.nn.BatchNorm2d):
            layer.eval()
    theirs.zero_grad()
    expected = theirs([torch.tensor(p) for p in pictures],
                      [{"boxes": torch.tensor(b), "labels": torch.tensor(k + 1)} for b, k in zip(boxes, labels, strict=True)])
    found = ours(pictures, [{"boxes": minidl.tensor(b), "labels": minidl.tensor(k)} for b, k in zip(boxes, labels, strict=True)])
    assert found.keys() == expected.keys()
    for name, loss in found.items():
        assert loss.item() == pytest.approx(expected[name].item(), rel=1e-4), name
    sum(expected.values()).backward()
    minidl.stack(list(found.values())).sum().backward()
    for name in ("backbone.body.conv1.weight", "backbone.fpn.inner_blocks.0.0.weight", "rpn.head.bbox_pred.weight",
                 "roi_heads.box_predictor.cls_score.weight"):
        mine, other = (dict(model.named_parameters())[name].grad for model in (ours, theirs))
        scale = abs(other).max().item()
        np.testing.assert_allclose(mine.numpy() / scale, other.numpy() / scale, atol=1e-3, err_msg=name)  # sums of many terms
    for model in models:
        model.eval()


def test_targets_move_as_theirs(models, pictures):
    boxes = np.array([[5, 6, 60, 50.5]], np.float32)
    _, theirs = models[0].transform([torch.tensor(pictures[0])], [{"boxes": torch.tensor(boxes), "labels": torch.tensor([1])}])
    batch = models[1].inputs(pictures[:1], "cpu")
    mine = for_training([{"boxes": minidl.tensor(boxes), "labels": minidl.tensor([0])}], batch, 1)
    np.testing.assert_allclose(mine[0]["boxes"].numpy(), theirs[0]["boxes"].numpy(), rtol=1e-6)


def test_old_names_load(models):
    """Files from before 2022 name the blocks of pyramid and RPN without their place in a Sequential, and know no counts."""
    state = {name: minidl.tensor(value.numpy()) for name, value in models[0].state_dict().items()
             if not name.endswith("num_batches_tracked")}
    old = {name.replace(".0.0.", ".0.").replace("blocks.1.0.", "blocks.1.").replace("blocks.2.0.", "blocks.2.")
           .replace("blocks.3.0.", "blocks.3.").replace("head.conv.0.", "head.conv.") if "blocks" in name or "head.conv" in name
           else name: value for name, value in state.items()}
    assert {"backbone.fpn.inner_blocks.3.weight", "rpn.head.conv.weight", "backbone.fpn.layer_blocks.0.bias"} <= old.keys()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "old.safetensors")
        save(old, path)
        loaded = faster_rcnn_resnet50_fpn(CLASSES, weights=path).state_dict()
    assert loaded.keys() == state.keys() and len(loaded) == 295
    for name, value in loaded.items():
        np.testing.assert_array_equal(value.numpy(), state[name].numpy())
