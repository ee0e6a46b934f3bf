"""Functions of boxes against torchvision: values, gradients, and which boxes stay."""

import numpy as np
import pytest

import minidl
from tests.parity.vision import compiled, torchvision

torch = pytest.importorskip("torch")

CORNERS, SIZES = (np.random.default_rng(seed).uniform(0, 9, (7, 2)) for seed in (0, 1))
BOXES = np.concatenate([CORNERS, CORNERS + SIZES], 1)
CALLS = [("box_iou", (BOXES[:4], BOXES[2:]), {}), ("box_iou", (BOXES[:4], BOXES[2:]), {"fmt": "cxcywh"}),
         ("box_iou", (BOXES[:4], BOXES[2:]), {"fmt": "xywh"}), ("generalized_box_iou", (BOXES[:4], BOXES[2:]), {}),
         ("box_area", (BOXES,), {}), ("box_area", (BOXES,), {"fmt": "xywh"}), ("clip_boxes_to_image", (BOXES,), {"size": (5, 7)}),
         ("remove_small_boxes", (BOXES,), {"min_size": 2.0}),
         *[("box_convert", (BOXES,), {"in_fmt": a, "out_fmt": b}) for a in ("xyxy", "xywh", "cxcywh")
           for b in ("xyxy", "xywh", "cxcywh")]]


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "uint8"])
@pytest.mark.parametrize(("name", "boxes", "options"), CALLS, ids=[f"{name} {options}" for name, _, options in CALLS])
def test_values_and_gradients(name, boxes, options, dtype):
    wants = dtype == "float64" and name != "remove_small_boxes"
    ours = [minidl.Tensor(b.astype(dtype), requires_grad=wants) for b in boxes]
    theirs = [torch.tensor(b.astype(dtype), requires_grad=wants) for b in boxes]
    y, expected = getattr(minidl.ops, name)(*ours, **options), getattr(torchvision().ops, name)(*theirs, **options)
    assert str(y.dtype) == str(expected.dtype).removeprefix("torch.")
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=1e-6 if dtype == "float32" else 1e-12)
    if wants:
        weights = np.random.default_rng(2).standard_normal(y.shape)
        y.backward(minidl.Tensor(weights))
        expected.backward(torch.tensor(weights))
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_suppression(threshold):
    random = np.random.default_rng(3)
    corners = random.uniform(0, 40, (500, 2)).astype(np.float32)
    boxes = np.concatenate([corners, corners + random.uniform(5, 20, (500, 2)).astype(np.float32)], 1)
    scores, groups = random.permutation(500).astype(np.float32), random.integers(0, 3, 500)
    peer = compiled()
    found = minidl.ops.nms(minidl.Tensor(boxes), minidl.Tensor(scores), threshold)
    assert found.tolist() == peer.nms(torch.tensor(boxes), torch.tensor(scores), threshold).tolist()
    found = minidl.ops.batched_nms(minidl.Tensor(boxes), minidl.Tensor(scores), minidl.Tensor(groups), threshold)
    assert found.tolist() == torchvision().ops.batched_nms(*map(torch.tensor, (boxes, scores, groups)), threshold).tolist()
