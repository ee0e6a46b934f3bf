"""Softmax and cross-entropy kernels against loops over rows in Python's floats."""

import itertools
import math

import numpy as np
import pytest

from minidl.kernels.cpu import cross_entropy as cpu_ce
from minidl.kernels.cpu import softmax as cpu
from minidl.kernels.cuda import cross_entropy, softmax
from minidl.kernels.portable import cross_entropy as portable_ce
from minidl.kernels.portable import softmax as portable
from tests.kernels.cuda import bfloat16, on_device, with_cuda

cuda, cuda_ce = on_device(softmax), on_device(cross_entropy)
TOLERANCE = {np.float16: 2e-3, bfloat16: 1.6e-2, np.float32: 2e-6, np.float64: 1e-14}
ROOMS = [(cpu, np.float32), (cpu, np.float64), (portable, np.float16), (portable, np.float32), (portable, np.float64)]
CE_ROOMS = [(cpu_ce if room is cpu else portable_ce, dtype) for room, dtype in ROOMS]
NAN, INF = math.nan, math.inf
by_room = pytest.mark.parametrize("room, dtype", with_cuda(ROOMS, cuda))
by_ce_room = pytest.mark.parametrize("room, dtype", with_cuda(CE_ROOMS, cuda_ce))


def naive_softmax(row):
    top = max(row)
    e = [math.exp(v - top) for v in row]
    return [v / math.fsum(e) for v in e]


def along(function, axis, *arrays):
    """Apply a function of lists to every line along an axis, in float64."""
    out = np.empty(arrays[0].shape)
    lines = [np.moveaxis(a.astype(np.float64), axis, -1) for a in arrays]
    for index in np.ndindex(lines[0].shape[:-1]):
        np.moveaxis(out, axis, -1)[index] = function(*(a[index].tolist() for a in lines))
    return out


def numbers(shape, dtype, seed=0, strided=False):
    random = np.random.default_rng(seed)
    if strided:
        wide = 3 * random.standard_normal([2 * n for n in shape])
        return wide.astype(dtype)[tuple(slice(None, None, 2) for _ in shape)]
    return (3 * random.standard_normal(shape)).astype(dtype)


SHAPES = [((5,), 0), ((4, 1), 1), ((3, 5), 1), ((3, 5), 0), ((2, 3, 4, 5), 1), ((2, 3, 4, 5), -1), ((1, 700), 1),
          ((3, 2051), 1), ((70, 37), 1), ((2, 96), 1), ((2, 1000), 1), ((2, 2056), 1), ((3, 201), 1), ((2, 301), 1)]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape, axis", SHAPES)
@by_room
def test_softmax(room, dtype, shape, axis, strided):
    x, gy = numbers(shape, dtype, strided=strided), numbers(shape, dtype, seed=1, strided=strided)
    before, tolerance = x.copy(), TOLERANCE[dtype]
    y, log_y = room.softmax(x, axis), room.log_softmax(x, axis)
    np.testing.assert_allclose(y, along(naive_softmax, axis, x), rtol=10 * tolerance, atol=tolerance)
    np.testing.assert_allclose(log_y, along(lambda r: [math.log(p) for p in naive_softmax(r)], axis, x),
                               rtol=tolerance, atol=tolerance)

    def softmax_grad(gy, y):
        mean = math.fsum(g * p for g, p in zip(gy, y, strict=True))
        return [p * (g - mean) for g, p in zip(gy, y, strict=True)]

    def log_softmax_grad(gy, y):
        return [g - math.exp(v) * math.fsum(gy) for g, v in zip(gy, y, strict=True)]

    scale = tolerance * shape[axis]
    gx, log_gx = room.softmax_grad(gy, y, axis), room.log_softmax_grad(gy, log_y, axis)
    np.testing.assert_allclose(gx, along(softmax_grad, axis, gy, y), rtol=tolerance, atol=scale)
    np.testing.assert_allclose(log_gx, along(log_softmax_grad, axis, gy, log_y), rtol=tolerance, atol=scale)
    assert y.dtype == log_y.dtype == gx.dtype == log_gx.dtype == dtype
    np.testing.assert_array_equal(x, before)


@by_room
def test_softmax_of_extremes(room, dtype):
    big = float(dtype(1e4))
    x = np.array([[big, 0, -big], [0, 0, -INF], [2, 2, 2]], dtype)
    np.testing.assert_array_equal(room.softmax(x, 1)[:2], [[1, 0, 0], [0.5, 0.5, 0]])
    np.testing.assert_allclose(room.softmax(x, 1)[2], 1 / 3, rtol=TOLERANCE[dtype])
    np.testing.assert_array_equal(room.log_softmax(x, 1)[0], [0, -big, -2 * big])
    np.testing.assert_allclose(room.log_softmax(x, 1)[1], [-math.log(2), -math.log(2), -INF], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
@by_room
def test_nan_fills_its_row_only(room, dtype, function):
    """Wherever the NaN stands: also where a comparison of maxima would pass over it."""
    for size, place in itertools.product((5, 13), range(5)):
        x = numbers((3, size), dtype)
        x[1, place] = NAN
        y = getattr(room, function)(x, 1)
        assert np.isnan(y[1]).all() and np.isfinite(y[[0, 2]]).all()
    for row in ([-INF, -INF, -INF], [INF, 1, 2]):
        assert np.isnan(getattr(room, function)(np.array([row], dtype), 1)).any()


@pytest.mark.parametrize("shape, axis", [((0, 3), 1), ((3, 0), 1), ((3, 0), 0)])
@by_room
def test_softmax_of_nothing(room, dtype, shape, axis):
    x = np.zeros(shape, dtype)
    ys = room.softmax(x, axis), room.log_softmax(x, axis)
    gxs = room.softmax_grad(x, x, axis), room.log_softmax_grad(x, x, axis)
    for y in ys + gxs:
        assert y.shape == shape and y.dtype == dtype


def naive_loss(x, t, w, ignore_index, s):
    if t == ignore_index:
        return 0.0
    logs = [math.log(p) for p in naive_softmax(x)]
    return -(1 - s) * w[t] * logs[t] - s / len(x) * math.fsum(a * b for a, b in zip(w, logs, strict=True))


def naive_grad(x, t, w, ignore_index, s):
    """By the chain rule from d log p_k / d x_c = [k = c] - p_c."""
    if t == ignore_index:
        return [0.0] * len(x)
    p = naive_softmax(x)
    q = [w[k] * (s / len(x) + (1 - s) * (k == t)) for k in range(len(x))]
    return [-math.fsum(q[k] * ((k == c) - p[c]) for k in range(len(x))) for c in range(len(x))]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("rows, classes, ignored", [(1, 3, -1), (7, 4, 2), (64, 10, -100), (5, 1, -100), (3, 2500, 0), (5, 96, 7),
                                                    (2, 1000, 3)])
@by_ce_room
def test_cross_entropy(room, dtype, rows, classes, ignored, smoothing, weighted):
    random = np.random.default_rng(0)
    x, gy = numbers((rows, classes), dtype, strided=weighted), numbers((rows,), dtype, seed=1)
    target = random.integers(0, classes, rows)
    target[rows // 2] = ignored
    weight = random.uniform(0, 2, classes).astype(dtype) if weighted else None
    w = weight.astype(float).tolist() if weighted else [1.0] * classes
    before, args = x.copy(), (target, weight, ignored, smoothing)
    loss, log_total = room.cross_entropy(x, *args)
    gx = room.cross_entropy_grad(gy, x, log_total, *args)
    scalars = [(row.tolist(), int(t), w, ignored, smoothing) for row, t in zip(x.astype(float), target, strict=True)]
    tolerance = TOLERANCE[dtype]
    np.testing.assert_allclose(loss, [naive_loss(*s) for s in scalars], rtol=5 * tolerance, atol=tolerance)
    if classes < 100:  # the naive gradient is quadratic
        expected = [[float(g) * v for v in naive_grad(*s)] for g, s in zip(gy, scalars, strict=True)]
        np.testing.assert_allclose(gx, expected, rtol=5 * tolerance, atol=5 * tolerance)
    assert loss.dtype == gx.dtype == dtype and loss.shape == (rows,) and gx.shape == x.shape
    np.testing.assert_array_equal(x, before)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [0, 1, 300, 5000])
@pytest.mark.parametrize("room, dtype", with_cuda([room for room in CE_ROOMS if room[0] is portable_ce], cuda_ce))
def test_mean_loss(room, dtype, rows, weighted):
    random = np.random.default_rng(0)
    target = random.integers(0, 5, rows)
    loss = (random.uniform(0, 3, rows) * (target != 2)).astype(dtype)
    weight = random.uniform(0, 2, 5).astype(dtype) if weighted else None
    counted = [float(weight[t]) if weighted else 1.0 for t in target if t != 2]
    expected = math.fsum(loss.astype(float)) / math.fsum(counted) if counted else NAN
    mean, total = room.mean_loss(loss, target, weight, 2, 5)
    np.testing.assert_allclose([mean, total], [expected, math.fsum(counted)], rtol=TOLERANCE[dtype])
    assert (mean.shape, mean.dtype, total.shape, total.dtype) == ((), dtype, (), np.float64)


@by_ce_room
def test_one_gradient_for_all_rows(room, dtype):
    x, target = numbers((4, 5), dtype), np.array([1, 0, 4, 2])
    log_total = room.cross_entropy(x, target, None, 0, 0.1)[1]
    one, each = (room.cross_entropy_grad(np.full(shape, 0.5, dtype), x, log_total, target, None, 0, 0.1) for shape in ((), 4))
    np.testing.assert_array_equal(one, each)


@by_ce_room
def test_cross_entropy_of_extremes(room, dtype):
    x = np.array([[1e4, 0, -1e4], [1e4, 0, -1e4], [0, -INF, 0], [NAN, 0, 0], [NAN, 0, 0]], dtype)
    target = np.array([0, 2, 0, 1, -100])
    loss, log_total = room.cross_entropy(x, target, None, -100, 0.0)
    np.testing.assert_allclose(loss, [0, 2e4, math.log(2), NAN, 0], rtol=TOLERANCE[dtype])
    gx = room.cross_entropy_grad(np.ones(5, dtype), x, log_total, target, None, -100, 0.0)
    np.testing.assert_allclose(gx[[0, 1, 2, 4]], [[0, 0, 0], [1, 0, -1], [-0.5, 0, 0.5], [0, 0, 0]], atol=1e-7)
    assert np.isnan(gx[3]).all()


@by_ce_room
def test_cross_entropy_of_no_rows(room, dtype):
    x, target = np.zeros((0, 3), dtype), np.zeros(0, np.int64)
    loss, log_total = room.cross_entropy(x, target, None, -100, 0.1)
    assert loss.shape == (0,) and loss.dtype == dtype
    assert room.cross_entropy_grad(loss, x, log_total, target, None, -100, 0.1).shape == (0, 3)


def test_many_rows_on_all_threads():
    x = numbers((9001, 23), np.float32)
    target = np.random.default_rng(2).integers(0, 23, 9001)
    y, expected = cpu.softmax(x, 1), portable.softmax(x.astype(np.float64), 1)
    np.testing.assert_allclose(y, expected, rtol=1e-6, atol=1e-9)
    args = target, None, -100, 0.0
    (loss, total), (expected, totals) = (room.cross_entropy(x, *args) for room in (cpu_ce, portable_ce))
    np.testing.assert_allclose(loss, expected, rtol=1e-6, atol=1e-6)
    gy = np.ones(9001, np.float32)
    gx, expected = cpu_ce.cross_entropy_grad(gy, x, total, *args), portable_ce.cross_entropy_grad(gy, x, totals, *args)
    np.testing.assert_allclose(gx, expected, atol=1e-6)


def test_exp_within_one_ulp():
    from minidl.kernels.cpu.compile import jit
    from minidl.kernels.cpu.exp import exp

    @jit
    def each(x, y):
        for i in range(x.size):
            y[i] = exp(x[i])

    x = np.linspace(-87, 88, 200_003, dtype=np.float32)
    y = np.empty_like(x)
    each(x, y)
    expected = np.exp(x.astype(np.float64))
    assert (np.abs(y - expected) / np.spacing(expected.astype(np.float32))).max() <= 1
    edges = np.array([NAN, INF, -INF, 0, -200, 200], np.float32)
    found = np.empty_like(edges)
    each(edges, found)
    np.testing.assert_array_equal(found, [NAN, INF, 0, 1, 0, INF])
