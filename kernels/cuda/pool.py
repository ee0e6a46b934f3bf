"""Pooling on the GPU: see pool.cu."""

import functools
import math

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import lanes, launch, ready, source, structs, wide
from minidl.kernels.cuda.sum import sum
from minidl.kernels.recording import uploaded

SIZES = structs(source("pool").read_text(encoding="utf-8"))["Sizes"]
OUTPUTS, TILE_H, TILE_W = 4, 4, 2  # as in pool.cu


def max_windows(x, rows, columns):
    """As the portable kernel."""
    xp, shape = namespace(x), (*x.shape[:2], len(rows.starts), len(columns.starts))
    values, winners = xp.empty(shape, x.dtype), xp.empty(shape, np.int64)
    _over_windows("max_windows", x, (values, winners), rows, columns)
    return values, winners


def max_values(x, rows, columns):
    """As the portable kernel."""
    values = namespace(x).empty((*x.shape[:2], len(rows.starts), len(columns.starts)), x.dtype)
    _over_windows("max_windows", x, (values, None), rows, columns)
    return values


def take_winners(x, out_shape, winners, windows=None):
    """As the portable kernel."""
    y = namespace(x).empty(out_shape, x.dtype)
    launch("pool.take_winners", y.size, *ready(x, winners), y, np.int64(math.prod(x.shape[2:])), math.prod(y.shape[2:]),
           dtype=x.dtype)
    return y


def add_winners(gy, out_shape, winners, windows=None):
    """As the portable kernel. Without windows, fast for many planes only."""
    xp = namespace(gy)
    if windows is None:
        sums = xp.zeros(out_shape, wide(gy.dtype))
        in_plane, out_plane = (np.int64(math.prod(shape[2:])) for shape in (gy.shape, out_shape))
        launch("pool.add_anywhere", math.prod(gy.shape[:2]), *ready(gy, winners), sums, in_plane, out_plane, dtype=gy.dtype)
        return sums.astype(gy.dtype, copy=False)
    return _over_pixels("add_winners", out_shape, windows, *ready(gy, winners))


def mean_windows(x, out_shape, rows, columns, divisors):
    """As the portable kernel."""
    if _whole(rows, x.shape[2]) and _whole(columns, x.shape[3]):
        return sum(x, (2, 3), True, float(divisors[0, 0]))
    y = namespace(x).empty(out_shape, x.dtype)
    _over_windows("mean_windows", x, (_divisors(divisors, x), y), rows, columns)
    return y


def spread_windows(gy, out_shape, rows, columns, divisors):
    """As the portable kernel."""
    if _whole(rows, out_shape[2]) and _whole(columns, out_shape[3]):
        gx = namespace(gy).empty(out_shape, gy.dtype)
        launch("pool.spread_planes", gx.size, ready(gy), float(divisors[0, 0]), gx, math.prod(out_shape[2:]), dtype=gy.dtype,
               per_thread=lanes(gy.dtype))
        return gx
    if rows.even == columns.even == (0, 2, 2) and rows.step == columns.step == 1:
        gx, (height, width) = namespace(gy).empty(out_shape, gy.dtype), out_shape[2:]
        launch("pool.spread_squares", math.prod(out_shape[:2]) * -(-height // 2) * -(-width // lanes(gy.dtype)), ready(gy),
               _divisors(divisors, gy), gx, _sizes(out_shape[2:], rows, columns), dtype=gy.dtype)
        return gx
    return _over_pixels("spread_windows", out_shape, (rows, columns), ready(gy), _divisors(divisors, gy))


def _over_windows(name, x, arrays, rows, columns):
    bounds = [uploaded(_bounds(axis), x) for axis in (rows, columns)]
    threads = math.prod(x.shape[:2]) * -(-len(rows.starts) // OUTPUTS) * len(columns.starts)
    launch(f"pool.{name}", threads, ready(x), *arrays, _sizes(x.shape[2:], rows, columns), *bounds, dtype=x.dtype)


def _over_pixels(name, shape, windows, gy, others):
    gx = namespace(gy).empty(shape, gy.dtype)
    covers = [uploaded(_covers(axis, size), gy) for axis, size in zip(windows, shape[2:], strict=True)]
    tiles = math.prod(shape[:2]) * -(-shape[2] // TILE_H) * -(-shape[3] // TILE_W)
    launch(f"pool.{name}", tiles, gy, others, gx, _sizes(shape[2:], *windows), *covers, dtype=gy.dtype)
    return gx


def _divisors(divisors, x):
    return uploaded(np.asarray(divisors, wide(x.dtype)), x)


def _whole(windows, size) -> bool:
    return len(windows.starts) == 1 and windows.starts[0] == 0 and windows.stops[0] == size


@functools.lru_cache(1024)
def _sizes(size, rows, columns) -> np.void:
    squares = rows.even and columns.even and rows.even[1:] == columns.even[1:] and rows.step == columns.step == 1
    stride, kernel = rows.even[1:] if squares else (0, 0)
    firsts = (rows.even[0], columns.even[0]) if squares else (0, 0)
    return np.array((*size, len(rows.starts), len(columns.starts), rows.step, columns.step, kernel, stride, *firsts), SIZES)[()]


@functools.lru_cache(1024)
def _bounds(windows):
    return np.stack((windows.starts, windows.stops)).astype(np.int32)


@functools.lru_cache(1024)
def _covers(windows, size):
    """For each place of an axis, the first window that may hold it, and the first from which on none can."""
    earliest = np.minimum.accumulate(windows.starts[::-1])[::-1]  # of this and all later windows: dilation disorders starts
    ends = [np.searchsorted(bound, np.arange(size), "right") for bound in (windows.stops, earliest)]
    return np.stack(ends).astype(np.int32)
