"""The instructions of kernels/cpu/vector.py and moves.py against loops, on this processor and as on one without AVX-512."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl.kernels.cpu import gemm, instructions
from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.instructions import BYTES, LANES
from minidl.kernels.cpu.moves import aligned, into_lanes, largest_of_squares, move, out_of_lanes, part, pick, sandwich
from minidl.kernels.cpu.vector import DOTS, ROWS, dots, multiply, multiply_ahead, multiply_rows

ROOT = Path(__file__).resolve().parents[2]
dtypes = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def numbers(size, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).standard_normal(size).astype(dtype)


@jit
def run_multiply(vectors, a, a_step, b, places, b_step, depth, bias, c, c_row, c_step, add, floor):
    multiply(vectors, a, 3, a_step, b, 2, places, b_step, depth, bias, 1, c, 5, c_row, c_step, add, floor)


@jit
def run_multiply_ahead(vectors, a, a_step, b, places, b_step, depth, bias, c, c_row, c_step, add, floor):
    multiply_ahead(vectors, a, 3, a_step, b, 2, places, b_step, depth, bias, 1, c, 5, c_row, c_step, add, floor, b, 0, 1 << 20)


@dtypes
@pytest.mark.parametrize("run", [run_multiply, run_multiply_ahead])  # what is fetched ahead need not exist
@pytest.mark.parametrize("add, floor", [(False, False), (False, True), (True, False), (True, True)])
@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_multiply(vectors, add, floor, run, dtype):
    lanes, depth = BYTES // np.dtype(dtype).itemsize, 7
    a, b, bias = numbers(400, dtype), numbers(2000, dtype, 1), numbers(20, dtype, 2)
    places = np.array([3, 50, 4, 0, 200, 200, 9])
    c_row, c_step, b_step, a_step = 3 * lanes + 7, lanes + 1, 2 * lanes + 1, ROWS + 2
    c = numbers(ROWS * c_row + 100, dtype, 3)
    want = c.copy()
    for r in range(ROWS):
        for v in range(vectors):
            for lane in range(lanes):
                at = 5 + r * c_row + v * c_step + lane
                start = c[at] if add else bias[1 + r]
                total = start + sum(float(a[3 + k * a_step + r]) * b[2 + places[k] + v * b_step + lane] for k in range(depth))
                want[at] = 0 if floor and total <= 0 else total
    run(vectors, a, a_step, b, places, b_step, depth, bias, c, c_row, c_step, add, floor)
    np.testing.assert_allclose(c, want, rtol=0, atol=1e-5 if dtype == np.float32 else 1e-13)


@jit
def run_dots(a, a_row, b, places, depth, c):
    dots(a, 4, a_row, b, 3, places, 2, depth, c, 1)


@dtypes
@pytest.mark.parametrize("depth", [0, 1, 5])
def test_dots(depth, dtype):
    lanes, (rows, columns) = BYTES // np.dtype(dtype).itemsize, DOTS
    a, b, c = numbers(1000, dtype), numbers(1000, dtype, 1), numbers(30, dtype, 2)
    places, length = np.arange(columns + 2) * 7 % 11, depth * lanes
    want = c.copy()
    for r in range(rows):
        for t in range(columns):
            want[1 + r * columns + t] = sum(float(a[4 + r * 90 + p]) * b[3 + places[2 + t] + p] for p in range(length))
    run_dots(a, 90, b, places, depth, c)
    np.testing.assert_allclose(c, want, rtol=0, atol=2e-5 if dtype == np.float32 else 1e-13)


@jit
def run_move(source, target, step, count, start, floor):
    move(source, 2, target, 3, step, count, start, floor)


@dtypes
@pytest.mark.parametrize("count", [0, 1, 5, 16, 33])
def test_move(count, dtype):
    lanes = BYTES // np.dtype(dtype).itemsize
    for step in (lanes, lanes + 5):
        for start, floor in ((0.0, False), (0.5, False), (-0.25, True)):
            source, target = numbers(60, dtype), numbers(300, dtype, 1)
            source[4] = np.nan
            want = target.copy()
            for i in range(count):
                value = source[2 + i] + dtype(start)
                want[3 + i // lanes * step + i % lanes] = 0 if floor and value <= 0 else value
            run_move(source, target, step, count, dtype(start), floor)
            np.testing.assert_array_equal(target, want)


@jit
def run_pick(source, stride, target, count):
    pick(source, 2, 301, stride, target, 3, 70, 2, count)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
@pytest.mark.parametrize("stride", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("count", [0, 1, 5, LANES, 3 * LANES + 1])
def test_pick(count, stride, dtype):
    source, target = numbers(600).astype(dtype), np.zeros(150, dtype)
    want = target.copy()
    want[3 : 3 + count] = source[2::stride][:count]
    want[73 : 73 + count] = source[303::stride][:count]
    run_pick(source, stride, target, count)
    np.testing.assert_array_equal(target, want)


@jit
def run_squares(source, row, values, winners, count):
    largest_of_squares(source, 3, row, values, 2, winners, 1, 50, count)


@dtypes
@pytest.mark.parametrize("count", [1, 5, LANES, 2 * LANES + 3])
def test_largest_of_squares(count, dtype):
    row = 2 * count + 3
    source, values = numbers(3 + 2 * row).round().astype(dtype), np.zeros(count + 4, dtype)
    winners = np.zeros(count + 4, np.int64)
    source[4] = np.nan
    want, places = values.copy(), winners.copy()
    for j in range(count):
        corner = 2 * j
        square = [corner, corner + 1, corner + row, corner + row + 1]
        best = max(square, key=lambda at: (np.isnan(source[3 + at]), source[3 + at]))  # the first of equal ones
        want[2 + j], places[1 + j] = source[3 + best], 50 + best
    alone = values.copy()
    run_squares(source, row, values, winners, count)
    run_squares(source, row, alone, winners[:0], count)
    np.testing.assert_array_equal(values, want)
    np.testing.assert_array_equal(winners, places)
    np.testing.assert_array_equal(alone, want)


def test_move_reads_and_writes_no_further():
    """The array ends where a page of memory does, behind which lies none."""
    import mmap

    page = mmap.PAGESIZE
    room = mmap.mmap(-1, page)
    array = np.frombuffer(room, np.float32)
    target = np.zeros(40, np.float32)
    run_move(array[-7:], target, LANES, 5, np.float32(0), False)
    run_move(target, array[-8:], LANES, 5, np.float32(0), False)


MATRIX = [[1, 0, -1], [2, -0.5, 3], [-1, 1, 0], [0, 0, 1]]
_sandwich = sandwich(MATRIX, MATRIX[:1])


@jit
def run_sandwich(kind, source, row, column, target, t_row, t_column):
    _sandwich(kind, source, 4, row, column, target, 3, t_row, t_column)


@jit
def run_into_lanes(source, places, count, target):
    into_lanes(source, 5, places, 1, count, target, 2)


@jit
def run_out_of_lanes(source, target, places, count, start, floor):
    out_of_lanes(source, 3, target, 4, places, 1, count, start, 1, floor)


@jit
def run_multiply_rows(vectors, a, a_places, b, b_places, b_step, depth, c, c_row):
    multiply_rows(vectors, a, 3, a_places, b, 5, b_places, b_step, depth, c, 2, c_row)


@pytest.mark.parametrize("kind, matrix", list(enumerate([np.array(MATRIX), np.array(MATRIX[:1])])))
def test_sandwich(kind, matrix):
    size, inner, source = *matrix.shape, numbers(4000)
    row, column, target = inner * LANES + 5, -(LANES + 1), np.full(4000, 7.0, np.float32)
    run_sandwich(kind, source[200:], row, column, target, size * LANES + 9, LANES + 2)
    places = np.add.outer(np.arange(inner) * row, np.arange(inner) * column)[..., None] + 204 + np.arange(LANES)
    want = np.full(4000, 7.0)
    t_places = np.add.outer(np.arange(size) * (size * LANES + 9), np.arange(size) * (LANES + 2))[..., None] + 3 + np.arange(LANES)
    want[t_places] = np.einsum("ik,klv,jl->ijv", matrix, source[places], matrix)
    np.testing.assert_allclose(target, want, atol=1e-4)


@dtypes
@pytest.mark.parametrize("count", ["one", "some", "all"])
def test_into_lanes(count, dtype):
    lanes = BYTES // np.dtype(dtype).itemsize
    count = {"one": 1, "some": lanes // 2 + 1, "all": lanes}[count]
    source, places = numbers(2000, dtype), np.random.default_rng(0).permutation(lanes + 1) * (lanes + 1)
    band = np.full(lanes * lanes + 9, 7, dtype)
    run_into_lanes(source, places, count, band)
    want = np.full_like(band, 7)
    for lane in range(lanes):
        for i in range(count):
            want[2 + i * lanes + lane] = source[5 + places[1 + lane] + i]
    assert np.array_equal(band, want)


@pytest.mark.parametrize("count", [1, LANES // 2 + 1, LANES])
@pytest.mark.parametrize("floor", [False, True])
def test_out_of_lanes(count, floor):
    vectors, start = numbers(LANES * LANES + 3), np.arange(LANES + 1, dtype=np.float32) / 9 - 1
    places = np.random.default_rng(0).permutation(LANES + 1) * (LANES + 1)
    target, want = np.full((2, 2000), 7.0, np.float32)
    run_out_of_lanes(vectors, target, places, count, start, floor)
    for lane in range(LANES):
        for i in range(count):
            total = vectors[3 + i * LANES + lane] + start[1 + lane]
            want[4 + places[1 + lane] + i] = max(total, np.float32(0)) if floor else total
    assert np.array_equal(target, want)


@pytest.mark.parametrize("vectors", [1, 2, 3])
def test_multiply_rows(vectors):
    rows, depth = 2 * ROWS if vectors == 1 else ROWS, 7
    a, b = (numbers(3000, seed=seed) for seed in range(2))
    a_places, b_places = np.random.default_rng(0).permutation(50)[:depth], np.random.default_rng(0).permutation(50)[:depth] * 9
    c, want, c_row = np.full(3000, 7.0, np.float32), np.full(3000, 7.0), vectors * LANES + 3
    run_multiply_rows(vectors, a, a_places, b, b_places, LANES + 1, depth, c, c_row)
    for r in range(rows):
        for v in range(vectors):
            for lane in range(LANES):
                want[2 + r * c_row + v * LANES + lane] = sum(
                    float(a[3 + a_places[k] + r * LANES]) * b[5 + b_places[k] + v * (LANES + 1) + lane] for k in range(depth))
    np.testing.assert_allclose(c, want, atol=1e-4)


@jit
def run_part(matrix):
    numbers = part(matrix, 5, 4)
    numbers[0] = 7
    return numbers.sum()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_aligned_starts_on_a_cache_line(dtype):
    for size in (1, 7, 16, 1001):
        room = aligned(size, np.empty((2, 3), dtype))
        assert room.shape == (size,) and room.dtype == dtype and room.ctypes.data % 64 == 0


def test_part_is_a_view():
    matrix = np.arange(12.0).reshape(3, 4)
    assert run_part(matrix) == 7 + 6 + 7 + 8 and matrix[1, 1] == 7


@dtypes
@pytest.mark.parametrize("lane, step", [(1, 40), (40, 1)])
def test_pack(lane, step, dtype):
    """Strips of a matrix, of which the last is not full."""
    lanes = BYTES // np.dtype(dtype).itemsize
    count, depth = 2 * lanes + 3, 11
    source = numbers(40 * 60, dtype)
    packed = np.zeros((3, depth + 2, lanes), dtype)
    gemm.pack(0, 3, source, 1, lane, step, count, depth, packed.reshape(-1), 0, depth + 2)
    for i in range(count):
        for k in range(depth):
            assert packed[i // lanes, k, i % lanes] == source[1 + i * lane + k * step]


def test_where_numba_does_not_trust_avx(tmp_path):
    """As on virtual machines that call their processor nocona: LLVM aborts the process where an instruction is not there."""
    environment = os.environ | {"NUMBA_ENABLE_AVX": "0", "MINIDL_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    environment.pop("NUMBA_CPU_FEATURES", None)  # which would have the last word
    program = """
import minidl
from minidl.kernels.cpu import instructions
assert not instructions.WIDE and not instructions.MASKS
x, w = minidl.ones(2, 4, 7, 7), minidl.ones(4, 1, 3, 3)
assert minidl.nn.functional.conv2d(x, w, padding=1, groups=4).sum().item() == 2 * 4 * 19 * 19
"""
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=ROOT, check=True)


@pytest.mark.slow
@pytest.mark.skipif(not instructions.WIDE, reason="this processor has no AVX-512 to leave out")
def test_without_avx512(tmp_path):
    """The same tests of products and convolutions, compiled for a processor of 2013."""
    environment = os.environ | {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": "+avx,+avx2,+fma,+sse4.2,+bmi,+bmi2",
                                "MINIDL_CACHE": str(tmp_path), "PYTHONPATH": str(ROOT)}
    check = "from minidl.kernels.cpu import instructions, vector; assert (instructions.BYTES, vector.ROWS) == (32, 4)"
    subprocess.run([sys.executable, "-c", check], env=environment, cwd=ROOT, check=True)
    tests = [f"tests/kernels/test_{name}.py" for name in ("vector", "conv", "conv_depthwise", "matmul", "pool", "norm")]
    result = subprocess.run([sys.executable, "-m", "pytest", "-q", "-m", "not slow", "-p", "no:cacheprovider", *tests],
                            env=environment, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-3000:]
