"""Pooling kernels of both rooms against loops over windows and elements."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.kernels import use_backend
from minidl.kernels.shapes import adaptive_windows, pool_divisors, pool_output, pool_windows
from tests.kernels.cuda import bfloat16, cuda_runs, kernel, with_bfloat16

BACKENDS = ["portable", None, pytest.param("cuda", marks=cuda_runs)]


def naive_max(x, kernel_size, stride, padding, dilation, out):
    n, c, height, width = x.shape
    values, winners = np.empty((n, c, *out), x.dtype), np.empty((n, c, *out), np.int64)
    for image, channel, i, j in np.ndindex(n, c, *out):
        best, place = None, None
        for a, b in np.ndindex(*kernel_size):
            h, w = i * stride[0] - padding[0] + a * dilation[0], j * stride[1] - padding[1] + b * dilation[1]
            if 0 <= h < height and 0 <= w < width:
                value = x[image, channel, h, w]
                if best is None or value > best or (math.isnan(value) and not math.isnan(best)):
                    best, place = value, h * width + w
        values[image, channel, i, j], winners[image, channel, i, j] = best, place
    return values, winners


def naive_mean(x, kernel_size, stride, padding, out, count_pad):
    n, c, height, width = x.shape
    y = np.zeros((n, c, *out))
    for image, channel, i, j in np.ndindex(n, c, *out):
        counted = 0
        for a, b in np.ndindex(*kernel_size):
            h, w = i * stride[0] - padding[0] + a, j * stride[1] - padding[1] + b
            inside = 0 <= h < height and 0 <= w < width
            padded = h < height + padding[0] and w < width + padding[1]
            counted += inside or (count_pad and padded)
            y[image, channel, i, j] += x[image, channel, h, w] if inside else 0
        y[image, channel, i, j] /= counted
    return y


@st.composite
def geometries(draw):
    size = draw(st.tuples(st.integers(3, 7), st.integers(3, 7)))
    kernel_size = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel_size)
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    ceil_mode = draw(st.booleans())
    out = tuple(pool_output(*axis, ceil_mode) for axis in zip(size, kernel_size, stride, padding, dilation, strict=True))
    return size, kernel_size, stride, padding, dilation, ceil_mode, out


def windows(size, out, kernel_size, stride, padding, dilation=(1, 1)):
    return [pool_windows(*axis) for axis in zip(size, out, kernel_size, stride, padding, dilation, strict=True)]


@pytest.mark.parametrize("ceil_mode", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("size", [(2, 2), (3, 5), (4, 31), (5, 32), (7, 67)])
def test_max_of_squares(size, dtype, ceil_mode):
    out = tuple(pool_output(length, 2, 2, 0, 1, ceil_mode) for length in size)
    x = np.random.default_rng(0).integers(-2, 2, (2, 3, *size)).astype(dtype)
    x[0, 1].flat[::5] = np.nan
    x[1, 2] = -np.inf
    arguments = windows(size, out, (2, 2), (2, 2), (0, 0))
    values, winners = kernel("max_windows", x)(x, *arguments)
    expected, places = naive_max(x, (2, 2), (2, 2), (0, 0), (1, 1), out)
    np.testing.assert_array_equal(values, expected)
    np.testing.assert_array_equal(winners, places)
    np.testing.assert_array_equal(kernel("max_values", x)(x, *arguments), expected)
    assert values.dtype == dtype


@pytest.mark.parametrize("backend", BACKENDS)
@given(geometries(), st.integers(0, 2**16))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_max(backend, geometry, seed):
    size, kernel_size, stride, padding, dilation, _, out = geometry
    if min(out) < 1:
        return
    x = np.random.default_rng(seed).integers(-3, 3, (2, 3, *size)).astype(np.float32)  # many ties
    x[0, 0, 0, 1] = np.nan
    x[1, 2] = -np.inf
    with use_backend(backend):
        values, winners = kernel("max_windows", x)(x, *windows(size, out, kernel_size, stride, padding, dilation))
        expected, places = naive_max(x, kernel_size, stride, padding, dilation, out)
        assert values.dtype == np.float32 and winners.dtype == np.int64
        assert np.array_equal(values, expected, equal_nan=True) and np.array_equal(winners, places)
        alone = kernel("max_values", x)(x, *windows(size, out, kernel_size, stride, padding, dilation))
        assert alone.dtype == np.float32 and np.array_equal(alone, expected, equal_nan=True)
        taken = kernel("take_winners", x)(x, values.shape, winners)
        assert np.array_equal(taken, values, equal_nan=True)
        g = np.random.default_rng(seed).standard_normal(values.shape)
        back = np.zeros(x.shape)
        for at in np.ndindex(*values.shape):
            back[at[0], at[1]].reshape(-1)[winners[at]] += g[at]
        axes = windows(size, out, kernel_size, stride, padding, dilation)
        for known in (None, axes):
            assert np.allclose(kernel("add_winners", g)(g, x.shape, winners, known), back)


@pytest.mark.parametrize("kernel_size, stride, padding", [((2, 2), (2, 2), (0, 0)), ((3, 2), (2, 1), (1, 1)),
                                                           ((2, 5), (3, 2), (0, 2))])
def test_max_of_images_larger_than_a_tile(kernel_size, stride, padding):
    x = np.random.default_rng(0).integers(-3, 3, (1, 2, 90, 67)).astype(np.float64)
    x[0, 1, 50, 30:40] = np.nan
    axes = zip(x.shape[2:], kernel_size, stride, padding, strict=True)
    out = tuple(pool_output(*axis) for axis in axes)
    values, winners = kernel("max_windows", x)(x, *windows(x.shape[2:], out, kernel_size, stride, padding))
    expected, places = naive_max(x, kernel_size, stride, padding, (1, 1), out)
    assert np.array_equal(values, expected, equal_nan=True) and np.array_equal(winners, places)


@pytest.mark.parametrize("backend", BACKENDS)
@given(geometries(), st.booleans(), st.integers(0, 2**16))
@settings(deadline=None, derandomize=True, max_examples=150)
def test_mean_and_its_adjoint(backend, geometry, count_pad, seed):
    size, kernel_size, stride, padding, _, ceil_mode, _ = geometry
    axes = list(zip(size, kernel_size, stride, padding, strict=True))
    out = tuple(pool_output(*axis, 1, ceil_mode) for axis in axes)
    random = np.random.default_rng(seed)
    x, g = random.standard_normal((2, 3, *size)), random.standard_normal((2, 3, *out))
    rows, columns = windows(size, out, kernel_size, stride, padding)
    parts = [pool_divisors(n, o, k, s, p) for (n, k, s, p), o in zip(axes, out, strict=True)]
    if not count_pad:
        parts = [w.stops - w.starts for w in (rows, columns)]
    divisors = parts[0][:, None] * parts[1].astype(float)
    with use_backend(backend):
        y = kernel("mean_windows", x)(x, g.shape, rows, columns, divisors)
        assert np.allclose(y, naive_mean(x, kernel_size, stride, padding, out, count_pad))
        back = kernel("spread_windows", g)(g, x.shape, rows, columns, divisors)
        assert np.isclose((y * g).sum(), (x * back).sum())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("size, out", [(7, 3), (1, 3), (6, 6), (5, 8), (9, 1)])
def test_adaptive_windows(size, out, backend):
    rows, columns = adaptive_windows(size, out), adaptive_windows(4, 3)
    x = np.random.default_rng(0).standard_normal((2, 1, size, 4))
    expected = [[x[:, :, a:b, c:d].max((2, 3)) for c, d in zip(columns.starts, columns.stops, strict=True)]
                for a, b in zip(rows.starts, rows.stops, strict=True)]
    with use_backend(backend):
        values, winners = kernel("max_windows", x)(x, rows, columns)
    assert np.array_equal(np.take_along_axis(x.reshape(2, 1, -1), winners.reshape(2, 1, -1), 2), values.reshape(2, 1, -1))
    assert np.array_equal(values, np.moveaxis(np.array(expected), (0, 1), (2, 3)))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("size", [(7, 7), (5, 1), (1, 1), (16, 2)])
@cuda_runs
def test_windows_that_are_whole_planes(size, dtype):
    gy = np.random.default_rng(0).standard_normal((3, 5, 1, 1)).astype(dtype)
    rows, columns = (adaptive_windows(length, 1) for length in size)
    with use_backend("cuda"):
        gx = kernel("spread_windows", gy)(gy, (3, 5, *size), rows, columns, np.full((1, 1), 7.0))
    expected = np.broadcast_to(gy.astype(np.promote_types(dtype, np.float32)) / dtype(7), gx.shape).astype(dtype)
    np.testing.assert_array_equal(gx, expected)
    assert gx.dtype == dtype and gx.shape == (3, 5, *size)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("size", [(9, 11), (8, 6), (12, 10)])
@cuda_runs
def test_images_of_several_tiles(size, dtype):
    """Small integers, whose sums are exact, as the portable kernels."""
    random = np.random.default_rng(0)
    x = random.integers(-9, 9, (2, 3, *size)).astype(dtype)
    for kernel_size, stride, padding in ((3, 2, 1), (2, 2, 0), (3, 1, 1), (5, 3, 2)):
        out = [pool_output(length, kernel_size, stride, padding) for length in size]
        axes = [pool_windows(length, n, kernel_size, stride, padding) for length, n in zip(size, out, strict=True)]
        gy = random.integers(-9, 9, (2, 3, *out)).astype(dtype)
        results = []
        for backend in ("cuda", "portable"):
            with use_backend(backend):
                values, winners = kernel("max_windows", x)(x, *axes)
                mean = kernel("mean_windows", x)(x, gy.shape, *axes, np.full(out, 4.0))
                results.append([values, winners, kernel("max_values", x)(x, *axes), mean,
                                kernel("add_winners", gy)(gy, x.shape, winners, axes),
                                kernel("spread_windows", gy)(gy, x.shape, *axes, np.full(out, 4.0))])
        for found, expected in zip(*results, strict=True):
            np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.float16, pytest.param(bfloat16, marks=with_bfloat16)])
@cuda_runs
def test_numbers_of_16_bits_are_added_up_as_float(dtype):
    """As the float64 kernels, rounded once."""
    x = np.random.default_rng(0).integers(-9, 9, (2, 3, 7, 6)).astype(dtype)
    rows, columns = pool_windows(7, 3, 3, 2, 0), pool_windows(6, 2, 3, 2, 0)
    divisors, all_rows, all_columns = np.full((3, 2), 9.0), adaptive_windows(7, 1), adaptive_windows(6, 1)
    g = np.random.default_rng(1).standard_normal((2, 3, 3, 2)).astype(dtype)
    results = []
    for backend, widest in (("cuda", dtype), ("portable", np.float64)):
        x, g = x.astype(widest), g.astype(widest)
        with use_backend(backend):
            values, winners = kernel("max_windows", x)(x, rows, columns)
            results.append([values, winners, kernel("add_winners", g)(g, x.shape, winners, (rows, columns)),
                            kernel("add_winners", g)(g, x.shape, winners), kernel("take_winners", x)(x, g.shape, winners),
                            kernel("mean_windows", x)(x, g.shape, rows, columns, divisors),
                            kernel("mean_windows", x)(x, (2, 3, 1, 1), all_rows, all_columns, np.full((1, 1), 42.0)),
                            kernel("spread_windows", g)(g, x.shape, rows, columns, divisors)])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == (dtype if expected.dtype == np.float64 else np.int64)
        np.testing.assert_allclose(found.astype(float), expected, rtol=1e-3 if dtype == np.float16 else 8e-3)


@pytest.mark.parametrize("backend", BACKENDS)
def test_dtypes_layouts_and_empty_batches(backend):
    rows, columns = pool_windows(6, 3, 2, 2, 0), pool_windows(4, 2, 2, 2, 0)
    base = np.random.default_rng(0).integers(-9, 9, (12, 3, 4, 2))
    with use_backend(backend):
        for dtype in (np.int32, np.int64, np.uint8, np.float16, np.float32, np.float64):
            x = base[::2].T.astype(dtype)  # (2, 4, 3, 6), then to (N, C, H, W) with every axis strided
            x = x.transpose(0, 2, 3, 1)
            values, winners = kernel("max_windows", x)(x, rows, columns)
            assert values.dtype == dtype
            expected, places = naive_max(x, (2, 2), (2, 2), (0, 0), (1, 1), (3, 2))
            assert np.array_equal(values, expected) and np.array_equal(winners, places)
        empty = np.zeros((0, 3, 6, 4), np.float32)
        assert kernel("max_windows", empty)(empty, rows, columns)[0].shape == (0, 3, 3, 2)
        assert kernel("mean_windows", empty)(empty, (0, 3, 3, 2), rows, columns, np.ones((3, 2))).shape == (0, 3, 3, 2)
        half = np.full((1, 1, 6, 4), 60000, np.float16)
        assert kernel("mean_windows", half)(half, (1, 1, 3, 2), rows, columns, np.full((3, 2), 4.0)).max() == 60000
        nan = np.zeros((1, 1, 6, 4), np.float32)
        nan[0, 0, 0, 0] = np.nan
        mean = kernel("mean_windows", nan)(nan, (1, 1, 3, 2), rows, columns, np.full((3, 2), 4.0))
        assert np.isnan(mean).sum() == 1 and np.isnan(mean[0, 0, 0, 0])
