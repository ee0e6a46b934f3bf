"""Pooling and sampling of regions of interest, in both rooms, against loops over bins and pixels that begin at the boxes."""

import math

import numpy as np
import pytest

from minidl.kernels import use_backend
from minidl.kernels.cpu.threads import get_num_threads, set_num_threads
from minidl.kernels.rois import sampled_bins, whole_bins
from tests.kernels.cuda import cuda_runs, kernel

BACKENDS = ["portable", None, pytest.param("cuda", marks=cuda_runs)]
SCALE = 0.5


def random_boxes(count=9, seed=0):
    """Corners (K, 4) of boxes in a picture of 14 x 12, some of them outside, without size, inverted or ending at halves."""
    random = np.random.default_rng(seed)
    boxes = random.uniform(-4, 16, (count, 4))
    boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], 1)
    special = [[3, 1, 9, 5], [20, 20, 30, 30], [-9, -9, -5, -3], [4, 4, 4, 4], [8, 9, 2, 1], [-3, -5, 40, 50], [5, 1, 11, 13],
               [0, 0, 12, 14]]
    return np.concatenate([boxes, special])


def images_of(boxes):
    return np.random.default_rng(7).integers(0, 3, len(boxes))


def away(x):
    """Rounded, halves away from 0."""
    return int(math.floor(abs(x) + 0.5) * math.copysign(1, x))


def naive_bin(low, high, i, bins, size, last):
    start, stop = away(low * SCALE), away(high * SCALE)
    length = max(stop - start + last, 1)
    return range(max(start + math.floor(i * length / bins), 0), min(start + math.ceil((i + 1) * length / bins), size))


def naive_windows(box, bins, size, last):
    """{(i, j): (rows, columns)} of one box."""
    return {(i, j): (naive_bin(box[1], box[3], i, bins[0], size[0], last), naive_bin(box[0], box[2], j, bins[1], size[1], last))
            for i, j in np.ndindex(*bins)}


def naive_max(x, boxes, images, bins):
    values, winners = np.zeros((len(boxes), x.shape[1], *bins), x.dtype), np.full((len(boxes), x.shape[1], *bins), -1)
    for k, c in np.ndindex(len(boxes), x.shape[1]):
        for (i, j), (rows, columns) in naive_windows(boxes[k], bins, x.shape[2:], 1).items():
            best, place = None, -1
            for h in rows:
                for w in columns:
                    value = x[images[k], c, h, w]
                    if best is None or value > best or (math.isnan(value) and not math.isnan(best)):
                        best, place = value, h * x.shape[3] + w
            values[k, c, i, j], winners[k, c, i, j] = 0 if best is None else best, place
    return values, winners


def naive_mean(x, boxes, images, bins):
    y = np.zeros((len(boxes), x.shape[1] // (bins[0] * bins[1]), *bins))
    for k, c in np.ndindex(*y.shape[:2]):
        for (i, j), (rows, columns) in naive_windows(boxes[k], bins, (x.shape[2] - 1, x.shape[3] - 1), 0).items():
            if len(rows) and len(columns):
                channel = c * bins[0] * bins[1] + i * bins[1] + j
                y[k, c, i, j] = np.mean([x[images[k], channel, h, w] for h in rows for w in columns])
    return y


def naive_sample(plane, y, x):
    """Bilinear interpolation; 0 farther than a pixel outside. Pixels without weight are not read."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    shares = {(h, w): (1 - abs(y - h)) * (1 - abs(x - w)) for h in (int(y), int(y) + 1) for w in (int(x), int(x) + 1)}
    return sum(share * plane[at] for at, share in shares.items() if share > 0)


def naive_align(x, boxes, images, bins, ratio, aligned):
    y = np.zeros((len(boxes), x.shape[1], *bins))
    for k, c, i, j in np.ndindex(*y.shape):
        left, top, right, bottom = (edge * SCALE - (0.5 if aligned else 0) for edge in boxes[k])
        height, width = bottom - top, right - left
        if not aligned:
            height, width = max(height, 1), max(width, 1)
        height, width = height / bins[0], width / bins[1]
        down, across = (ratio, ratio) if ratio > 0 else (math.ceil(height), math.ceil(width))
        samples = [naive_sample(x[images[k], c], top + (i + (a + 0.5) / down) * height, left + (j + (b + 0.5) / across) * width)
                   for a in range(down) for b in range(across)]
        y[k, c, i, j] = np.mean(samples) if samples else 0
    return y


def bins_of(boxes, bins, size, last, dtype=np.float64):
    x1, y1, x2, y2 = boxes.T.astype(dtype)
    return whole_bins(y1, y2, SCALE, bins[0], size[0], last), whole_bins(x1, x2, SCALE, bins[1], size[1], last)


def samples_of(boxes, bins, ratio, aligned, dtype=np.float64):
    x1, y1, x2, y2 = boxes.T.astype(dtype)
    return sampled_bins(y1, y2, SCALE, bins[0], ratio, aligned), sampled_bins(x1, x2, SCALE, bins[1], ratio, aligned)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_roi_pool(dtype, backend):
    boxes = random_boxes()
    x, images, bins = np.random.default_rng(1).integers(-3, 3, (3, 5, 7, 6)).astype(dtype), images_of(boxes), (2, 3)  # with ties
    x[0, 1, 2:4, 3], x[1, 2] = np.nan, -np.inf
    before = x.copy()
    rows, columns = bins_of(boxes, bins, x.shape[2:], 1)
    expected, places = naive_max(x, boxes, images, bins)
    assert (places == -1).any() and np.isnan(expected).any()
    with use_backend(backend):
        values, winners = kernel("roi_pool", x)(x, rows, columns, images)
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(winners, places)
        assert values.dtype == dtype and winners.dtype == np.int64
        np.testing.assert_array_equal(kernel("take_roi_winners", x)(x, values.shape, winners, rows, columns, images), expected)
        strided = np.repeat(x, 2, 3)[..., ::2]
        np.testing.assert_array_equal(kernel("roi_pool", x)(strided, rows, columns, images)[1], places)
        gy = np.random.default_rng(2).integers(-9, 9, values.shape).astype(dtype)  # sums are exact
        back = np.zeros((3, 5, 42))
        for k, c, i, j in np.ndindex(*values.shape):
            if places[k, c, i, j] >= 0:
                back[images[k], c, places[k, c, i, j]] += gy[k, c, i, j]
        gx = kernel("add_roi_winners", gy)(gy, x.shape, winners, rows, columns, images)
        np.testing.assert_array_equal(gx, back.reshape(x.shape))
        assert gx.dtype == dtype
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("channels", [16, 35])
def test_roi_pool_of_more_channels_and_wider_regions_than_a_vector(channels, backend):
    boxes = random_boxes() * [6, 1, 6, 1]
    x, images, bins = np.random.default_rng(1).integers(-3, 3, (3, channels, 7, 41)).astype(np.float32), images_of(boxes), (2, 3)
    x[0, 11, 3:5, 20], x[1, 12, :, 5:], x[2, channels - 1, 2] = np.nan, -np.inf, np.nan
    expected, places = naive_max(x, boxes, images, bins)
    assert (places == -1).any() and np.isnan(expected).any() and np.isneginf(expected).any()
    with use_backend(backend):
        values, winners = kernel("roi_pool", x)(x, *bins_of(boxes, bins, x.shape[2:], 1), images)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(winners, places)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_ps_roi_pool(dtype, backend):
    boxes = random_boxes()
    x, images, bins = np.random.default_rng(1).standard_normal((3, 12, 7, 6)).astype(dtype), images_of(boxes), (2, 3)
    rows, columns = bins_of(boxes, bins, (6, 5), 0)
    expected = naive_mean(x.astype(float), boxes, images, bins)
    tolerance = {np.float16: 1e-3, np.float32: 1e-6, np.float64: 1e-13}[dtype]  # a rounding, or a few
    with use_backend(backend):
        y = kernel("ps_roi_pool", x)(x, expected.shape, rows, columns, images)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
        gy = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
        gx = kernel("ps_roi_pool_adjoint", gy)(gy, x.shape, rows, columns, images)
    assert y.dtype == gx.dtype == dtype
    assert np.isclose((expected * gy).sum(dtype=float), (x.astype(float) * gx).sum(), rtol=20 * tolerance)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 0, 1, 2, 3])
def test_roi_align(ratio, aligned, dtype, backend):
    boxes = random_boxes()
    x, images, bins = np.random.default_rng(1).standard_normal((3, 5, 7, 6)).astype(dtype), images_of(boxes), (2, 3)
    before = x.copy()
    rows, columns = samples_of(boxes, bins, ratio, aligned)
    expected = naive_align(x.astype(float), boxes, images, bins, ratio, aligned)
    assert (expected == 0).any() and (expected != 0).any()
    tolerance = {np.float16: 1e-3, np.float32: 2e-6, np.float64: 1e-13}[dtype]  # a rounding, or a few
    with use_backend(backend):
        y = kernel("roi_align", x)(x, expected.shape, rows, columns, images)
        np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
        strided = np.repeat(x, 2, 2)[:, :, ::2]
        np.testing.assert_array_equal(kernel("roi_align", x)(strided, expected.shape, rows, columns, images), y)
        gy = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
        gx = kernel("roi_align_adjoint", gy)(gy, x.shape, rows, columns, images)
    assert y.dtype == gx.dtype == dtype
    assert np.isclose((expected * gy).sum(dtype=float), (x.astype(float) * gx).sum(), rtol=50 * tolerance)
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_no_sample_sees_is_not_read(backend):
    x = np.ones((1, 1, 9, 8))
    x[0, 0, 4, 3] = np.nan
    boxes, images = np.array([[0.0, 0, 16, 18], [0, 0, 4, 4]]), np.zeros(2, int)
    for ratio, count in ((1, 0), (2, 1), (-1, 4)):
        rows, columns = samples_of(boxes, (2, 3), ratio, False)
        expected = naive_align(x, boxes, images, (2, 3), ratio, False)
        with use_backend(backend):
            np.testing.assert_allclose(kernel("roi_align", x)(x, expected.shape, rows, columns, images), expected)
        assert np.isnan(expected).sum() == count


@pytest.mark.parametrize("backend", BACKENDS)
def test_images_of_one_pixel_and_no_regions(backend):
    boxes, images = np.array([[0.0, 0, 2, 2]]), np.zeros(1, int)
    x = np.full((1, 6, 1, 1), 2.0, np.float32)
    none = np.zeros((0, 4)), np.zeros(0, int)
    with use_backend(backend):
        for some, of in ((boxes, images), none):
            shape = (len(some), 6, 2, 3)
            bins = bins_of(some, (2, 3), (1, 1), 1)
            values, winners = kernel("roi_pool", x)(x, *bins, of)
            assert values.shape == shape
            gx = kernel("add_roi_winners", values)(values, x.shape, winners, *bins, of)
            assert gx.shape == x.shape and gx.dtype == np.float32
            grid = samples_of(some, (2, 3), 2, False)
            np.testing.assert_array_equal(kernel("roi_align", x)(x, shape, *grid, of), np.full(shape, 2))
            back = kernel("roi_align_adjoint", x)(np.ones(shape, np.float32), x.shape, *grid, of)
            assert np.allclose(back, 6 * len(some))
            narrow = bins_of(some, (2, 3), (0, 0), 0)
            assert not kernel("ps_roi_pool", x)(x, (len(some), 1, 2, 3), *narrow, of).any()
            assert not kernel("ps_roi_pool_adjoint", x)(np.ones((len(some), 1, 2, 3), np.float32), x.shape, *narrow, of).any()


@pytest.mark.parametrize(("dtype", "end"), [(np.float32, 8), (np.float64, 7)])
def test_bins_are_computed_in_the_dtype_of_the_boxes(dtype, end):
    """As everywhere: 7 pixels in 13 bins, added up, are a little more than 7 in float32."""
    assert whole_bins(np.zeros(1, dtype), np.full(1, 6, dtype), 1.0, bins=13, size=9, last=1).stops[0, -1] == end


@pytest.mark.parametrize("value, expected", [(0.5, 1), (1.5, 2), (2.5, 3), (-0.5, -1), (0.49999997, 0), (-2.5, -3), (2.4, 2)])
def test_halves_are_rounded_away_from_zero(value, expected):
    value = np.array([value], np.float32)
    assert whole_bins(value + 0, value + 4, 1.0, 1, 9, 1).starts.item() == max(expected, 0)
    assert whole_bins(-value - 9, -value, 1.0, 1, 9, 1).stops.item() == max(1 - expected, 0)


def test_gradients_do_not_depend_on_threads():
    boxes = np.concatenate([random_boxes(60, seed) for seed in range(20)])
    images, random = images_of(boxes), np.random.default_rng(3)
    gy, threads, results = random.standard_normal((len(boxes), 12, 2, 3)).astype(np.float32), get_num_threads(), []
    rows, columns = bins_of(boxes, (2, 3), (7, 6), 1)
    winners = random.integers(-1, 42, gy.shape)
    try:
        for count in (1, 2, 3):
            set_num_threads(count)
            results.append([kernel("add_roi_winners", gy)(gy, (3, 12, 7, 6), winners, rows, columns, images),
                            kernel("ps_roi_pool_adjoint", gy)(gy, (3, 72, 7, 6), rows, columns, images),
                            kernel("roi_align_adjoint", gy)(gy, (3, 12, 7, 6), *samples_of(boxes, (2, 3), 2, True), images)])
    finally:
        set_num_threads(threads)
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert one.any() and np.array_equal(one, two)
