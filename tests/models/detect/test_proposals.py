"""Selective Search: regions and their grouping by hand, boxes of whole pictures."""

import colorsys

import numpy as np
import pytest

import minidl
from minidl.data import Scenes
from minidl.errors import DataError, DtypeError, ShapeError, UsageError
from minidl.models.detect.proposals import selective_search
from minidl.models.detect.proposals.colours import COLOURS, hsv, lab
from minidl.models.detect.proposals.regions import Regions, describe, group, similarities, texture_bins, touching
from tests.data.real import real_data

RANDOM = np.random.default_rng(0)


def test_hsv_is_the_standard_librarys():
    rgb = np.concatenate([RANDOM.random((3, 40)), np.eye(3), 1 - np.eye(3), np.zeros((3, 1)), np.ones((3, 1))], 1)
    expected = np.array([colorsys.rgb_to_hsv(*pixel) for pixel in rgb.T]).T
    assert np.allclose(hsv(rgb[:, None])[:, 0], expected, rtol=0, atol=1e-12)


def test_lab_of_known_colours():
    """CIE's published values for sRGB's red, green, blue, and a dark grey in the linear part; primaries have four digits."""
    found = lab(np.concatenate([np.eye(3), np.full((3, 1), 0.01)], 1)[:, None])[:, 0]
    values = np.array([100 * found[0], 256 * found[1] - 128, 256 * found[2] - 128]).T
    assert np.allclose(values, [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [0.699, 0, 0]],
                       rtol=0, atol=0.05)


@pytest.mark.parametrize("name", COLOURS)
def test_colours_stay_in_range(name):
    levels = np.linspace(0, 1, 8)
    every = np.stack(np.meshgrid(levels, levels, levels)).reshape(3, 8, 64)
    channels = COLOURS[name](every)
    assert channels.shape in [(3, 8, 64), (1, 8, 64)] and -1e-12 <= channels.min() and channels.max() <= 1 + 1e-12


def test_texture_of_a_ramp():
    """Rising to the right by the same everywhere: in the full direction bin 9, aside of it cos(45 degrees) of 10, else 0."""
    bins = texture_bins(np.broadcast_to(np.arange(30) / 30, (1, 12, 30)))[:, 6, 15]
    assert bins.tolist() == [9, 7, 0, 0, 0, 0, 0, 7]


def test_describe_against_a_loop():
    labels = np.array([[0, 0, 1, 1, 1], [2, 0, 0, 1, 3], [2, 2, 2, 3, 3]])  # 0 and 3 meet at a corner, 1 and 2 too
    colours, textures = RANDOM.integers(0, 25, (3, 3, 5)), RANDOM.integers(0, 10, (24, 3, 5))
    regions = describe(labels, colours, textures)
    for r in range(4):
        y, x = np.nonzero(labels == r)
        assert regions.sizes[r] == len(y)
        assert regions.boxes[r].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
        for rows, bins, count in ((regions.colour, colours, 25), (regions.texture, textures, 10)):
            expected = np.array([[(part[labels == r] == k).sum() for k in range(count)] for part in bins]).ravel()
            assert np.allclose(rows[r], expected / expected.sum(), rtol=0, atol=1e-15)
    assert touching(labels).T.tolist() == [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]


def row(*colours):
    """Regions of 2 x 1 pixels side by side, each of one colour: bin numbers of one channel."""
    labels = np.repeat(np.arange(len(colours)), 2)[None]
    return describe(labels, np.repeat(colours, 2)[None, None], np.zeros((8, 1, labels.size), int)), touching(labels)


def test_similarities_by_hand():
    regions, _ = row(3, 3, 9, 9)
    one, far = similarities(regions, np.array([0, 0]), np.array([1, 3]), 8).T
    assert np.allclose(one, [1, 1, 1 - 4 / 8, 1])
    assert np.allclose(far, [0, 1, 1 - 4 / 8, 1 - (8 - 4) / 8])


def test_grouping_by_hand():
    """Colours 3 3 9 9: by colour the equal ones come first, then both halves."""
    regions, pairs = row(3, 3, 9, 9)
    boxes = [[0, 0, 2, 1], [2, 0, 4, 1], [4, 0, 6, 1], [6, 0, 8, 1]]
    assert pairs.T.tolist() == [[0, 1], [1, 2], [2, 3]]
    assert group(regions, pairs, "C").tolist() == [*boxes, [0, 0, 4, 1], [4, 0, 8, 1], [0, 0, 8, 1]]
    assert len(regions.sizes) == 4


def test_merged_colours_are_weighted_by_size():
    """7 | 7 | 7 8 | 8: the three 7s become one, whose mix with the next decides."""
    histograms = np.zeros((4, 25))
    histograms[[0, 1, 3], [7, 7, 8]] = 1
    histograms[2, [7, 8]] = 0.6, 0.4
    boxes = np.array([[0, 0, 1, 1], [1, 0, 2, 1], [2, 0, 4, 1], [4, 0, 5, 1]])
    regions = Regions(np.array([1.0, 1, 2, 1]), boxes, histograms, np.ones((4, 1)))
    grouped = group(regions, np.array([[0, 1, 2], [1, 2, 3]]), "C").tolist()
    assert grouped[4:] == [[0, 0, 2, 1], [0, 0, 4, 1], [0, 0, 5, 1]]


@pytest.mark.parametrize("measures", ["CTSF", "TSF", "F", "S"])
def test_grouping_is_a_tree_of_neighbours(measures):
    labels = np.arange(12).reshape(3, 4).repeat(5, 0).repeat(3, 1)
    regions = describe(labels, RANDOM.integers(0, 25, (3, *labels.shape)), RANDOM.integers(0, 10, (24, *labels.shape)))
    boxes = group(regions, touching(labels), measures)
    assert boxes.shape == (23, 4) and boxes[-1].tolist() == [0, 0, 12, 15]
    assert np.array_equal(boxes[:12], regions.boxes)


def scene():
    return np.asarray(Scenes(size=(96, 128), length=1, seed=3)[0][0])


@pytest.mark.parametrize("mode", ["single", "fast", "quality"])
def test_boxes_of_a_scene(mode):
    image = scene()
    boxes = selective_search(image, mode)
    assert boxes.dtype == np.float32 and len(np.unique(boxes, axis=0)) == len(boxes) > 0
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= [128, 96]).all() and (boxes[:, 2:] - boxes[:, :2] >= 20).all()
    assert [0, 0, 128, 96] in boxes.tolist()
    assert len(selective_search(image, mode, min_side=0)) > len(boxes)
    assert np.array_equal(selective_search(image, mode), boxes)


def test_the_seed_ranks_and_changes_no_box():
    image = scene()
    one, other = selective_search(image, seed=1), selective_search(image, seed=2)
    assert not np.array_equal(one, other)
    assert np.array_equal(np.unique(one, axis=0), np.unique(other, axis=0))
    areas = (one[:, 2:] - one[:, :2]).prod(1)
    assert areas[: len(areas) // 2].mean() > areas[len(areas) // 2 :].mean()


def test_every_kind_of_picture():
    image = scene()
    boxes = selective_search(image)
    for same in (image / 255, minidl.tensor(image)):
        assert np.array_equal(selective_search(same), boxes)
    grey = selective_search(image[:1])
    assert len(grey) and np.array_equal(grey, selective_search(image[0]))
    assert np.array_equal(grey, selective_search(np.repeat(image[:1], 3, 0)))


@pytest.mark.parametrize("mode", ["fast", "quality"])
@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (2, 3), (30, 40)])
def test_one_colour_has_one_box(mode, size):
    image = np.full((3, *size), 90, np.uint8)
    assert selective_search(image, mode, min_side=0).tolist() == [[0, 0, size[1], size[0]]]
    assert len(selective_search(image, mode)) == (min(size) >= 20)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (70, 1), (5, 7)])
def test_thin_pictures(size):
    image = RANDOM.integers(0, 256, (3, *size)).astype(np.uint8)
    assert [0, 0, size[1], size[0]] in selective_search(image, min_side=0).tolist()


def test_what_is_no_picture_is_refused():
    with pytest.raises(DataError, match="NaN"):
        selective_search(np.full((3, 20, 20), np.nan))
    with pytest.raises(ShapeError, match=r"\(4, 20, 20\)"):
        selective_search(np.zeros((4, 20, 20), np.uint8))
    with pytest.raises(ShapeError):
        selective_search(np.zeros((3, 0, 20), np.uint8))
    with pytest.raises(DtypeError):
        selective_search(np.zeros((3, 20, 20), np.int32))
    with pytest.raises(UsageError, match="single, fast, quality"):
        selective_search(np.zeros((3, 20, 20), np.uint8), "slow")


def test_recall_on_photographs():
    """A few photographs alone; benchmarks/proposals.py measures all."""
    from benchmarks.proposals import overlaps
    from minidl.data import VOCDetection

    found = overlaps(VOCDetection(real_data("coco_mini_voc"), "test"), "fast", range(12))
    large = found.sizes >= 64**2
    assert large.sum() > 10 and (found.best[large] >= 0.5).mean() >= 0.9
    assert 1000 < np.mean(found.counts) < 4000
