"""The tensor cores' instructions as the host plays them, against the tables of the PTX ISA."""

import numpy as np
import pytest

from minidl.kernels.cuda import host
from minidl.kernels.cuda import launch as launch_module
from tests.kernels.cuda import cuda_runs, on_device

launch = on_device(launch_module.launch)
pytestmark = cuda_runs

KERNELS = """
#include "mma.cuh"

extern "C" __global__ void product(long long items, const unsigned *a, const unsigned *b, float *c) {
    FragmentA x;
    FragmentB y;
    FragmentC z;
    for (int i = 0; i < 4; i++) x.word[i] = a[threadIdx.x * 4 + i], z.sum[i] = c[threadIdx.x * 4 + i];
    for (int i = 0; i < 2; i++) y.word[i] = b[threadIdx.x * 2 + i];
    multiply_add(x, y, z, real{});
    for (int i = 0; i < 4; i++) c[threadIdx.x * 4 + i] = z.sum[i];
}

extern "C" __global__ void load(long long items, const int *rows, unsigned *words, bool transposed) {
    __shared__ unsigned memory[256 * 4];
    for (int i = 0; i < 4; i++) memory[threadIdx.x * 4 + i] = threadIdx.x * 4 + i;
    __syncthreads();
    unsigned word[4];
    if (transposed)
        load_matrices<true>(&memory[rows[threadIdx.x] * 4], word);
    else
        load_matrices<false>(&memory[rows[threadIdx.x] * 4], word);
    for (int i = 0; i < 4; i++) words[threadIdx.x * 4 + i] = word[i];
}

extern "C" __global__ void round_off(long long items, const real *x, real *y) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i < items) y[i] = operand(x[i]);
}
"""

WARPS, LANES = np.arange(8)[:, None, None], np.arange(32)[None, :, None]
GROUP, THREAD = LANES // 4, LANES % 4  # "groupID" and "threadID_in_group"


@pytest.fixture(autouse=True)
def kernels(tmp_path, monkeypatch):
    path = tmp_path / "instructions.cu"
    path.write_text(KERNELS)
    monkeypatch.setattr(launch_module, "source", lambda file: path)
    host._compiled.cache_clear()
    yield
    host._compiled.cache_clear()


def places(dtype):
    """Of each element of a thread's fragments its (row, column): A (16 x K), B (K x 8), C (16 x 8)."""
    i = np.arange(4)
    c = GROUP + 8 * (i >= 2), 2 * THREAD + i % 2
    if dtype == np.float32:  # m16n8k8
        return (GROUP + 8 * (i % 2), THREAD + 4 * (i >= 2)), (THREAD + 4 * i[:2], GROUP), c
    j = np.arange(8)  # m16n8k16
    a = GROUP + 8 * (j // 2 % 2), 2 * THREAD + j % 2 + 8 * (j >= 4)
    return a, (2 * THREAD + i % 2 + 8 * (i >= 2), GROUP), c


@pytest.mark.parametrize("dtype, depth", [(np.float32, 8), (np.float16, 16)])
def test_a_product_of_fragments(dtype, depth):
    """Each warp one of its own; whole numbers, so that every sum is exact."""
    random = np.random.default_rng(0)
    a, b, c = (random.integers(-9, 10, (8, *shape)).astype(kind)
               for shape, kind in (((16, depth), dtype), ((depth, 8), dtype), ((16, 8), np.float32)))
    at_a, at_b, at_c = places(dtype)
    fragments = [np.ascontiguousarray(matrix[WARPS, *at]) for matrix, at in ((a, at_a), (b, at_b), (c, at_c))]
    launch("instructions.product", 256, *(each.view(np.uint32) for each in fragments[:2]), fragments[2], dtype=dtype)
    assert np.array_equal(fragments[2], (a @ b + c)[WARPS, *at_c])


def test_bfloat16_is_the_upper_half_of_a_float():
    bfloat16 = np.dtype(pytest.importorskip("ml_dtypes").bfloat16)
    random = np.random.default_rng(0)
    a, b = (random.integers(-9, 10, (8, *shape)).astype(np.float32) for shape in ((16, 16), (16, 8)))
    at_a, at_b, at_c = places(bfloat16)
    x, y = (np.ascontiguousarray(matrix.astype(bfloat16)[WARPS, *at]) for matrix, at in ((a, at_a), (b, at_b)))
    z = np.zeros((8, 32, 4), np.float32)
    launch("instructions.product", 256, x.view(np.uint32), y.view(np.uint32), z, dtype=bfloat16)
    assert np.array_equal(z, (a @ b)[WARPS, *at_c])


def test_matrices_out_of_shared_memory():
    """ldmatrix: thread i names row i % 8 of matrix i / 8, and gets of each matrix one word of one row."""
    rows = np.random.default_rng(0).permutation(256).astype(np.int32)
    words = np.zeros((8, 32, 4), np.uint32)
    launch("instructions.load", 256, rows, words, False)
    matrix = np.arange(4)
    assert np.array_equal(words, rows.reshape(8, 32)[WARPS, 8 * matrix + GROUP] * 4 + THREAD)

    launch("instructions.load", 256, rows, words, True)
    # warp, matrix, row, column
    halves = np.arange(1024, dtype=np.uint32).view(np.uint16).reshape(256, 8)[rows].reshape(8, 4, 8, 8)
    for i in range(2):
        expected = halves[WARPS, matrix, 2 * THREAD + i, GROUP]
        assert np.array_equal(words.view(np.uint16).reshape(8, 32, 4, 2)[..., i], expected)


def test_a_float_is_rounded_to_tf32():
    """10 bits of fraction; to the nearest, a tie away from 0; NaN and infinity stay, and what is too large becomes infinite."""
    unit = 2.0**-10
    x = np.array([1, 1 + unit / 2, 1 + 0.49 * unit, -1 - unit / 2, -1 - 1.51 * unit, 3e-41, np.inf, -np.inf, np.nan,
                  np.finfo(np.float32).max, 0, -0.0], np.float32)
    x[8:9].view(np.uint32)[0] = 0x7FFFFFFF  # the NaN that GPUs make
    y = np.zeros_like(x)
    launch("instructions.round_off", x.size, x, y)
    tiny = round(float(x[5]) / 2.0**-136) * 2.0**-136  # denormal numbers are 2^-136 apart
    expected = [1, 1 + unit, 1, -1 - unit, -1 - 2 * unit, tiny, np.inf, -np.inf, np.nan, np.inf, 0, -0.0]
    assert np.array_equal(y, np.float32(expected), equal_nan=True)
    assert np.signbit(y).tolist() == [value < 0 or str(value) == "-0.0" for value in expected]


def test_what_was_not_rounded_is_cut_off():
    """The instruction reads the upper 19 bits of a float alone."""
    a, b, c = np.ones((256, 4), np.float32), np.full((256, 2), 1 + 1.9 * 2.0**-11, np.float32), np.zeros((256, 4), np.float32)
    launch("instructions.product", 256, a.view(np.uint32), b.view(np.uint32), c)
    assert np.all(c == 8)
