"""RoI ops: known values, gradients of both orders, boxes of every kind, and mistakes."""

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from minidl.ops.roi import ps_roi_pool, roi_align, roi_pool
from tests.checks import check_gradients, gradients_of, leaf

OPS = [roi_pool, roi_align, ps_roi_pool]
BOXES = [[1, 0.0, 1.0, 5.0, 6.0], [0, 2.6, 3.2, 9.0, 4.0], [2, 1.0, 1.0, 1.0, 1.0], [1, 4.0, 5.0, 2.0, 1.0],
         [0, -3.0, -2.0, 3.0, 2.0], [0, 30.0, 30.0, 40.0, 40.0]]
CASES = [lambda x, b: roi_pool(x, b, (2, 3)), lambda x, b: roi_pool(x, b, 2, 0.7), lambda x, b: ps_roi_pool(x, b, (2, 3), 0.8),
         lambda x, b: roi_align(x, b, (2, 3)), lambda x, b: roi_align(x, b, (3, 2), 0.6, 2, True),
         lambda x, b: roi_align(x, b, 2, sampling_ratio=1), lambda x, b: roi_align(x, b, 2, aligned=True)]


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("function", CASES)
def test_gradients(function, backend):
    boxes = minidl.tensor(BOXES, dtype="float64")
    with minidl.use_backend(backend):
        check_gradients(lambda x: function(x, boxes), leaf(3, 6, 5, 4))
        check_gradients(lambda x: function(x, boxes), leaf(3, 6, 4, 5, strided=True))


@pytest.mark.parametrize("function", CASES)
def test_boxes_as_a_list_and_strided(function):
    x = leaf(3, 6, 5, 4)
    whole = minidl.tensor(sorted(BOXES), dtype="float64")
    each = [whole[whole[:, 0] == n][:, 1:] for n in range(3)]
    assert [len(b.array) for b in each] == [3, 2, 1]
    expected = np.asarray(function(x, whole))
    assert np.array_equal(np.asarray(function(x, each)), expected)
    assert np.array_equal(np.asarray(function(x, minidl.tensor(np.repeat(sorted(BOXES), 2, 1))[:, ::2])), expected)
    each[1] = minidl.zeros(0, 4, dtype="float64")
    assert np.array_equal(np.asarray(function(x, each)), expected[[0, 1, 2, 5]])


def test_roi_align_of_a_ramp():
    x = minidl.arange(25.0).reshape(1, 1, 5, 5)
    boxes = [minidl.tensor([[1.0, 1.0, 3.0, 3.0]])]
    for aligned, first in ((False, 7.5), (True, 4.5)):  # detectron2's test
        expected = first + np.arange(4)[:, None] * 2.5 + np.arange(4) * 0.5
        assert np.array_equal(np.asarray(roi_align(x, boxes, 4, aligned=aligned))[0, 0], expected)
    point = [minidl.tensor([[2.0, 2.0, 2.0, 2.0]])]
    assert roi_align(x, point, 1, aligned=True).item() == 0
    assert roi_align(x, point, 1).item() == 15  # one pixel from (2, 2) on, whose middle is at (2.5, 2.5)


def test_one_aligned_sample_crops_and_resizes():
    x = minidl.tensor(np.random.default_rng(0).standard_normal((1, 2, 12, 13)))
    crop = minidl.interpolate(x[:, :, 2:10, 3:12], (4, 3), mode="bilinear")
    warped = roi_align(x, [minidl.tensor([[3.0, 2.0, 12.0, 10.0]])], (4, 3), 1, 1, True)
    np.testing.assert_allclose(np.asarray(warped), np.asarray(crop), rtol=1e-12)


def test_roi_pool_rounds_halves_away_from_zero():
    x = minidl.arange(25.0).reshape(1, 1, 5, 5)
    assert roi_pool(x, minidl.tensor([[0, 0.0, 0.0, 2.5, 2.5]]), 1).item() == 18  # to pixel (3, 3)
    assert roi_pool(-x, minidl.tensor([[0, 2.5, 0.5, 4.0, 4.0]]), 1).item() == -8  # from pixel (1, 3)


def test_the_first_of_equal_elements_gets_the_gradient():
    x = minidl.ones(1, 1, 3, 3, requires_grad=True)
    boxes = minidl.tensor([[0, 0.0, 0.0, 2.0, 2.0], [0, 0.0, 0.0, 1.0, 1.0], [0, 1.0, 1.0, 2.0, 2.0], [0, 7.0, 7.0, 9.0, 9.0]])
    (gx,) = gradients_of(lambda x: roi_pool(x, boxes, 1), x)
    assert gx.tolist() == [[[[2, 0, 0], [0, 1, 0], [0, 0, 0]]]]
    assert np.isnan(roi_pool(minidl.full((1, 1, 2, 2), float("nan")), boxes[:1], 1).item())


@pytest.mark.parametrize("function", OPS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_dtypes(dtype, function):
    x = minidl.tensor(np.random.default_rng(0).uniform(-1, 1, (3, 6, 5, 4)), dtype=dtype, requires_grad=True)
    boxes = minidl.tensor(BOXES, dtype="float64")
    before = np.asarray(boxes).copy()
    y = function(x, boxes, (2, 3))
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype
    wide = function(x.detach().double(), boxes, (2, 3))
    np.testing.assert_allclose(np.asarray(y.detach()).astype(float), np.asarray(wide), atol={"float16": 1e-3}.get(dtype, 1e-6))
    assert np.array_equal(np.asarray(boxes), before)
    assert function(x, minidl.tensor([[1, 0, 1, 5, 6]]), 1 if function is not ps_roi_pool else (2, 3)).dtype == dtype  # integers


@pytest.mark.parametrize("function", OPS)
def test_nothing_to_do(function):
    x = minidl.zeros(3, 6, 5, 4, requires_grad=True)
    for boxes in (minidl.zeros(0, 5), [minidl.zeros(0, 4)] * 3):
        y = function(x, boxes, (2, 3))
        assert y.shape == (0, 1 if function is ps_roi_pool else 6, 2, 3)
        y.sum().backward()
        assert not np.asarray(x.grad).any()
    images = minidl.zeros(0, 6, 5, 4, requires_grad=True)
    for boxes in (minidl.zeros(0, 5), []):
        y = function(images, boxes, (2, 3))
        y.sum().backward()
        assert y.shape[0] == 0 and images.grad.shape == (0, 6, 5, 4)


@pytest.mark.parametrize("function", OPS)
@pytest.mark.parametrize(("boxes", "error", "message"), [
    ([[3, 0.0, 0, 1, 1]], IndexError, "3.0 is not the index of one of 3 images"),
    ([[-1, 0.0, 0, 1, 1]], IndexError, "-1.0 is not the index"),
    ([[0.5, 0.0, 0, 1, 1]], IndexError, "0.5 is not the index"),
    ([[float("nan"), 0.0, 0, 1, 1]], IndexError, "nan is not the index"),
    ([[0, 0.0, float("nan"), 1, 1]], ValueError, r"box \[0.0, nan, 1.0, 1.0\] holds NaN"),
    ([[0, 0.0, 0, 1, float("inf")]], ValueError, "clip it with clip_boxes_to_image"),
    ([[0, -1e9, 0, 1, 1]], ValueError, "farther than 16777216 pixels"),
    ([[0.0, 0, 1, 1]], ShapeError, r"boxes \(K, 5\).*got shape \(1, 4\)"),
])
def test_mistakes_in_boxes(boxes, error, message, function):
    with pytest.raises(error, match=f"{function.__name__}.*{message}"):
        function(minidl.zeros(3, 6, 5, 4), minidl.tensor(boxes), (2, 3))


@pytest.mark.parametrize("function", OPS)
def test_other_mistakes(function):
    x, boxes = minidl.zeros(3, 6, 5, 4), minidl.zeros(1, 5)
    for call, error, message in [
        (lambda: function(x[0], boxes, (2, 3)), ShapeError, r"\(N, C, H, W\)"),
        (lambda: function(x[:, :, :0], boxes, (2, 3)), ShapeError, "non-empty image"),
        (lambda: function(x.long(), boxes, (2, 3)), DtypeError, "floating-point"),
        (lambda: function(x, boxes, (0, 3)), ShapeError, "output_size of at least 1"),
        (lambda: function(x, boxes, (2, 3), 0), ShapeError, "positive spatial_scale"),
        (lambda: function(x, boxes, "7"), TypeError, "output_size must be"),
        (lambda: function(x, [boxes[:, 1:]], (2, 3)), ShapeError, "3 images, a list of 1"),
        (lambda: function(x, [boxes] * 3, (2, 3)), ShapeError, r"boxes \(N, 4\)"),
    ]:
        with pytest.raises(error, match=message):
            call()
    with pytest.raises(ShapeError, match="a multiple of 4"):
        ps_roi_pool(x, boxes, 2)
