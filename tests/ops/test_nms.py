"""Which boxes stay, in which order, and mistakes."""

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from minidl.kernels import explain
from minidl.ops.nms import batched_nms, nms, soft_nms

BOXES = [[0, 0, 10, 10], [0, 0, 10, 9], [50, 50, 60, 60], [0, 0, 9, 10], [50, 50, 60, 59], [50, 50, 60, 60]]


def test_order_is_that_of_scores_and_of_equal_scores_that_of_indices():
    boxes = minidl.tensor(BOXES, dtype="float32")
    assert nms(boxes, minidl.tensor([0.1, 0.9, 0.3, 0.9, 0.8, 0.3]), 0.5).tolist() == [1, 4]
    kept = nms(boxes, minidl.tensor([0.5] * 6), 0.5)
    assert kept.tolist() == [0, 2] and kept.dtype == minidl.int64
    assert nms(boxes, minidl.tensor([0.5] * 6), 1).tolist() == [0, 1, 2, 3, 4, 5]
    nan, inf = float("nan"), float("inf")
    assert nms(boxes, minidl.tensor([nan, -inf, nan, 0.1, 0.2, inf]), 0.99).tolist() == [5, 4, 3, 1, 0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int64"])
def test_dtypes_and_layouts(dtype):
    boxes = minidl.tensor(np.repeat(BOXES, 2, 1), dtype=dtype)[:, ::2]
    scores = minidl.tensor([1, 9, 3, 8, 8, 3], dtype=dtype)
    assert nms(boxes, scores, 0.5).tolist() == [1, 4]
    assert batched_nms(boxes, scores, minidl.tensor([0, 0, 0, 1, 1, 1]), 0.5).tolist() == [1, 3, 4, 2]
    order, reached = soft_nms(boxes, scores)
    assert order.tolist()[:2] == [1, 4] and reached.dtype == ("float32" if dtype == "int64" else dtype)


def test_categories_do_not_see_each_other():
    random = np.random.default_rng(0)
    corners = random.uniform(0, 20, (70, 2))
    boxes = np.concatenate([corners, corners + random.uniform(3, 9, (70, 2))], 1).astype(np.float32)
    scores, groups = random.integers(0, 30, 70).astype(np.float32), random.integers(-2, 3, 70) * 10**6
    expected = []
    for group in np.unique(groups):
        members = np.flatnonzero(groups == group)
        expected += members[np.asarray(nms(minidl.tensor(boxes[members]), minidl.tensor(scores[members]), 0.4))].tolist()
    assert 20 < len(expected) < 65
    expected.sort(key=lambda i: (-scores[i], i))
    assert batched_nms(minidl.tensor(boxes), minidl.tensor(scores), minidl.tensor(groups), 0.4).tolist() == expected


def test_batched_nms_is_exact_far_from_the_origin():
    boxes = minidl.tensor([[1e6, 1e6, 1e6 + 2, 1e6 + 2], [1e6, 1e6, 1e6 + 2, 1e6 + 1]], dtype="float32")
    scores = minidl.tensor([0.9, 0.8])
    assert batched_nms(boxes, scores, minidl.tensor([90, 90]), 0.5).tolist() == [0, 1]
    assert batched_nms(boxes, scores, minidl.tensor([90, 90]), 0.49).tolist() == [0]


def test_soft_nms():
    boxes = minidl.tensor([[0, 0, 10, 10], [0, 0, 10, 8], [20, 0, 30, 10]], dtype="float64")  # the IoU of the first two is 0.8
    scores = minidl.tensor([0.9, 0.8, 0.7], dtype="float64")
    order, reached = soft_nms(boxes, scores)
    assert order.tolist() == [0, 2, 1] and reached.tolist() == pytest.approx([0.9, 0.7, 0.8 * 0.2])
    assert soft_nms(boxes, scores, 0.85)[1].tolist() == pytest.approx([0.9, 0.8, 0.7])
    order, reached = soft_nms(boxes, scores, method="gaussian", sigma=0.4)
    assert order.tolist() == [0, 2, 1] and reached.tolist() == pytest.approx([0.9, 0.7, 0.8 * np.exp(-0.64 / 0.4)])
    assert soft_nms(boxes, scores, score_threshold=0.2)[0].tolist() == [0, 2]


@pytest.mark.parametrize("options", [{}, {"method": "gaussian"}])
def test_soft_nms_of_a_gpu_is_computed_on_the_cpu(options, cupy):
    random = np.random.default_rng(0)
    corners, scores = random.uniform(0, 9, (30, 2)), random.uniform(0, 1, 30).astype(np.float16)
    boxes = np.concatenate([corners, corners + random.uniform(1, 9, (30, 2))], 1).astype(np.float32)
    here, there = ((minidl.tensor(boxes, device=device), minidl.tensor(scores, device=device)) for device in ("cpu", "cuda"))
    found = []
    choices = explain(lambda: found.extend(soft_nms(*there, **options)))
    assert [choice.backend for choice in choices if choice.kernel == "soft_nms"] == ["cuda", "cpu"]
    for got, expected in zip(found, soft_nms(*here, **options), strict=True):
        assert got.device.type == "cuda" and got.dtype == expected.dtype and got.tolist() == expected.tolist()


def test_no_boxes():
    none, no_scores = minidl.zeros(0, 4), minidl.zeros(0)
    assert nms(none, no_scores, 0.5).shape == (0,)
    assert batched_nms(none, no_scores, minidl.zeros(0, dtype="int64"), 0.5).tolist() == []
    assert [part.shape for part in soft_nms(none, no_scores)] == [(0,), (0,)]


@pytest.mark.parametrize(("call", "error", "message"), [
    (lambda b, s: nms(b[:, :3], s, 0.5), ShapeError, r"boxes \(N, 4\)"),
    (lambda b, s: nms(b, s[:2], 0.5), ShapeError, r"score for each box: boxes \(6, 4\), scores \(2,\)"),
    (lambda b, s: nms(b, s, 50), ValueError, "iou_threshold from 0 to 1, got 50"),
    (lambda b, s: nms(b, s, float("nan")), ValueError, "iou_threshold"),
    (lambda b, s: batched_nms(b, s, s[:3], 0.5), ShapeError, "category for each box"),
    (lambda b, s: soft_nms(b, s, method="cubic"), ValueError, "'linear' and 'gaussian', got 'cubic'"),
    (lambda b, s: soft_nms(b, s, sigma=0), ValueError, "positive sigma"),
    (lambda b, s: soft_nms(b, s, score_threshold=-1), ValueError, "score_threshold of 0 or more"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call(minidl.tensor(BOXES, dtype="float32"), minidl.ones(6))
