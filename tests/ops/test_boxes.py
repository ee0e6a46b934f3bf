"""Functions of boxes against loops over boxes, their gradients, and mistakes."""

import numpy as np
import pytest

import minidl
from minidl.errors import ShapeError
from minidl.ops.boxes import box_area, box_convert, box_iou, clip_boxes_to_image, generalized_box_iou, remove_small_boxes
from tests.checks import check_gradients

FORMATS = ["xyxy", "xywh", "cxcywh"]


def random_boxes(*shape, seed=0, size=8.0):
    """Boxes in order, no two edges alike."""
    corners = np.random.default_rng([seed, *shape]).uniform(0, size, (*shape, 2, 2))
    return np.concatenate([corners.min(-2), corners.max(-2) + 0.5], -1)


def naive_iou(a, b):
    """(intersection over union, its generalised form) of two boxes."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    shared = width * height if width > 0 and height > 0 else 0
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return shared / union, shared / union - (hull - union) / hull


def test_overlaps():
    a, b = random_boxes(3), random_boxes(5, seed=1)
    expected = np.array([[naive_iou(p, q) for q in b] for p in a])
    assert (expected[..., 0] > 0).any() and (expected[..., 0] == 0).any()
    np.testing.assert_allclose(np.asarray(box_iou(minidl.tensor(a), minidl.tensor(b))), expected[..., 0], rtol=1e-12)
    np.testing.assert_allclose(np.asarray(generalized_box_iou(minidl.tensor(a), minidl.tensor(b))), expected[..., 1], rtol=1e-12)


def test_overlaps_of_batches_and_formats():
    a, b = random_boxes(2, 3), random_boxes(2, 5, seed=1)
    whole = np.asarray(box_iou(minidl.tensor(a), minidl.tensor(b)))
    for n in range(2):
        assert np.array_equal(whole[n], np.asarray(box_iou(minidl.tensor(a[n]), minidl.tensor(b[n]))))
    for fmt in FORMATS:
        given = [box_convert(minidl.tensor(boxes), "xyxy", fmt) for boxes in (a, b)]
        np.testing.assert_allclose(np.asarray(box_iou(*given, fmt)), whole, rtol=1e-9)
        np.testing.assert_allclose(np.asarray(box_area(given[0], fmt)), (a[..., 2] - a[..., 0]) * (a[..., 3] - a[..., 1]))


def test_boxes_of_no_size_or_none_at_all():
    point, box = minidl.tensor([[1.0, 1.0, 1.0, 1.0]]), minidl.tensor([[0.0, 0.0, 2.0, 2.0], [3.0, 0.0, 2.0, 2.0]])
    assert box_iou(point, box).tolist() == [[0, 0]]
    assert np.isnan(box_iou(point, point).item())
    assert box_area(box).tolist() == [4, -2]
    none = minidl.zeros(0, 4)
    assert box_iou(none, box).shape == (0, 2) and generalized_box_iou(box, none).shape == (2, 0) and box_area(none).shape == (0,)
    assert box_convert(none, "xyxy", "cxcywh").shape == clip_boxes_to_image(none, (3, 4)).shape == (0, 4)
    assert remove_small_boxes(none, 1).shape == (0,)


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_formats(source, target):
    forms = {"xyxy": [1, 2, 4, 8], "xywh": [1, 2, 3, 6], "cxcywh": [2.5, 5, 3, 6]}
    found = box_convert(minidl.tensor([[forms[source]]], dtype="float32"), source, target)
    assert found.tolist() == [[forms[target]]] and found.dtype == minidl.float32


def test_clipping():
    boxes = minidl.tensor([[-3.0, -1.0, 2.0, 9.0], [5.0, 6.0, 7.0, 8.0], [float("nan"), 0.0, 1.0, 1.0]])
    found = np.asarray(clip_boxes_to_image(boxes, (6, 4)))
    np.testing.assert_array_equal(found, [[0, 0, 2, 6], [4, 6, 4, 6], [np.nan, 0, 1, 1]])
    assert boxes[0, 0].item() == -3


def test_small_boxes():
    boxes = minidl.tensor([[0.0, 0, 2, 5], [0, 0, 5, 1], [0, 0, 2, 2], [3, 3, 1, 1], [float("nan"), 0, 3, 3]])
    found = remove_small_boxes(boxes, 2)
    assert found.tolist() == [0, 2] and found.dtype == minidl.int64


def test_gradients():
    a, b = (minidl.tensor(random_boxes(n, seed=n), requires_grad=True) for n in (3, 2))
    check_gradients(box_iou, a, b)
    check_gradients(generalized_box_iou, a, b)
    check_gradients(box_area, a)
    check_gradients(lambda x: box_convert(box_convert(x, "xyxy", "cxcywh"), "cxcywh", "xywh"), a)
    check_gradients(lambda x: clip_boxes_to_image(x, (5, 3)), a)
    strided = minidl.Tensor(minidl.tensor(random_boxes(4, seed=9)).array[::2], requires_grad=True)
    check_gradients(lambda x: box_iou(x, b), strided)


def test_dtypes():
    wider = {"float16": "float32", "uint8": "int32"}  # 40000 is too large for 8 bits, and in 11 bits rounded
    for dtype in ("float16", "float32", "float64", "int64", "uint8"):
        area = box_area(minidl.tensor([[0, 0, 200, 200]], dtype=dtype))
        assert area.tolist() == [40000] and area.dtype == wider.get(dtype, dtype)
    boxes = minidl.tensor([[0, 0, 250, 240], [3, 1, 200, 170]], dtype="float16")
    assert box_iou(boxes, boxes).dtype == minidl.float32 and np.allclose(np.asarray(box_iou(boxes, boxes)).diagonal(), 1)
    assert box_iou(minidl.tensor([[0, 0, 2, 2]]), minidl.tensor([[0, 0, 1, 2]])).item() == 0.5
    assert box_convert(boxes, "xyxy", "xywh").dtype == clip_boxes_to_image(boxes, (9, 9)).dtype == minidl.float16


@pytest.mark.parametrize("function", [box_area, lambda x: box_iou(x, x), lambda x: generalized_box_iou(x, x),
                                       lambda x: clip_boxes_to_image(x, (3, 3)), lambda x: remove_small_boxes(x, 1),
                                       lambda x: box_convert(x, "xyxy", "xywh")])
def test_mistakes_in_shapes(function):
    with pytest.raises(ShapeError, match=r"4\), four numbers each, got shape \(3, 5\)"):
        function(minidl.zeros(3, 5))


def test_mistakes_in_formats():
    boxes = minidl.zeros(1, 4)
    for call in (lambda: box_convert(boxes, "xyxy", "xyxyr"), lambda: box_area(boxes, "x"), lambda: box_iou(boxes, boxes, "x")):
        with pytest.raises(ValueError, match="'xyxy', 'xywh', 'cxcywh', got"):
            call()
    with pytest.raises(ShapeError, match=r"\(N, 4\)"):
        remove_small_boxes(minidl.zeros(2, 3, 4), 1)
