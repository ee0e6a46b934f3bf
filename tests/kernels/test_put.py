"""Adding rows where they belong, against a loop."""

import numpy as np
import pytest

from minidl.kernels.cpu import put as cpu
from minidl.kernels.cuda import put
from minidl.kernels.portable import put as portable
from tests.kernels.cuda import cuda_runs, on_device, with_cuda

cuda = on_device(put)
ROOMS = [(room, dtype) for room in (portable, cpu) for dtype in (np.float32, np.float64)]


@pytest.mark.parametrize("room, dtype", with_cuda([*ROOMS, (portable, np.float16), (portable, np.int64)], cuda))
@pytest.mark.parametrize("b, r, count", [(5, 3, 4), (700, 7, 11), (6000, 1, 3), (0, 3, 4), (5, 0, 4), (0, 3, 0)])
def test_put_rows(room, dtype, b, r, count):
    random = np.random.default_rng(0)
    x = random.integers(-9, 9, (2 * b, r)).astype(dtype)[::2]  # their sums are exact
    rows = random.integers(0, max(count, 1), 2 * b)[1::2]
    expected = np.zeros((count, r))
    for i in range(b):
        expected[rows[i]] += x[i]
    before = x.copy(), rows.copy()
    y = room.put_rows(x, rows, count)
    assert y.dtype == dtype and y.shape == (count, r) and np.array_equal(y, expected.astype(dtype))
    assert np.array_equal(x, before[0]) and np.array_equal(rows, before[1])


@pytest.mark.parametrize("room", [portable, cpu, pytest.param(cuda, marks=cuda_runs)])
def test_nan_and_inf_stay_in_their_rows(room):
    x = np.ones((3000, 2), np.float32)
    x[0], x[1] = np.nan, np.inf
    y = room.put_rows(x, np.minimum(np.arange(3000), 2), 4)
    assert np.isnan(y[0]).all() and np.isinf(y[1]).all() and y[2:].tolist() == [[2998] * 2, [0] * 2]
