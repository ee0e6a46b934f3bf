"""Products of matrices against loops, and the thread count of BLAS left as it was."""

import numpy as np
import pytest

from minidl.kernels import kernel, use_backend
from minidl.kernels.cpu import matmul as cpu

SHAPES = [((2, 3), (3, 4)), ((5, 1, 2, 3), (6, 3, 4)), ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((1, 1), (1, 1))]


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("left, right", SHAPES)
def test_products(left, right, backend):
    random = np.random.default_rng(0)
    x, y = random.standard_normal(left), random.standard_normal(right)
    with use_backend(backend):
        z = kernel("matmul", x)(x, y)
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
