"""Products of matrices against loops, and the thread count of BLAS left as it was."""

import contextlib
import math
from types import SimpleNamespace

import numpy as np
import pytest

from minidl.kernels import explain, use_backend
from minidl.kernels.cpu import matmul as cpu
from minidl.kernels.cuda import conv_tensor, gemm, matmul
from minidl.kernels.precision import float32_matmul_precision, set_float32_matmul_precision
from minidl.kernels.recording import recordable
from tests.kernels.cuda import cuda_runs, kernel, on_device

cuda, without_cublas = on_device(matmul), recordable()
SHAPES = [((2, 3), (3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((1, 1), (1, 1))]


@pytest.mark.parametrize("backend", ["portable", None, pytest.param("cuda", marks=cuda_runs)])
@pytest.mark.parametrize("left, right", SHAPES)
@without_cublas
def test_products(left, right, backend):
    random = np.random.default_rng(0)
    x, y = random.standard_normal(left), random.standard_normal(right)
    with use_backend(backend):
        z = kernel("matmul", x)(x, y)
        assert kernel("matmul", x).__module__.split(".")[2] == (backend or "cpu")
        assert np.array_equal(kernel("matmul", x)(x.swapaxes(-1, -2).copy().swapaxes(-1, -2), y), z)
        assert kernel("matmul", x.astype("f"))(x.astype("f"), y.astype("f")).dtype == np.float32
    batch = np.broadcast_shapes(left[:-2], right[:-2])
    x, y = np.broadcast_to(x, (*batch, *left[-2:])), np.broadcast_to(y, (*batch, *right[-2:]))
    for at in np.ndindex(*batch, left[-2], right[-1]):
        *b, i, j = at
        assert z[at] == pytest.approx(sum(x[(*b, i, k)] * y[(*b, k, j)] for k in range(left[-1])), abs=1e-12)


def test_half_precision_is_summed_in_float32():
    x = np.full((1, 4096), 1.0, np.float16)
    assert kernel("matmul", x)(x, np.full((4096, 1), 1.0, np.float16)).item() == 4096


@cuda_runs
@pytest.mark.parametrize("busy", [0, 132], ids=["whole sums", "sums in parts"])
@pytest.mark.parametrize("rows", gemm.ROWS)
@without_cublas
def test_tiles_of_cuda_read_matrices_where_they_lie(rows, busy, monkeypatch):
    """Several tiles and a part of one along each axis; transposed, reversed, every other row, a slice, one batch for all."""
    monkeypatch.setattr(gemm, "ROWS", (rows,))
    monkeypatch.setattr(gemm, "BUSY", busy)
    random = np.random.default_rng(0)
    m, n, k = rows + 3, 133, 139
    x, y = random.integers(-9, 9, (2, m, k)).astype(np.float32), random.integers(-9, 9, (2, k, n)).astype(np.float32)
    want = np.array([[[sum(map(float, x[b, i] * y[b, :, j])) for j in range(n)] for i in range(m)] for b in range(2)])
    before = x.copy(), y.copy()
    wide = np.zeros((2, 2 * m, k + 5), np.float32)
    wide[:, ::2, 2:-3] = x
    lefts = x, x.swapaxes(1, 2).copy().swapaxes(1, 2), wide[:, ::2, 2:-3], x[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    rights = y, y.swapaxes(1, 2).copy().swapaxes(1, 2)
    for left in lefts:
        for right in rights:
            z = cuda.matmul(left, right)
            assert z.dtype == np.float32 and z.flags.c_contiguous
            np.testing.assert_array_equal(z, want)  # whole numbers: sums are exact
    np.testing.assert_array_equal(cuda.matmul(x[0], y)[0], want[0])
    np.testing.assert_array_equal(cuda.matmul(x[:1], y[1])[0], x[0].astype(float) @ y[1])
    np.testing.assert_array_equal(x, before[0])
    np.testing.assert_array_equal(y, before[1])


@cuda_runs
@pytest.mark.numpy
def test_what_cuda_leaves_to_the_portable_kernel(monkeypatch):
    counted = np.arange(6).reshape(2, 3)
    assert np.array_equal(matmul.matmul(counted, counted.T), counted @ counted.T)
    monkeypatch.setattr(matmul, "LARGEST", 5)
    assert "portable" in str(explain(matmul.matmul, np.ones((2, 4)), np.ones((4, 1)))[0])


class OnGpu:
    """As much of a CuPy array as the choice looks at."""

    device = SimpleNamespace(compute_capability="75")

    def __init__(self, dtype, *shape):
        self.dtype, self.itemsize = np.dtype(dtype), np.dtype(dtype).itemsize
        self.shape, self.ndim, self.strides = shape, len(shape), (self.itemsize,) * len(shape)
        self.size = math.prod(shape)

    def __matmul__(self, other):
        return "cuBLAS"


@pytest.mark.parametrize("captured, x, expected", [
    (False, OnGpu("f4", 2, 3), "cuBLAS"), (True, OnGpu("f4", 2, 3), "ours"), (False, OnGpu("f2", 2, 3), "cuBLAS"),
    (False, OnGpu("f2", 5, 2, 3), "tensor cores"), (True, OnGpu("f2", 2, 3), "tensor cores"),
    (False, OnGpu("f4", 5, 2, 3), "cuBLAS"), (True, OnGpu("i4", 2, 3), "cuBLAS")])
def test_who_multiplies_on_a_gpu(captured, x, expected, monkeypatch):
    monkeypatch.setattr(matmul, "product", lambda x, y: "ours")
    monkeypatch.setattr(conv_tensor, "matmul", lambda x, y: "tensor cores")
    with recordable() if captured else contextlib.nullcontext():
        assert cuda.matmul(x, x) == expected


@pytest.mark.parametrize("precision, capability, expected", [
    ("highest", "90", "cuBLAS"), ("high", "90", "tensor cores"), ("medium", "90", "tensor cores"), ("high", "75", "cuBLAS")])
def test_float32_that_may_be_rounded(precision, capability, expected, monkeypatch):
    monkeypatch.setattr(conv_tensor, "matmul", lambda x, y: "tensor cores")
    monkeypatch.setattr(OnGpu, "device", SimpleNamespace(compute_capability=capability))
    before = float32_matmul_precision()
    set_float32_matmul_precision(precision)
    try:
        assert cuda.matmul(OnGpu("f4", 2, 3), OnGpu("f4", 2, 3)) == expected
    finally:
        set_float32_matmul_precision(before)


@cuda_runs
@without_cublas
def test_cuda_sums_float16_in_float32():
    x = np.full((1, 4096), 1.0, np.float16)
    assert cuda.matmul(x, x.T).item() == 4096 and cuda.matmul(x, x.T).dtype == np.float16


@cuda_runs
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
@pytest.mark.parametrize("left, right", [((0, 2, 3), (0, 3, 4)), ((5, 0, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 0)),
                                         ((5, 2, 0), (5, 0, 4))])
@without_cublas
def test_cuda_multiplies_nothing(left, right, dtype):
    x, y = np.ones(left, dtype), np.ones(right, dtype)
    z = cuda.matmul(x, y)
    assert z.shape == (x @ y).shape and z.dtype == dtype and not z.any()


def test_threads_are_put_back():
    blas = cpu._openblas()
    if blas is None:
        pytest.skip("NumPy's BLAS here is not its own OpenBLAS")
    get, set_ = blas
    before = get()
    x = np.ones((8, 8), np.float32)
    with cpu._one_thread, cpu._one_thread:
        assert get() == 1
    assert get() == before
    cpu.matmul(x, x)
    with pytest.raises(ValueError):
        cpu.matmul(x, np.ones((7, 8), np.float32))
    assert get() == before
