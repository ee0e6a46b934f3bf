"""Graph-based segmentation: by hand, and against scikit-image."""

import numpy as np
import pytest

import minidl
from minidl.data import VOCDetection
from minidl.errors import DataError, DtypeError, ShapeError, UsageError
from minidl.kernels import use_backend
from minidl.models.detect.proposals import felzenszwalb
from minidl.models.detect.proposals.segments import filtered
from tests.data.real import real_data


@pytest.mark.parametrize("shape", [(3, 60, 47), (1, 33, 52), (70, 41), (3, 1, 30), (3, 30, 1), (3, 1, 1), (3, 2, 3)])
@pytest.mark.parametrize("scale, sigma, min_size", [(50, 0.8, 50), (300, 0.8, 20), (10, 0.5, 1), (100, 0, 5)])
def test_scikit_image_finds_the_same_segments(shape, scale, sigma, min_size):
    segmentation = pytest.importorskip("skimage.segmentation")
    image = waves(shape)
    last = None if len(shape) == 2 else -1
    theirs = segmentation.felzenszwalb(image if last is None else np.moveaxis(image, 0, -1), scale, sigma, min_size,
                                       channel_axis=last)
    assert np.array_equal(felzenszwalb(image, scale, sigma, min_size), theirs)


def waves(shape):
    """A picture with larger and smaller regions, and noise, so that no two edges weigh the same."""
    y, x = np.indices(shape[-2:])
    noise = np.random.default_rng(0).uniform(0, 0.05, shape)
    return (0.5 + 0.3 * np.sign(np.sin(x / 5) * np.cos(y / 7)) + 0.1 * np.sin(x * y / 40)) * 0.9 + noise


def test_two_halves_by_hand():
    """|a - b| is 0 inside, 100 between: below k / |A| = k / 6 only for k of more than 600."""
    image = np.zeros((3, 3, 4), np.uint8)
    image[0, :, 2:] = 100
    assert felzenszwalb(image, 590, sigma=0, min_size=1).tolist() == [[0, 0, 1, 1]] * 3
    assert felzenszwalb(image, 610, sigma=0, min_size=1).max() == 0
    assert felzenszwalb(image, 590, sigma=0, min_size=7).max() == 0


def test_every_kind_of_array_gives_the_same():
    image = (255 * waves((3, 20, 31))).astype(np.uint8)
    expected = felzenszwalb(image, 50)
    assert expected.dtype == np.int64 and len(np.unique(expected)) == expected.max() + 1 > 3
    for same in (image / 255, minidl.tensor(image), np.asfortranarray(image)):
        assert np.array_equal(felzenszwalb(same, 50), expected)
    with use_backend("portable"):
        assert np.array_equal(felzenszwalb(image, 50), expected)
    assert np.array_equal(felzenszwalb(image[0], 50), felzenszwalb(image[:1], 50))


def test_one_colour_is_one_segment():
    assert not felzenszwalb(np.full((3, 9, 12), 77, np.uint8), 0.001, min_size=0).any()


@pytest.mark.parametrize("weights", [[1.0, 2, 1], [0.5, 1, 3, 1, 0.5], [-1.0, 0, 1]])
def test_filtered_against_a_loop(weights):
    image = np.random.default_rng(0).standard_normal((2, 4, 5))
    for axis in (1, 2):
        size, expected = image.shape[axis], np.zeros(image.shape)
        for i in range(size):
            for d, weight in enumerate(weights):
                at = i + d - len(weights) // 2
                at = -1 - at if at < 0 else 2 * size - 1 - at if at >= size else at  # the mirror repeats the edge
                np.moveaxis(expected, axis, 0)[i] += weight * np.take(image, at, axis)
        assert np.allclose(filtered(image, np.array(weights), axis), expected, rtol=0, atol=1e-14)


def test_what_is_no_image_is_refused():
    for shape in ((3,), (1, 3, 4, 5), (3, 0, 4), (0, 4, 4)):
        with pytest.raises(ShapeError, match="expected an image"):
            felzenszwalb(np.zeros(shape, np.uint8))
    for bad in (np.nan, np.inf):
        with pytest.raises(DataError, match="NaN or infinite"):
            felzenszwalb(np.full((3, 4, 5), bad))
    for kind in (np.int64, bool, complex):
        with pytest.raises(DtypeError, match="uint8"):
            felzenszwalb(np.zeros((3, 4, 5), kind))
    for wrong in ({"scale": -1}, {"sigma": -0.5}, {"min_size": -2}, {"scale": np.nan}):
        with pytest.raises(UsageError, match="at least 0"):
            felzenszwalb(np.zeros((3, 4, 5), np.uint8), **wrong)


def test_scikit_image_finds_the_same_segments_in_photographs():
    """Noise of a tenth of a grey level keeps edges from weighing the same, for which scikit-image's order is open."""
    segmentation = pytest.importorskip("skimage.segmentation")
    photographs = VOCDetection(real_data("coco_mini_voc"), "val")
    for index in range(3):
        image = photographs[index][0] / 255
        image = 0.99 * image + np.random.default_rng(index).uniform(0, 0.0004, image.shape)
        for k in (50, 100, 300):
            theirs = segmentation.felzenszwalb(image.transpose(1, 2, 0), k, 0.8, k)
            assert theirs.max() > 10 and np.array_equal(felzenszwalb(image, k, 0.8, k), theirs)
