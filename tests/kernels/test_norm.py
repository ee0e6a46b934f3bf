"""Normalisation kernels against loops over elements in Python's floats."""

import itertools
import math

import numpy as np
import pytest

from minidl.kernels.cpu import norm as cpu
from minidl.kernels.cuda import norm
from minidl.kernels.portable import norm as portable
from tests.kernels.cuda import bfloat16, cuda_runs, on_device, with_cuda

cuda = on_device(norm)
TOLERANCE = {np.float16: 2e-3, bfloat16: 1.6e-2, np.float32: 1e-6, np.float64: 1e-13}
ROOMS = [(cpu, np.float32), (cpu, np.float64), (portable, np.float16), (portable, np.float32), (portable, np.float64)]
EPS = 1e-5

by_room = pytest.mark.parametrize("room, dtype", with_cuda(ROOMS, cuda))


def of_sums(room, dtype):
    """The tolerance of statistics, which are float64: CUDA adds up deviations in float, where numbers are not float64, and only
    a few; the variance loses up to a digit to a pivot that lies two deviations from the mean.
    """
    return 1e-12 if room is not cuda or dtype == np.float64 else 2e-6


def numbers(shape, dtype, seed=0, strided=False):
    random = np.random.default_rng(seed)
    if strided:
        wide = random.standard_normal([2 * n for n in shape])
        return wide.astype(dtype)[tuple(slice(None, None, 2) for _ in shape)]
    return random.standard_normal(shape).astype(dtype)


def naive_statistics(values):
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((v - mean) ** 2 for v in values) / len(values)


def naive(x, gy, weight, bias, share, fixed=None):
    """All results, element by element. ``share(n, c)`` names the statistics that an element belongs to; fixed ones can be given
    as {name: (mean, var)}.
    """
    members = {}
    for index in np.ndindex(x.shape):
        members.setdefault(share(*index[:2]), []).append(index)
    statistics = fixed or {name: naive_statistics([float(x[i]) for i in at]) for name, at in members.items()}
    y, gx = np.empty(x.shape), np.empty(x.shape)
    gweight, gbias = np.zeros(len(weight)), np.zeros(len(weight))
    for name, at in members.items():
        mean, var = statistics[name]
        std = math.sqrt(var + EPS)
        hat = {i: (float(x[i]) - mean) / std for i in at}
        h = {i: float(gy[i]) * float(weight[i[1]]) for i in at}
        mean_h, mean_h_hat = (0, 0) if fixed else (sum(h.values()) / len(at), sum(h[i] * hat[i] for i in at) / len(at))
        for i in at:
            y[i] = hat[i] * float(weight[i[1]]) + float(bias[i[1]])
            gx[i] = (h[i] - mean_h - hat[i] * mean_h_hat) / std
            gweight[i[1]] += float(gy[i]) * hat[i]
            gbias[i[1]] += float(gy[i])
    return y, gx, gweight, gbias, statistics


def check(found, expected, x):
    """y and gx in the dtype of x; the rest, sums in float64 of what has this dtype."""
    tolerance = TOLERANCE[x.dtype.type]
    for array, value, dtype in zip(found, expected, [x.dtype, x.dtype, np.float64, np.float64], strict=True):
        np.testing.assert_allclose(array, value, rtol=10 * tolerance, atol=10 * tolerance)
        assert array.dtype == dtype


BATCHES = [(5, 3), (2, 1), (5, 3, 4), (2, 3, 4, 5), (3, 4, 1, 1), (1, 2, 3, 7), (2, 37, 2, 3)]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", BATCHES)
@by_room
def test_batch_norm(room, dtype, shape, strided):
    x, gy = (numbers(shape, dtype, seed, strided) for seed in (0, 1))
    weight, bias = (numbers(shape[1:2], dtype, seed, strided) for seed in (2, 3))
    inputs = x, gy, weight, bias
    before = [a.copy() for a in inputs]
    y, mean, var = room.batch_norm(x, weight, bias, EPS)
    tolerance = of_sums(room, dtype)
    *expected, statistics = naive(*inputs, lambda n, c: c)
    check((y, *room.batch_norm_grad(gy, x, weight, EPS, mean, var, False)), expected, x)
    for c in range(shape[1]):
        np.testing.assert_allclose((mean[c], var[c]), statistics[c], rtol=tolerance, atol=tolerance)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("shape", BATCHES)
@by_room
def test_batch_norm_with_given_statistics(room, dtype, shape):
    x, gy = (numbers(shape, dtype, seed) for seed in (0, 1))
    weight, bias, mean = (numbers(shape[1:2], dtype, seed) for seed in (2, 3, 4))
    var = np.abs(numbers(shape[1:2], np.float32, 5)) + np.float32(0.5)
    before = mean.copy(), var.copy()
    given = {c: (float(mean[c]), float(var[c])) for c in range(shape[1])}
    *expected, _ = naive(x, gy, weight, bias, lambda n, c: c, given)
    y = room.batch_norm(x, weight, bias, EPS, mean, var)[0]
    check((y, *room.batch_norm_grad(gy, x, weight, EPS, mean, var, True)), expected, x)
    np.testing.assert_array_equal(mean, before[0])
    np.testing.assert_array_equal(var, before[1])


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("channels", [1, 5, 300])
@pytest.mark.parametrize("room, dtype", with_cuda([row for row in ROOMS if row[0] is portable], cuda))
def test_running_statistics_move(room, dtype, channels, strided):
    running = [numbers((channels,), dtype, seed, strided) for seed in (0, 1)]
    batch = [numbers((channels,), np.float64, seed) for seed in (2, 3)]
    running[0][0] = batch[1][channels - 1] = np.nan
    kept = [a.copy() for a in (*running, *batch)]
    room.move_statistics(*running, *batch, 0.3, 7)
    for found, old, new, unbiased in zip(running, kept[:2], kept[2:], (1, 7 / 6), strict=True):
        expected = [0.7 * float(old[c]) + 0.3 * float(new[c]) * unbiased for c in range(channels)]
        np.testing.assert_allclose(found.astype(float), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])
        assert np.isnan(found.astype(float)).sum() == 1
    for found, before in zip(batch, kept[2:], strict=True):
        np.testing.assert_array_equal(found, before)


@pytest.mark.parametrize("room", [portable, pytest.param(cuda, marks=cuda_runs)], ids=["portable", "cuda"])
def test_running_statistics_of_two_dtypes(room):
    mean, var = np.ones(3, np.float16), np.ones(3, np.float32)
    room.move_statistics(mean, var, np.full(3, 3.0), np.full(3, 3.0), 0.5, 2)
    np.testing.assert_array_equal(mean, [2, 2, 2])
    np.testing.assert_array_equal(var, [3.5, 3.5, 3.5])


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("shape", BATCHES)
@by_room
def test_batch_norm_with_relu(room, dtype, shape, fixed):
    """As the two after another; a value of 0, and one of NaN, on which gy depends."""
    x, gy = (numbers(shape, dtype, seed) for seed in (0, 1))
    weight, bias = (numbers(shape[1:2], dtype, seed) for seed in (2, 3))
    weight[0] = bias[0] = 0
    given = (numbers(shape[1:2], np.float32, 4), np.abs(numbers(shape[1:2], np.float32, 5)) + np.float32(0.5)) if fixed else ()
    if fixed:
        x[0, -1] = np.nan
    plain, mean, var = room.batch_norm(x, weight, bias, EPS, *given)
    y = room.batch_norm(x, weight, bias, EPS, *given, relu=True)[0]
    off = plain.astype(float) <= 0
    np.testing.assert_array_equal(y.astype(float), np.where(off, 0, plain.astype(float)))
    found = room.batch_norm_grad(gy, x, weight, EPS, mean, var, fixed, bias)
    expected = room.batch_norm_grad(np.where(off, 0, gy).astype(dtype), x, weight, EPS, mean, var, fixed)
    for got, want in zip(found, expected, strict=True):
        assert got.dtype == want.dtype
        got, want = got.astype(float), want.astype(float)
        np.testing.assert_allclose(got, want, rtol=10 * TOLERANCE[dtype], atol=10 * TOLERANCE[dtype])


GROUPS = [((3, 6), 2), ((4, 5), 1), ((37, 3), 3), ((3, 6, 5), 2), ((2, 6, 4, 5), 3), ((1, 4, 2, 3), 1), ((2, 4, 3, 1), 4),
          ((18, 2, 3, 2), 2)]


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape, groups", GROUPS)
@by_room
def test_group_norm(room, dtype, shape, groups, strided):
    if math.prod(shape) == shape[0] * groups:
        return check_single_elements(room, dtype, shape, groups)
    x, gy = (numbers(shape, dtype, seed, strided) for seed in (0, 1))
    weight, bias = (numbers(shape[1:2], dtype, seed, strided) for seed in (2, 3))
    inputs = x, gy, weight, bias
    before = [a.copy() for a in inputs]
    y, mean, var = room.group_norm(x, groups, weight, bias, EPS)
    tolerance = of_sums(room, dtype)
    *expected, statistics = naive(*inputs, lambda n, c: (n, c * groups // shape[1]))
    check((y, *room.group_norm_grad(gy, x, groups, weight, EPS, mean, var)), expected, x)
    for n, group in itertools.product(range(shape[0]), range(groups)):
        np.testing.assert_allclose((mean[n, group], var[n, group]), statistics[n, group], rtol=tolerance, atol=tolerance)
    for array, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(array, copy)


def check_single_elements(room, dtype, shape, groups):
    """One element is its own mean: nothing of it is left."""
    x, gy, weight, bias = numbers(shape, dtype), numbers(shape, dtype, 1), *numbers((2, shape[1]), dtype, 2)
    y, mean, var = room.group_norm(x, groups, weight, bias, EPS)
    np.testing.assert_array_equal(y, np.broadcast_to(bias, shape))
    np.testing.assert_array_equal(var, np.zeros((shape[0], groups)))
    gx, gweight, gbias = room.group_norm_grad(gy, x, groups, weight, EPS, mean, var)
    np.testing.assert_allclose(gx, np.zeros(shape), atol=1e-10)
    np.testing.assert_array_equal(gweight, np.zeros(shape[1]))
    np.testing.assert_allclose(gbias, gy.sum(0, dtype=np.float64), rtol=1e-12)


@pytest.mark.parametrize("shape", [(1000, 40), (50, 2, 10, 7)])
@by_room
def test_a_large_mean_costs_no_digits(room, dtype, shape):
    """Mean 1000, deviation 1: E[x²] - E[x]² in float32 gives a variance of 0.8125 instead of 1.004."""
    x, gy = (1000 + numbers(shape, np.float64)).astype(dtype), numbers(shape, dtype, 1)
    one, zero = np.ones(shape[1], dtype), np.zeros(shape[1], dtype)
    positions = tuple(range(2, len(shape)))
    y, mean, var = room.batch_norm(x, one, zero, EPS)
    batch = y, var, *room.batch_norm_grad(gy, x, one, EPS, mean, var, False)
    y, mean, var = room.group_norm(x, 1, one, zero, EPS)
    group = y, var, *room.group_norm_grad(gy, x, 1, one, EPS, mean, var)
    tolerance = 20 * TOLERANCE[dtype]  # in float64 the mean itself is rounded by 1e-13
    loose = room is cuda and dtype != np.float64  # its terms are float, and sums of a thousand of them are compared
    for (y, var, gx, gweight, _), shared in ((batch, (0, *positions)), (group, (1, *positions))):
        wide, h = x.astype(np.float64), gy.astype(np.float64)
        average = {"axis": shared, "keepdims": True}
        std = np.sqrt(wide.var(**average) + EPS)
        hat = (wide - wide.mean(**average)) / std
        np.testing.assert_allclose(y, hat, rtol=tolerance, atol=tolerance)
        np.testing.assert_allclose(var.ravel(), wide.var(axis=shared).ravel(), rtol=of_sums(room, dtype))
        np.testing.assert_allclose(gx, (h - h.mean(**average) - hat * (h * hat).mean(**average)) / std, rtol=tolerance,
                                   atol=tolerance)
        np.testing.assert_allclose(gweight, (h * hat).sum((0, *positions)), atol=1e-5 if loose else 1e-9)


@pytest.mark.parametrize("shape", [(16, 3), (4, 3, 4, 2), (2, 16)])
@pytest.mark.parametrize("room, dtype", with_cuda([row for row in ROOMS if row[1] == np.float32], cuda, (np.float32, bfloat16)))
def test_deviations_whose_squares_overflow(room, dtype, shape):
    """Above 6e18 squares are infinite on a GPU, which has them in float32, and y is the bias; the CPU has them in float64."""
    signs, one, half = 1 - np.indices(shape).sum(0) % 2 * 2, np.ones(shape[1], dtype), np.full(shape[1], 0.5, dtype)
    for spread, overflows in ((6e18, False), (3e19, room is cuda)):
        x = (signs * (spread / 2)).astype(dtype)
        exact = x.astype(np.float64)
        for shared, (y, mean, var) in (((0, *range(2, len(shape))), room.batch_norm(x, one, half, EPS)),
                                       (tuple(range(1, len(shape))), room.group_norm(x, 1, one, half, EPS))):
            np.testing.assert_allclose(mean.ravel(), exact.mean(shared), rtol=1e-6, atol=1e-7 * spread)
            if overflows:
                np.testing.assert_array_equal(var, np.full_like(var, np.inf))
                np.testing.assert_array_equal(y.astype(float), np.full(shape, 0.5))
            else:
                np.testing.assert_allclose(var.ravel(), exact.var(shared), rtol=1e-6)
                hat = (exact - exact.mean(shared, keepdims=True)) / exact.std(shared, keepdims=True)
                np.testing.assert_allclose(y.astype(float), hat + 0.5, atol=2 * TOLERANCE[dtype])


@pytest.mark.parametrize("shape", [(10_000_000, 1), (10, 1, 1000, 1000)])
def test_sums_over_ten_million_terms(shape):
    x = np.random.default_rng(0).uniform(0, 1, shape).astype(np.float32)
    one, zero = np.ones(1, np.float32), np.zeros(1, np.float32)
    mean, var = np.array([0.25]), np.array([1 - EPS])
    exact, square = math.fsum(x.ravel().tolist()), math.fsum((x.ravel() * (x.ravel() - np.float64(0.25))).tolist())
    _, gweight, gbias = cpu.batch_norm_grad(x, x, one, EPS, mean, var, True)
    assert abs(gbias[0] / exact - 1) < 1e-6 and abs(gweight[0] / square - 1) < 1e-6
    _, found, _ = cpu.batch_norm(x, one, zero, EPS)
    assert abs(found[0] * x.size / exact - 1) < 1e-6
    _, gweight, gbias = cpu.group_norm_grad(x, x, 1, one, EPS, np.full((len(x), 1), 0.25), np.full((len(x), 1), 1 - EPS))
    assert abs(gbias[0] / exact - 1) < 1e-6 and abs(gweight[0] / square - 1) < 1e-6


@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
@by_room
def test_nan_fills_what_shares_its_statistics(room, dtype, shape):
    x = numbers(shape, dtype)
    x.reshape(4, 3, -1)[2, 1, 0] = math.nan
    one, zero = np.ones(3, dtype), np.zeros(3, dtype)
    y, _, _ = room.batch_norm(x, one, zero, EPS)
    assert np.isnan(y[:, 1]).all() and np.isfinite(y[:, [0, 2]]).all()
    y, _, _ = room.group_norm(x, 1, one, zero, EPS)
    assert np.isnan(y[2]).all() and np.isfinite(y[[0, 1, 3]]).all()
    y, _, _ = room.batch_norm(x, one, zero, EPS, zero, one)
    assert np.isnan(y).sum() == 1


@pytest.mark.parametrize("number", [math.inf, math.nan])
@pytest.mark.parametrize("shape", [(4, 3), (4, 3, 2, 2)])
@by_room
def test_what_is_not_finite_keeps_to_itself_where_statistics_are_given(room, dtype, shape, number):
    x, gy, one = numbers(shape, dtype), np.ones(shape, dtype), np.ones(3, dtype)
    x.reshape(4, 3, -1)[2, 1, 0] = number
    gx, gweight, _ = room.batch_norm_grad(gy, x, one, 0.0, np.zeros(3), np.ones(3), True)
    np.testing.assert_array_equal(gx.astype(float), gy.astype(float))
    assert np.isfinite(gweight).tolist() == [True, False, True]
    gx, _, gbias = room.batch_norm_grad(x, gy, one, 0.0, np.zeros(3), np.ones(3), True)
    np.testing.assert_array_equal(gx.astype(float), x.astype(float))
    assert np.isfinite(gbias).tolist() == [True, False, True]


@pytest.mark.parametrize("shape", [(0, 3), (0, 4, 2, 2), (2, 4, 0, 3), (2, 0)])
@by_room
def test_of_nothing(room, dtype, shape):
    x = np.zeros(shape, dtype)
    one, zero = np.ones(shape[1], dtype), np.zeros(shape[1], dtype)
    y, mean, var = room.batch_norm(x, one, zero, EPS)
    assert y.shape == shape and y.dtype == dtype and np.isnan(mean).all() and np.isnan(var).all()
    gx, gweight, gbias = room.batch_norm_grad(x, x, one, EPS, mean, var, False)
    assert gx.shape == shape and gweight.tolist() == gbias.tolist() == [0] * shape[1]
    y, mean, var = room.group_norm(x, 1, one, zero, EPS)
    assert y.shape == shape and mean.shape == var.shape == (shape[0], 1)
    gx, gweight, gbias = room.group_norm_grad(x, x, 1, one, EPS, mean, var)
    assert gx.shape == shape and gweight.tolist() == gbias.tolist() == [0] * shape[1]


@pytest.mark.parametrize("shape", [(301, 700), (9, 37, 29, 31)])
def test_on_all_threads(shape):
    x, gy, weight, bias = numbers(shape, np.float32), numbers(shape, np.float32, 1), *numbers((2, shape[1]), np.float32, 2)
    results = []
    for room in (cpu, portable):
        y, mean, var = room.batch_norm(x, weight, bias, EPS)
        results.append([y, mean, var, *room.batch_norm_grad(gy, x, weight, EPS, mean, var, False)])
        y, mean, var = room.group_norm(x, 1, weight, bias, EPS)
        results[-1] += [y, mean, var, *room.group_norm_grad(gy, x, 1, weight, EPS, mean, var)]
    for found, expected in zip(*results, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("shape, groups", [((301, 37), 1), ((301, 32), 4), ((3, 2, 90, 61), 1), ((3, 4, 44, 64), 2)])
@pytest.mark.parametrize("room, dtype", with_cuda([], cuda))
def test_teams_that_share_a_channel(room, dtype, shape, groups):
    """Parts of channels and groups, and vectors of many rows; weights are float32 where x has 16 bits."""
    x, gy, wide = numbers(shape, dtype), numbers(shape, dtype, 1), np.float64 if dtype == np.float64 else np.float32
    weight, bias = numbers((2, shape[1]), wide, 2)
    results = []
    for kernels, widest in ((cuda, dtype), (portable, np.float64)):
        x, gy = x.astype(widest), gy.astype(widest)
        y, mean, var = kernels.batch_norm(x, weight, bias, EPS)
        results.append([y, mean, var, *kernels.batch_norm_grad(gy, x, weight, EPS, mean, var, False)])
        results[-1] += kernels.batch_norm_grad(gy, x, weight, EPS, bias, var, True)
        y, mean, var = kernels.group_norm(x, groups, weight, bias, EPS)
        results[-1] += [y, mean, var, *kernels.group_norm_grad(gy, x, groups, weight, EPS, mean, var)]
    for found, expected in zip(*results, strict=True):
        tolerance = 10 * TOLERANCE[dtype] if found.dtype == dtype else 1e-10 if dtype == np.float64 else 1e-5
        scale = max(abs(expected).max(), 1)  # sums of 10,000 terms, each rounded to float
        np.testing.assert_allclose(found.astype(float), expected, rtol=tolerance, atol=tolerance * scale)


@cuda_runs
def test_an_outlier_as_pivot_costs_a_digit():
    """CUDA sums deviations from the first number. One that lies 10,000 deviations off makes the variance itself large."""
    x = numbers((1, 1, 40, 50), np.float32)
    x[0, 0, 0, 0] = 1e4
    _, mean, var = cuda.batch_norm(x, np.ones(1, np.float32), np.zeros(1, np.float32), EPS)
    np.testing.assert_allclose(mean, x.mean(dtype=np.float64), rtol=1e-6)
    np.testing.assert_allclose(var, x.var(dtype=np.float64), rtol=2e-5)
