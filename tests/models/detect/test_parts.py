"""What detectors share, against loops and by hand."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DataError, DtypeError, ShapeError, UsageError
from minidl.models.detect.parts.anchors import AnchorGenerator
from minidl.models.detect.parts.coder import BoxCoder
from minidl.models.detect.parts.inputs import Inputs, for_training, rescaled
from minidl.models.detect.parts.matcher import BalancedSampler, Matcher
from tests.models.detect.naive import iou


def some_boxes(rng, count, reach=100):
    corners = rng.uniform(0, reach, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(1, reach / 2, (count, 2))], 1).astype(np.float32)


# Coder

def test_coder_by_hand():
    rng = np.random.default_rng(0)
    boxes, anchors, weights = some_boxes(rng, 7), some_boxes(rng, 7), (10.0, 9.0, 5.0, 4.0)
    found = BoxCoder(weights).encode(boxes, anchors)
    assert found.dtype == np.float32
    for (x1, y1, x2, y2), (a1, b1, a2, b2), row in zip(boxes.astype(float), anchors.astype(float), found.numpy(), strict=True):
        expected = (10 * ((x1 + x2) - (a1 + a2)) / 2 / (a2 - a1), 9 * ((y1 + y2) - (b1 + b2)) / 2 / (b2 - b1),
                    5 * math.log((x2 - x1) / (a2 - a1)), 4 * math.log((y2 - y1) / (b2 - b1)))
        np.testing.assert_allclose(row, expected, rtol=1e-4, atol=1e-5)


def test_coder_there_and_back():
    rng = np.random.default_rng(1)
    boxes, anchors, coder = some_boxes(rng, 9), some_boxes(rng, 9), BoxCoder((2.0, 3.0, 4.0, 5.0))
    np.testing.assert_allclose(coder.decode(coder.encode(boxes, anchors), anchors).numpy(), boxes, atol=1e-3)


def test_coder_broadcasts_over_classes_and_limits_growth():
    anchors = np.array([[0, 0, 16, 16], [8, 8, 24, 40]], np.float32)
    offsets = np.zeros((2, 3, 4), np.float32)
    offsets[0, 1] = 0.5, 0, 100, 0
    found = BoxCoder().decode(offsets, anchors[:, None]).numpy()
    assert found.shape == (2, 3, 4)
    np.testing.assert_array_equal(found[1], np.repeat(anchors[1:], 3, 0))
    np.testing.assert_allclose(found[0, 1], [16 - 500, 0, 16 + 500, 16], rtol=1e-6)  # a thousand pixels: 16 · 1000 / 16


def test_coder_of_nothing_and_of_other_shapes():
    assert BoxCoder().encode(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32)).shape == (0, 4)
    with pytest.raises(ShapeError, match="four numbers each"):
        BoxCoder().decode(np.zeros((2, 3), np.float32), np.zeros((2, 4), np.float32))


# Anchors

def test_anchors_by_loops():
    generator = AnchorGenerator([[16, 40], [64, 80]], [0.5, 1.0, 2.0])
    found = generator((48, 80), [(6, 10), (3, 5)])
    for anchors, sizes, (rows, columns) in zip(found, [(16, 40), (64, 80)], [(6, 10), (3, 5)], strict=True):
        assert anchors.shape == (rows * columns * 6, 4) and anchors.dtype == np.float32
        expected = []
        for i in range(rows):
            for j in range(columns):
                y, x = i * (48 // rows), j * (80 // columns)
                for ratio in (0.5, 1.0, 2.0):
                    for size in sizes:
                        w, h = size / math.sqrt(ratio) / 2, size * math.sqrt(ratio) / 2
                        expected.append([x + round(-w), y + round(-h), x + round(w), y + round(h)])
        np.testing.assert_array_equal(anchors.numpy(), expected)


def test_anchors_refuse_odd_options():
    with pytest.raises(UsageError, match="as many sizes for each map"):
        AnchorGenerator([[8, 16], [32]])
    with pytest.raises(UsageError, match="anchors for 1 feature maps, got 2"):
        AnchorGenerator([[8]])((8, 8), [(1, 1), (2, 2)])


# Matcher and sampler

@pytest.mark.parametrize("low_quality", [False, True])
@pytest.mark.parametrize("least", [0.0, 0.1])
def test_matcher_by_loops(low_quality, least):
    rng = np.random.default_rng(2)
    objects, boxes = some_boxes(rng, 5), some_boxes(rng, 200)
    boxes[:4] = objects[1] + [[0, 0, 1, 1]] * 4  # ties
    found = Matcher(0.5, 0.3, low_quality, least)(minidl.tensor(objects), minidl.tensor(boxes)).tolist()
    table = [[iou(a.astype(float), b.astype(float)) for b in boxes] for a in objects]
    for k, matched in enumerate(found):
        column = [row[k] for row in table]
        best = column.index(max(column))
        if low_quality and any(row[k] > 0 and math.isclose(row[k], max(row), abs_tol=1e-7) for row in table):
            expected = best
        else:
            expected = best if column[best] >= 0.5 else -2 if column[best] >= 0.3 or column[best] < least else -1
        assert matched == expected
    assert {-2, -1} <= set(found) and max(found) >= 0


def test_an_object_that_no_box_overlaps_makes_none_positive():
    objects = minidl.tensor([[100.0, 100.0, 110.0, 110.0]])
    boxes = minidl.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 20.0, 30.0, 30.0]])
    assert Matcher(0.7, 0.3, True)(objects, boxes).tolist() == [-1, -1]


def test_matcher_of_nothing():
    boxes = minidl.tensor(some_boxes(np.random.default_rng(3), 4))
    nothing = minidl.zeros(0, 4)
    assert Matcher(0.7, 0.3, True)(nothing, boxes).tolist() == [-1] * 4
    assert Matcher(0.5, 0.5, least=0.1)(nothing, boxes).tolist() == [-2] * 4
    assert Matcher(0.7, 0.3, True)(boxes, nothing).tolist() == []


def test_matcher_of_empty_boxes_takes_none():
    empty = minidl.tensor([[3.0, 3.0, 3.0, 3.0]])
    assert Matcher(0.7, 0.3)(empty, empty).tolist() == [-1]


@pytest.mark.parametrize("positives, negatives, expected", [(3, 50, (3, 13)), (40, 50, (4, 12)), (40, 2, (4, 2)), (0, 9, (0, 9)),
                                                            (0, 0, (0, 0))])
def test_sampler_counts(positives, negatives, expected):
    labels = minidl.tensor(np.random.default_rng(4).permutation(np.repeat([5, -1, -2], [positives, negatives, 7])))
    minidl.manual_seed(0)
    positive, negative = BalancedSampler(16, 0.25)(labels)
    assert (len(positive), len(negative)) == expected
    for chosen, label in ((positive, 5), (negative, -1)):
        assert (labels[chosen] == label).all() and len(set(chosen.tolist())) == len(chosen) and chosen.dtype == np.int64


def test_sampler_chooses_anew():
    labels, sampler = minidl.tensor(np.repeat([0, -1], 50)), BalancedSampler(16, 0.5)
    minidl.manual_seed(0)
    assert sampler(labels)[0].tolist() != sampler(labels)[0].tolist()


# Inputs

def test_inputs_keep_numbers_where_nothing_is_resized():
    rng = np.random.default_rng(5)
    pictures = [rng.integers(0, 256, (3, 24, 40), np.uint8), rng.random((3, 24, 36), np.float32)]
    batch = Inputs(24, 100, mean=(0.1, 0.2, 0.3), deviation=(0.5, 0.6, 0.7), multiple=16)(pictures, "cpu")
    assert batch.images.shape == (2, 3, 32, 48) and batch.images.dtype == np.float32
    assert batch.sizes == batch.originals == [(24, 40), (24, 36)] and batch.size == (32, 48)
    for channel, (mean, deviation) in enumerate([(0.1, 0.5), (0.2, 0.6), (0.3, 0.7)]):
        np.testing.assert_allclose(batch.images.numpy()[0, channel, :24, :40], (pictures[0][channel] / 255 - mean) / deviation,
                                   rtol=1e-5, atol=1e-6)
    assert (batch.images.numpy()[1, :, 24:] == 0).all() and (batch.images.numpy()[1, :, :, 36:] == 0).all()


def test_inputs_take_any_floating_numbers():
    picture = np.random.default_rng(7).random((3, 8, 9))
    batch = Inputs(8, 9)([picture, picture.astype(np.float16)], "cpu")
    assert batch.images.dtype == np.float32
    np.testing.assert_allclose(batch.images.numpy()[0], batch.images.numpy()[1], atol=5e-3)  # half a digit of float16, over 0.2
    with pytest.raises(DtypeError, match="uint8, or of floating numbers"):
        Inputs(8, 9)([np.zeros((3, 8, 8), np.int64)], "cpu")


@pytest.mark.parametrize("picture", [np.zeros((1, 8, 8), np.uint8), np.zeros((8, 8), np.uint8), np.zeros((3, 0, 8), np.uint8)])
def test_inputs_refuse_what_is_no_picture(picture):
    with pytest.raises(ShapeError, match=r"pictures \(3, H, W\)"):
        Inputs(8, 8)([picture], "cpu")


def test_boxes_there_and_back():
    boxes = minidl.tensor(some_boxes(np.random.default_rng(6), 5))
    back = rescaled(rescaled(boxes, (30, 50), (90, 75)), (90, 75), (30, 50))
    np.testing.assert_allclose(back.numpy(), boxes.numpy(), rtol=1e-6)


def target(boxes, **more):
    return {"boxes": minidl.tensor(np.array(boxes, np.float32).reshape(-1, 4)), "labels": minidl.arange(len(boxes)),
            "image_id": minidl.tensor(41)} | more


@pytest.fixture
def batch():
    return Inputs(20, 100)([np.zeros((3, 10, 16), np.uint8)], "cpu")


def test_targets_are_clipped_scaled_and_rid_of_difficult_objects(batch):
    given = target([[-3, 2, 4, 6], [1, 1, 5, 5], [2, 3, 99, 99]], difficult=minidl.tensor([False, True, False]),
                   proposals=minidl.tensor([[0.0, -8.0, 16.0, 50.0]]))
    found, = for_training([given], batch, 3)
    assert found["boxes"].tolist() == [[0, 4, 8, 12], [4, 6, 32, 20]] and found["labels"].tolist() == [0, 2]
    assert found["proposals"].tolist() == [[0, 0, 32, 20]]


def test_pictures_without_objects_are_fine(batch):
    found, = for_training([target([])], batch, 3)
    assert found["boxes"].shape == (0, 4) and found["labels"].shape == (0,)


@pytest.mark.parametrize("box", [[5, 2, 3, 4], [5, 2, 5, 4], [1, math.nan, 3, 4], [20, 1, 30, 4]])
def test_boxes_that_are_none_name_their_picture(batch, box):
    with pytest.raises(DataError, match="picture 41: the box .* 16 x 10 pixels"):
        for_training([target([[1, 1, 3, 3], box])], batch, 3)


@pytest.mark.parametrize("labels", [[0], [0, 3], [-1, 0], [[0, 1]]])
def test_labels_that_are_none_name_their_picture(batch, labels):
    given = target([[1, 1, 3, 3], [2, 2, 4, 4]]) | {"labels": minidl.tensor(labels)}
    with pytest.raises(DataError, match="picture 41: expected a label from 0 to 2 for each of 2 boxes"):
        for_training([given], batch, 3)


def test_a_target_for_each_picture(batch):
    with pytest.raises(ShapeError, match="got 2 for 1"):
        for_training([target([]), target([])], batch, 3)
