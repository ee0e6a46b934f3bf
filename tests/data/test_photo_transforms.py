"""The transforms of photographs: crops of any size and shape, scale jitter, shifted colours."""

import math

import numpy as np
import pytest

from minidl.data.transforms import ColorShift, Compose, RandomCrop, RandomResize, RandomResizedCrop, Resize, ToTensor, shorter_to
from minidl.errors import DtypeError, ShapeError


def picture(height=40, width=60, n=1):
    """Each pixel says where it is: red its row, green its column."""
    image = np.zeros((n, 3, height, width), np.uint8)
    image[:, 0] += 4 * np.arange(height, dtype=np.uint8)[:, None]
    image[:, 1] += 4 * np.arange(width, dtype=np.uint8)
    return image


def uniforms(n, numbers, seed=0):
    return np.random.default_rng(seed).random((n, numbers), dtype=np.float32)


@pytest.mark.parametrize("shape, side, expected", [
    ((480, 640), 256, (256, 341)), ((640, 480), 256, (341, 256)), ((100, 100), 50, (50, 50)), ((3, 1000), 1, (1, 333)),
    ((1000, 1), 2, (2000, 2))])
def test_the_shorter_side(shape, side, expected):
    assert shorter_to(shape, side) == expected


def test_resize_keeps_bytes_and_means():
    pytest.importorskip("PIL")
    small = Resize(20)(picture())
    assert small.shape == (1, 3, 20, 30) and small.dtype == np.uint8
    np.testing.assert_allclose(small.astype(float).mean((2, 3)), picture().astype(float).mean((2, 3)), atol=0.6)
    floats = Resize(20)(picture().astype(np.float32))
    assert floats.dtype == np.float32 and np.abs(floats - small).max() < 1
    assert Resize(20)(picture()[:0]).shape == (0, 3, 20, 30)
    np.testing.assert_array_equal(Resize((40, 60))(picture()), picture())


def test_scale_jitter():
    """Each size of the shorter side from low to high alike; in evaluation, their mean."""
    pytest.importorskip("PIL")
    jitter = RandomResize(10, 13)
    sides = [jitter(picture(20, 30), np.array([[u]], np.float32)).shape[2] for u in np.arange(0.05, 1, 0.1)]
    assert sorted(set(sides)) == [10, 11, 12, 13] and sides == sorted(sides)
    assert jitter(picture(20, 30)).shape[2] == 11
    with pytest.raises(ShapeError, match="resized to different sizes: crop them to one size, image by image"):
        jitter(picture(20, 30, 2), np.array([[0.0], [0.9]], np.float32))
    both = Compose([RandomResize(10, 13), RandomCrop(8)])
    assert both(picture(20, 30), uniforms(1, 3)).shape == (1, 3, 8, 8)
    for sizes in ((0, 5), (6, 5)):
        with pytest.raises(ValueError, match="two sizes, the smaller first"):
            RandomResize(*sizes)


def crop_by_hand(height, width, numbers, scale, ratio, tries):
    """Rows, columns, top and left, as torchvision's loop finds them."""
    for k in range(tries):
        area = height * width * (scale[0] + numbers[2 + 2 * k] * (scale[1] - scale[0]))
        aspect = math.exp(math.log(ratio[0]) + numbers[3 + 2 * k] * (math.log(ratio[1]) - math.log(ratio[0])))
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return h, w, int(numbers[0] * (height - h + 1)), int(numbers[1] * (width - w + 1))
    return None


@pytest.mark.parametrize("seed", range(8))
def test_random_resized_crop(seed):
    """The corners of the crop, read off its pixels."""
    pytest.importorskip("PIL")
    transform = RandomResizedCrop(16, scale=(0.2, 0.9), ratio=(0.6, 1.7))
    numbers = uniforms(1, transform.numbers, seed)
    found = transform(picture(), numbers)[0].astype(float)
    assert found.shape == (3, 16, 16)
    h, w, top, left = crop_by_hand(40, 60, numbers[0].astype(float), (0.2, 0.9), (0.6, 1.7), 10)
    middle = found[:2, 7:9, 7:9].mean((1, 2)) / 4
    np.testing.assert_allclose(middle, [top + (h - 1) / 2, left + (w - 1) / 2], atol=0.7)
    slope = (found[0, 12, 8] - found[0, 3, 8]) / 4 / 9, (found[1, 8, 12] - found[1, 8, 3]) / 4 / 9
    np.testing.assert_allclose(slope, [h / 16, w / 16], rtol=0.12)


def test_when_no_crop_fits():
    """A strip that is wider than any proportion allows: the middle, as wide as allowed; in evaluation the centre."""
    pytest.importorskip("PIL")
    transform = RandomResizedCrop(8, scale=(0.9, 1.0))
    found = transform(picture(10, 60), uniforms(1, transform.numbers))[0].astype(float) / 4
    assert abs(found[1].mean() - 29.5) < 1 and abs((found[1, 4, 7] - found[1, 4, 0]) / 7 - 13 / 8) < 0.2
    assert transform(picture(10, 60)).shape == (1, 3, 8, 8)
    for scale, ratio in (((0.0, 1.0), (1, 1)), ((0.5, 0.2), (1, 1)), ((0.1, 1), (2, 1))):
        with pytest.raises(ValueError, match="pairs, the smaller first"):
            RandomResizedCrop(8, scale, ratio)


def test_color_shift():
    """The same shift for all pixels of an image; over many images normal, along ImageNet's components."""
    x = np.zeros((20_000, 3, 1, 2), np.float32)
    found = ColorShift(0.1)(x, uniforms(20_000, 4))
    assert found.dtype == np.float32 and not x.any()
    np.testing.assert_array_equal(found[..., 0], found[..., 1])
    alpha = found[..., 0, 0] @ ColorShift.components / ColorShift.eigenvalues  # components are orthonormal
    np.testing.assert_allclose(alpha.mean(0), 0, atol=0.003)
    np.testing.assert_allclose(np.cov(alpha.T), 0.01 * np.eye(3), atol=4e-4)
    assert 0.66 < (np.abs(alpha) < 0.1).mean() < 0.70  # as of a normal distribution
    np.testing.assert_array_equal(ColorShift()(x), x)
    with pytest.raises(DtypeError, match="put ToTensor"):
        ColorShift()(picture())


def test_components_are_orthonormal():
    np.testing.assert_allclose(ColorShift.components.T @ ColorShift.components, np.eye(3), atol=2e-3)


def test_a_batch_is_its_samples():
    pytest.importorskip("PIL")
    for transform in (RandomResizedCrop(8), Compose([ToTensor(), ColorShift()])):
        x, u = np.concatenate([picture(), picture()[..., ::-1]]), uniforms(2, transform.numbers)
        batch = transform(x, u)
        for n in range(2):
            np.testing.assert_array_equal(batch[n], transform(x[n : n + 1], u[n : n + 1])[0])
        assert transform(x[:0], u[:0]).shape[0] == 0
