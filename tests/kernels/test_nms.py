"""Non-maximum suppression of both rooms against loops over pairs of boxes."""

import math
import time

import numpy as np
import pytest

from minidl.kernels import use_backend
from minidl.kernels.cpu import nms as compiled
from tests.kernels.cuda import cuda_runs, kernel

BACKENDS = ["portable", None, pytest.param("cuda", marks=cuda_runs)]


def iou(a, b):
    """In float64; 0 for boxes that do not overlap."""
    a, b = a.astype(float), b.astype(float)
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if np.isnan([*a, *b]).any() or width <= 0 or height <= 0:
        return 0.0
    return width * height / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height)


def naive_nms(boxes, threshold):
    stay = []
    for box in boxes:
        stay.append(not any(kept and iou(other, box) > threshold for kept, other in zip(stay, boxes, strict=False)))
    return stay


def naive_soft_nms(boxes, scores, threshold, sigma, least):
    left, order, reached = {i: float(s) for i, s in enumerate(scores) if s >= least}, [], []
    while left:
        best = max(left, key=lambda i: (left[i], -i))
        order.append(best)
        reached.append(left.pop(best))
        for i in left:
            overlap = iou(boxes[best], boxes[i])
            if sigma:
                left[i] *= math.exp(-overlap**2 / sigma)
            elif overlap > threshold:
                left[i] *= 1 - overlap
        left = {i: s for i, s in left.items() if s >= least}
    return order, reached


def clustered(count, seed, integers=False):
    """Boxes around a few places, some empty, inverted or with a NaN."""
    random = np.random.default_rng(seed)
    centres, sizes = random.uniform(0, 40, (5, 2))[random.integers(0, 5, count)], random.uniform(5, 9, (count, 2))
    centres += random.normal(0, 2, (count, 2))
    boxes = np.concatenate([centres - sizes / 2, centres + sizes / 2], 1)
    if integers:
        boxes = boxes.round()
    boxes[::17, 2] = boxes[::17, 0]
    boxes[5::19] = boxes[5::19][:, [2, 1, 0, 3]]
    boxes[3::23, 1] = np.nan
    return boxes


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("integers", [False, True])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_nms(threshold, integers, dtype, backend, monkeypatch):
    monkeypatch.setattr(compiled, "BLOCK", 16)  # several blocks
    boxes = clustered(150, 3, integers).astype(dtype)
    before = boxes.copy()
    with use_backend(backend):
        stay = kernel("nms", boxes)(boxes, threshold)
        assert stay.dtype == bool and stay.tolist() == naive_nms(boxes, threshold)
        strided = np.repeat(boxes, 2, 1)[:, ::2]
        assert np.array_equal(kernel("nms", boxes)(strided, threshold), stay)
    np.testing.assert_array_equal(boxes, before)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_an_overlap_of_exactly_the_threshold_suppresses_nothing(dtype, backend):
    with use_backend(backend):
        for part in range(1, 11):  # part / 10 of a box of 10 x 1
            boxes = np.array([[0, 0, 10, 1], [0, 0, part, 1]], dtype)
            assert kernel("nms", boxes)(boxes, part / 10).tolist() == [True, True]
            assert kernel("nms", boxes)(boxes, part / 10 - 1e-5).tolist() == [True, False]
        odd = np.random.default_rng(0).uniform(0, 1, (64, 1, 4)) + [0, 0, 1, 1]
        for pair in odd.astype(dtype).repeat(2, 1):
            assert kernel("nms", pair)(pair, 1.0).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_boxes_and_one(backend):
    with use_backend(backend):
        for count in (0, 1):
            boxes, scores = np.zeros((count, 4), np.float32), np.ones(count, np.float32)
            assert kernel("nms", boxes)(boxes, 0.5).tolist() == [True] * count
            order, reached = kernel("soft_nms", boxes)(boxes, scores, 0.5, 0.0, 0.1)
            assert order.tolist() == [0] * count and reached.tolist() == [1] * count
            assert order.dtype == np.int64 and reached.dtype == np.float32


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("threshold", "sigma"), [(0.3, 0.0), (0.0, 0.0), (0.3, 0.5), (0.3, 0.1)])
def test_soft_nms(threshold, sigma, dtype, backend):
    boxes = clustered(60, 4).astype(dtype)
    scores = np.random.default_rng(5).integers(1, 20, 60).astype(dtype) / 20  # with ties
    scores[7] = np.nan
    before = scores.copy()
    with use_backend(backend):
        order, reached = kernel("soft_nms", boxes)(boxes, scores, threshold, sigma, 0.1)
    expected, values = naive_soft_nms(boxes, scores, threshold, sigma, 0.1)
    assert 10 < len(expected) < 59  # some are out
    assert order.tolist() == expected and reached.dtype == dtype
    np.testing.assert_allclose(reached, values, rtol=1e-5 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(scores, before)


def test_many_boxes_take_less_than_a_second():
    """100,000 boxes as a region proposal network makes them: most near an object, the others anywhere."""
    random, count = np.random.default_rng(0), 100_000
    sizes, places = np.exp(random.uniform(3, 6, (30, 2))), random.uniform(0, 1000, (30, 2))
    of = random.integers(0, 30, count)
    near = (random.random(count) < 0.7)[:, None]
    centres = np.where(near, places[of] + random.normal(0, 0.15, (count, 2)) * sizes[of], random.uniform(0, 1000, (count, 2)))
    extents = np.where(near, sizes[of] * np.exp(random.normal(0, 0.2, (count, 2))), np.exp(random.uniform(3, 6, (count, 2)))) / 2
    boxes = np.clip(np.concatenate([centres - extents, centres + extents], 1), 0, 1000).astype(np.float32)
    compiled.nms(boxes[:1000], 0.7)  # compiles
    times = []
    for _ in range(3):
        start = time.perf_counter()
        stay = compiled.nms(boxes, 0.7)
        times.append(time.perf_counter() - start)
    assert 10_000 < stay.sum() < 60_000 and min(times) < 1
