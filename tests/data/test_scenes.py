"""Synthetic scenes: the same on every machine, and what is said of them is true of their pixels."""

import hashlib
import math

import numpy as np
import pytest

from minidl.data import DataLoader, Scenes, detection_collate
from minidl.errors import UsageError


def checksum(scenes) -> str:
    hashed = hashlib.sha256()
    for image, target in (scenes[i] for i in range(len(scenes))):
        hashed.update(image.tobytes())
        for key in ("boxes", "labels", "masks", "keypoints"):
            hashed.update(target[key].tobytes())
    return hashed.hexdigest()


def test_pixels_are_the_same_everywhere():
    assert checksum(Scenes(length=20)) == "a217f8a8423be016397fa9bcf75a4c874b1c65231f89589a4d1e45d272763a25"
    many = Scenes(train=False, length=5, size=(96, 160), most=9, seed=3)
    assert checksum(many) == "d86f802ba20281938cb78e6ef41b6e5a84f98a1cf0519008f3e638fcec512ccb"


def test_a_scene_depends_on_its_index_alone():
    few, many = Scenes(length=3), Scenes(length=300)
    np.testing.assert_array_equal(many[2][0], few[2][0])
    seen = {scenes[k][0].tobytes() for scenes in (many, Scenes(train=False), Scenes(seed=1)) for k in range(40)}
    assert len(seen) == 120


@pytest.mark.parametrize("size", [128, (96, 160)])
def test_targets_are_what_is_to_be_seen(size):
    scenes, counts = Scenes(length=60, size=size), np.zeros(6, int)
    for image, target in (scenes[i] for i in range(60)):
        assert image.dtype == np.uint8 and image.shape == (3, *scenes.size)
        masks, boxes, count = target["masks"], target["boxes"], len(target["labels"])
        assert 1 <= count <= 6 and masks.shape == (count, *scenes.size) and masks.dtype == bool
        assert boxes.dtype == np.float32 and boxes.shape == (count, 4) and not target["difficult"].any()
        assert masks.sum(0).max() == 1  # a pixel shows one shape
        for mask, box in zip(masks, boxes, strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
        counts += np.bincount(target["labels"], minlength=6)
    assert counts.min() > 10


def test_shapes_stand_out_and_boxes_can_be_told_apart():
    sides = []
    for image, target in (Scenes()[i] for i in range(60)):
        vivid = (image.max(0) >= 170) & (image.min(0) <= 70)  # noise included
        inside = target["masks"].any(0)
        assert vivid[inside].mean() > 0.9  # all but smooth edges
        assert not vivid[~inside].any() or vivid[~inside].mean() < 0.05
        boxes = target["boxes"]
        sides += (boxes[:, 2:] - boxes[:, :2]).min(1).tolist()
        for i, (ax1, ay1, ax2, ay2) in enumerate(boxes):
            for bx1, by1, bx2, by2 in boxes[:i]:
                shared = max(0, min(ax2, bx2) - max(ax1, bx1)) * max(0, min(ay2, by2) - max(ay1, by1))
                assert shared <= 0.45 * ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared)
    assert min(sides) < 14 and max(sides) > 55


def test_areas_are_those_of_geometry():
    """Alone in their pictures, round shapes and polygons cover what their axes say."""
    whole = {"disc": math.pi, "ring": math.pi * 0.75, "triangle": 2, "diamond": 2, "cross": 4 * 0.7 - 0.49}
    seen = set()
    for _, target in (Scenes(most=1, size=256)[i] for i in range(40)):
        name = Scenes.classes[target["labels"][0]]
        top, right, bottom, left = target["keypoints"][0, :, :2].astype(float)
        if name in whole:
            centre = (left + right) / 2 if name != "triangle" else (top + bottom) / 2
            a = np.linalg.norm(right - left) / 2
            b = np.linalg.norm(bottom - top) / 2
            area = target["masks"].sum()
            assert abs(area - whole[name] * a * b) < 0.04 * area + 2 * (a + b) ** 0.5, (name, centre)
            seen.add(name)
    assert seen == set(whole)


def test_keypoints_lie_on_the_outline_or_are_hidden():
    hidden = 0
    for _, target in (Scenes(most=9)[i] for i in range(80)):
        for k, (mask, points) in enumerate(zip(target["masks"], target["keypoints"], strict=True)):
            for x, y, v in points:
                assert 0 <= x <= 128 and 0 <= y <= 128
                near = np.s_[max(0, int(y) - 2) : int(y) + 3, max(0, int(x) - 2) : int(x) + 3]
                if v == 2:
                    assert mask[near].any() or target["masks"][k + 1 :, *near].any()  # all but the tip is hidden
                else:
                    hidden += 1
                    assert v == 1 and target["masks"][k + 1 :, min(int(y), 127), min(int(x), 127)].any()
            _, right, _, left = points
            assert right[0] > left[0]
    assert hidden > 5


def test_workers_change_nothing():
    scenes = Scenes(length=5)
    alone, others = (list(DataLoader(scenes, 2, collate_fn=detection_collate, num_workers=n)) for n in (0, 2))
    for (images, targets), (same_images, same_targets) in zip(alone, others, strict=True):
        for a, b in zip(images, same_images, strict=True):
            np.testing.assert_array_equal(a, b)
        for a, b in zip(targets, same_targets, strict=True):
            assert a.keys() == b.keys()
            for key in a:
                np.testing.assert_array_equal(a[key], b[key])


def test_mistakes():
    scenes = Scenes(length=3)
    assert len(list(scenes)) == 3
    for index in (-1, 3):
        with pytest.raises(IndexError, match=f"scene {index} of 3"):
            scenes[index]
    for options in ({"size": 16}, {"most": 0}, {"length": -1}):
        with pytest.raises(UsageError, match="at least 32 x 32"):
            Scenes(**options)
    with pytest.raises(TypeError, match="pair of ints"):
        Scenes(size=(64, 64, 64))
