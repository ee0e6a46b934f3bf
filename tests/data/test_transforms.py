"""Transforms against naive loops over single pixels; a batch is its samples one by one; nothing random in evaluation."""

import math
import pickle

import numpy as np
import pytest

from minidl.data.transforms import (
    CenterCrop,
    Compose,
    Lambda,
    Normalize,
    Pad,
    RandomAffine,
    RandomCrop,
    RandomHorizontalFlip,
    RandomShift,
    Resize,
    ToTensor,
    Transform,
)
from minidl.errors import DtypeError, ShapeError

N, C, H, W = 6, 3, 7, 5


def images(dtype=np.float32):
    values = np.random.default_rng(0).uniform(1, 255, (N, C, H, W))
    return values.astype(dtype)


def uniforms(numbers, seed=1):
    return np.random.default_rng(seed).random((N, numbers), np.float32)


def shifted(image, top, left, size, fill=0):
    """The part of ``size`` that begins at (top, left), which may lie outside."""
    found = np.full((len(image), *size), fill, image.dtype)
    for c, y, x in np.ndindex(found.shape):
        if 0 <= y + top < image.shape[1] and 0 <= x + left < image.shape[2]:
            found[c, y, x] = image[c, y + top, x + left]
    return found


def place(uniform, room):
    return math.floor(float(uniform) * (room + 1))


ALL = [
    Lambda(np.sqrt), ToTensor(), Normalize([1, 2, 3], [4, 5, 6]), Pad((2, 1)), CenterCrop((4, 2)), RandomCrop((4, 3), (1, 2)),
    RandomShift(2), RandomHorizontalFlip(), Resize((9, 4)), RandomAffine(20, (0.2, 0.1), (0.7, 1.3), 15),
    Compose([RandomShift(1), RandomHorizontalFlip(), ToTensor(), RandomCrop((5, 4)), Normalize([1], [2])]),
]
each = pytest.mark.parametrize("transform", ALL, ids=lambda t: type(t).__name__)


@each
def test_a_batch_is_its_samples(transform):
    if isinstance(transform, Resize):
        pytest.importorskip("PIL")
    x, u = images(), uniforms(transform.numbers)
    before = x.copy(), u.copy()
    batch = transform(x, u)
    for n in range(N):
        np.testing.assert_array_equal(batch[n], transform(x[n : n + 1], u[n : n + 1])[0])
    assert batch.dtype == np.float32
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(u, before[1])


@each
def test_evaluation_is_the_same_each_time(transform):
    if isinstance(transform, Resize):
        pytest.importorskip("PIL")
    x = images()
    np.testing.assert_array_equal(transform(x), transform(x, None))
    if type(transform) in (RandomShift, RandomHorizontalFlip, RandomAffine):
        np.testing.assert_array_equal(transform(x), x)


@each
def test_empty_batch_and_strides(transform):
    if isinstance(transform, Resize):
        pytest.importorskip("PIL")
    x, u = images(), uniforms(transform.numbers)
    full = transform(x, u)
    assert transform(x[:0], u[:0]).shape == (0, *full.shape[1:])
    strided = np.ascontiguousarray(x.transpose(2, 3, 1, 0)).transpose(3, 2, 0, 1)  # of the same values in another order
    np.testing.assert_array_equal(transform(strided, u), full)
    x.flags.writeable = False
    transform(x, u)


@each
def test_pickles(transform):
    if isinstance(transform, Resize):
        pytest.importorskip("PIL")
    x, u = images(), uniforms(transform.numbers)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(transform))(x, u), transform(x, u))


def test_to_tensor():
    x = np.arange(256, dtype=np.uint8).reshape(1, 2, 8, 16)
    assert ToTensor()(x).dtype == np.float32
    np.testing.assert_array_equal(ToTensor()(x), (x.astype(np.float32) / np.float32(255)))
    x = images(np.float64)
    assert ToTensor()(x).dtype == np.float32
    np.testing.assert_array_equal(ToTensor()(x), x.astype(np.float32))


@pytest.mark.parametrize("mean, std", [([0.5, 2, -3], [4, 0.25, 6]), ([1.5], [0.5])])
def test_normalize(mean, std):
    x = images()
    found = Normalize(mean, std)(x)
    for n, c, y, i in np.ndindex(x.shape):
        k = c if len(mean) == 3 else 0
        assert found[n, c, y, i] == pytest.approx((float(x[n, c, y, i]) - mean[k]) / std[k], rel=1e-6, abs=1e-6)


def test_normalize_refuses():
    with pytest.raises(ValueError, match="none of them 0"):
        Normalize([0.5], [0.0])
    with pytest.raises(ValueError, match="as many means as deviations"):
        Normalize([0.5, 1], [1.0])
    with pytest.raises(ShapeError, match="2 means, the images have C = 3"):
        Normalize([1, 2], [3, 4])(images())
    with pytest.raises(DtypeError, match="uint8: put ToTensor"):
        Normalize([1], [3])(images(np.uint8))


@pytest.mark.parametrize("padding, rows, columns", [(2, 2, 2), ((1, 3), 1, 3), (0, 0, 0)])
def test_pad(padding, rows, columns):
    x = images(np.uint8)
    found = Pad(padding, value=9)(x)
    assert found.dtype == np.uint8
    for n in range(N):
        np.testing.assert_array_equal(found[n], shifted(x[n], -rows, -columns, (H + 2 * rows, W + 2 * columns), 9))


@pytest.mark.parametrize("size, top, left", [((4, 2), 1, 1), (5, 1, 0), ((7, 5), 0, 0), ((2, 5), 2, 0)])
def test_center_crop(size, top, left):
    x = images()
    found, size = CenterCrop(size)(x), (size, size) if isinstance(size, int) else size
    for n in range(N):
        np.testing.assert_array_equal(found[n], shifted(x[n], top, left, size))


@pytest.mark.parametrize("size, padding", [((4, 3), 0), ((4, 3), (1, 2)), ((7, 5), 0), (6, 2), ((9, 6), 1)])
def test_random_crop(size, padding):
    x, u = images(np.int16), uniforms(2)
    u[0], u[1] = 0, np.float32(1 - 2**-24)  # the first and the last place
    found = RandomCrop(size, padding)(x, u)
    h, w = (size, size) if isinstance(size, int) else size
    p, q = (padding, padding) if isinstance(padding, int) else padding
    for n in range(N):
        top, left = place(u[n, 0], H + 2 * p - h), place(u[n, 1], W + 2 * q - w)
        np.testing.assert_array_equal(found[n], shifted(x[n], top - p, left - q, (h, w)))
    np.testing.assert_array_equal(found[1], shifted(x[1], H + p - h, W + q - w, (h, w)))
    np.testing.assert_array_equal(RandomCrop(size, padding)(x), CenterCrop(size)(Pad(padding)(x)))


@pytest.mark.parametrize("crop", [CenterCrop((8, 5)), CenterCrop((7, 6)), RandomCrop(6)])
def test_crops_that_do_not_fit(crop):
    with pytest.raises(ShapeError, match=r"does not fit into images of 7 x 5"):
        crop(images(), uniforms(2))


def test_random_crop_reaches_all_places_alike():
    x = np.arange(3 * 4).reshape(1, 1, 3, 4).repeat(6000, 0)
    u = np.random.default_rng(3).random((6000, 2), np.float32)
    corners = RandomCrop((2, 2))(x, u)[:, 0, 0, 0]
    counts = np.bincount(corners, minlength=12).reshape(3, 4)
    assert (counts[:2, :3] > 850).all() and counts[:2, :3].sum() == 6000  # 1000 each, deviation 29


@pytest.mark.parametrize("pixels", [0, 1, 3])
def test_random_shift(pixels):
    x, u = images(np.uint8), uniforms(2)
    found = RandomShift(pixels)(x, u)
    assert found.dtype == np.uint8
    for n in range(N):
        top, left = place(u[n, 0], 2 * pixels) - pixels, place(u[n, 1], 2 * pixels) - pixels
        np.testing.assert_array_equal(found[n], shifted(x[n], top, left, (H, W)))


@pytest.mark.parametrize("p", [0, 0.4, 1])
def test_random_horizontal_flip(p):
    x, u = images(np.uint8), np.array([[0.0], [0.39], [0.41], [0.9], [1 - 2**-24], [0.2]], np.float32)
    found = RandomHorizontalFlip(p)(x, u)
    for n in range(N):
        for c, y, i in np.ndindex(C, H, W):
            assert found[n, c, y, i] == x[n, c, y, W - 1 - i if u[n, 0] < p else i]


def test_compose_hands_out_the_numbers_in_order():
    x, u = images(), uniforms(5)
    parts = RandomShift(2), RandomHorizontalFlip(), RandomCrop((4, 3))
    both = Compose([*parts, np.sqrt])
    assert both.numbers == 5
    expected = np.sqrt(parts[2](parts[1](parts[0](x, u[:, :2]), u[:, 2:3]), u[:, 3:]))
    np.testing.assert_array_equal(both(x, u), expected)
    np.testing.assert_array_equal(Compose([Compose(parts[:2]), Compose([parts[2], np.sqrt])])(x, u), expected)
    assert Compose([])(x) is x and Compose([]).numbers == 0


def test_transform_without_call():
    class Lazy(Transform):
        pass

    with pytest.raises(NotImplementedError, match="Lazy has no __call__"):
        Lazy()(images())


def test_resize():
    """A plane of constant slope keeps its slope; twice the size and the mean of blocks, by hand."""
    pytest.importorskip("PIL")
    x = np.array([[[[0, 4], [8, 12]], [[1, 1], [1, 1]]]], np.uint8)
    found = Resize((2, 4))(x)
    assert found.shape == (1, 2, 2, 4) and found.dtype == np.uint8
    np.testing.assert_allclose(found[0, 0], [[0, 1, 3, 4], [8, 9, 11, 12]], atol=1e-5)
    np.testing.assert_allclose(found[0, 1], np.ones((2, 4)), atol=1e-6)
    height, width = images().shape[2:]
    assert Resize(3)(images()).shape == (N, C, *((3, 3 * width // height) if height < width else (3 * height // width, 3)))
    wide = np.broadcast_to(np.arange(12.0), (1, 1, 2, 12))
    inner = Resize((2, 4))(wide)[0, 0, :, 1:-1]  # antialiased: each pixel is a weighted mean about its centre
    np.testing.assert_allclose(inner, [[4, 7], [4, 7]], atol=1e-4)


def affine(image, degrees, scale, shear, down, right):
    """Turned, scaled, sheared and moved about the middle, in (y, x); each pixel is read where it comes from."""
    angle, shear = math.radians(degrees), math.radians(shear)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    back = np.linalg.inv(np.array([[1, 0], [-math.tan(shear), 1]]) @ (scale * turn))
    middle = np.array([(image.shape[1] - 1) / 2, (image.shape[2] - 1) / 2])
    found = np.zeros(image.shape)
    for y, x in np.ndindex(image.shape[1:]):
        sy, sx = back @ (np.array([y, x]) - middle - [down, right]) + middle
        for ty in (math.floor(sy), math.floor(sy) + 1):
            for tx in (math.floor(sx), math.floor(sx) + 1):
                if 0 <= ty < image.shape[1] and 0 <= tx < image.shape[2]:
                    found[:, y, x] += (1 - abs(sy - ty)) * (1 - abs(sx - tx)) * image[:, ty, tx]
    return found


def test_random_affine():
    x, u = images(), uniforms(5).astype(np.float64)
    found = RandomAffine(30, (0.2, 0.3), (0.6, 1.5), 20)(x, u)
    assert found.dtype == np.float32
    for n in range(N):
        angle, scale, shear, down, right = map(float, u[n])
        expected = affine(x[n], 30 * (2 * angle - 1), 0.6 + 0.9 * scale, 20 * (2 * shear - 1), 0.3 * H * (2 * down - 1),
                          0.2 * W * (2 * right - 1))
        np.testing.assert_allclose(found[n], expected, rtol=1e-5, atol=1e-4)  # values up to 255, float32


def test_random_affine_by_hand():
    x = np.zeros((1, 1, 5, 5), np.float32)
    x[0, 0, 2, 4] = 1

    def where(u, **limits):
        return np.argwhere(RandomAffine(**limits)(x, np.array([u]))[0, 0] > 0.99).tolist()

    assert where([0.5] * 5) == [[2, 4]]
    assert where([1, 0.5, 0.5, 0.5, 0.5], degrees=90) == [[4, 2]]
    assert where([0, 0.5, 0.5, 0.5, 0.5], degrees=90) == [[0, 2]]
    assert where([0.5, 0, 0.5, 0.5, 0.5], scale=(0.5, 1)) == [[2, 3]]
    assert where([0.5, 0.5, 0.5, 1, 0], translate=(0.4, 0.2)) == [[3, 2]]
    assert where([0.5, 0.5, 0.5, 0, 0], translate=(0.4, 0.2)) == [[1, 2]]
    assert where([0.5, 0.5, 0.5, 0.5, 1], translate=(0.4, 0.2)) == []  # moved out
    with pytest.raises(ValueError, match="two positive factors"):
        RandomAffine(scale=(0, 1))
    with pytest.raises(ValueError, match="two positive factors"):
        RandomAffine(scale=(2, 1))
