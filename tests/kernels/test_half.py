"""Half precision in the portable kernels: computed in float32 (or float64) and rounded once.

Each kernel runs on the same numbers in half precision and in float64, where its own test holds it against naive loops. One
rounding is half the distance between neighbours; sums long enough to show a rounding of each term are among the cases.
"""

import numpy as np
import pytest

from minidl.kernels import explain, kernel
from minidl.kernels.half import accumulator, is_half, widened
from minidl.kernels.portable import KERNELS
from minidl.kernels.rois import sampled_bins, whole_bins
from minidl.kernels.shapes import ConvGeometry, pool_windows

ml_dtypes = pytest.importorskip("ml_dtypes")

DTYPES = [np.dtype(np.float16), np.dtype(ml_dtypes.bfloat16)]
EPS = {DTYPES[0]: 2.0**-11, DTYPES[1]: 2.0**-8}
CONV = ConvGeometry(stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)
ROWS, COLUMNS = pool_windows(9, 4, 3, 2, 0), pool_windows(7, 3, 4, 2, 1)
EDGES = np.array([[0.0, 1, 4.5], [8, 5.2, 6]]), np.array([[0, 2, 1.3], [6, 4, 5.1]])  # of regions, along H and along W
BINS = [whole_bins(*edges, 1.0, 2, size, 1) for edges, size in zip(EDGES, (9, 7), strict=True)]
SAMPLES = [sampled_bins(*edges, 1.0, 2, 0, True) for edges in EDGES]
IMAGES, REGION_WINNERS = np.array([1, 0, 1]), np.arange(48).reshape(3, 4, 2, 2) % 5 - 1
LABELS = np.array([2, 0, 5])

CASES = {  # kernel: (shapes of its array arguments, the other arguments)
    "matmul": ([(3, 300), (300, 4)], ()),
    "sum": ([(3, 1000)], ((1,), False, 7)),
    "erf": ([(3, 5)], ()),
    "put_rows": ([(400, 3)], (np.arange(400) % 2, 2)),
    "max_values": ([(2, 3, 9, 7)], (ROWS, COLUMNS)),
    "take_winners": ([(2, 3, 9, 7)], ((2, 3, 5, 4), np.arange(120).reshape(2, 3, 5, 4) % 7)),
    "add_winners": ([(2, 3, 9, 7)], ((2, 3, 5, 4), np.arange(378).reshape(2, 3, 9, 7) % 3)),
    "mean_windows": ([(2, 3, 9, 7)], ((2, 3, 4, 3), ROWS, COLUMNS, np.full((4, 3), 12.0))),
    "spread_windows": ([(2, 3, 4, 3)], ((2, 3, 9, 7), ROWS, COLUMNS, np.full((4, 3), 12.0))),
    "roi_pool": ([(2, 4, 9, 7)], (*BINS, IMAGES)),
    "take_roi_winners": ([(2, 4, 9, 7)], ((3, 4, 2, 2), REGION_WINNERS, *BINS, IMAGES)),
    "add_roi_winners": ([(3, 4, 2, 2)], ((2, 4, 9, 7), REGION_WINNERS, *BINS, IMAGES)),
    "ps_roi_pool": ([(2, 4, 9, 7)], ((3, 1, 2, 2), *BINS, IMAGES)),
    "ps_roi_pool_adjoint": ([(3, 1, 2, 2)], ((2, 4, 9, 7), *BINS, IMAGES)),
    "roi_align": ([(2, 4, 9, 7)], ((3, 4, 2, 2), *SAMPLES, IMAGES)),
    "roi_align_adjoint": ([(3, 4, 2, 2)], ((2, 4, 9, 7), *SAMPLES, IMAGES)),
    "im2col": ([(2, 4, 9, 7)], ((2, 24, 25), (3, 2), CONV)),
    "col2im": ([(2, 24, 25)], ((2, 4, 9, 7), (3, 2), CONV)),
    "conv2d": ([(2, 64, 9, 7), (6, 32, 3, 2), (6,)], (CONV,)),
    "conv2d_input_grad": ([(2, 64, 5, 5), (64, 2, 3, 2)], ((2, 4, 9, 7), CONV)),
    "conv2d_weight_grad": ([(9, 6, 5, 5), (9, 4, 9, 7)], ((6, 2, 3, 2), CONV)),
    "apply_mask": ([(3, 5)], (np.arange(15).reshape(3, 5) % 2 == 0, 1 / 0.7)),
    "softmax": ([(3, 300)], (1,)),
    "softmax_grad": ([(3, 300), (3, 300)], (1,)),
    "log_softmax": ([(3, 300)], (1,)),
    "log_softmax_grad": ([(3, 300), (3, 300)], (1,)),
    "local_response_norm": ([(2, 5, 3)], (3, 0.5, 0.75, 1.0)),
    "local_response_norm_grad": ([(2, 5, 3), (2, 5, 3)], (3, 0.5, 0.75, 1.0)),
    "copy": ([(3, 5)], ()), "relu": ([(3, 5)], ()), "add": ([(3, 5), (3, 5)], ()), "add_relu": ([(3, 5), (3, 5)], ()),
    "relu_grad": ([(3, 5), (3, 5)], ()),
    "leaky_relu": ([(3, 5)], (0.3,)), "leaky_relu_grad": ([(3, 5), (3, 5)], (0.3,)),
    "cross_entropy": ([(3, 7)], (LABELS, None, None, 0.1)),
    "batch_norm": ([(8, 3, 40), (3,), (3,)], (1e-5,)),
    "group_norm": ([(3, 4, 40)], (2, np.full(4, 1.5), np.full(4, 0.5), 1e-5)),
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CASES)
def test_rounded_once(name, dtype):
    shapes, rest = CASES[name]
    random = np.random.default_rng(len(name))
    arrays = [random.uniform(-1, 1, shape).astype(dtype) for shape in shapes]
    before = [x.copy() for x in arrays]
    found = kernel(name, arrays[0])(*arrays, *rest)
    exact = kernel(name, np.ones(1))(*[x.astype(np.float64) for x in arrays], *rest)
    if isinstance(found, tuple):
        found, exact = found[0], exact[0]
    assert found.dtype == dtype
    # float32 sums add some 1e-6 of the largest number, subnormal halves their distance
    slack = 4e-6 * abs(exact).max() + (2.0**-25 if dtype == np.float16 else 0)
    assert (abs(found.astype(np.float64) - exact) <= EPS[dtype] * abs(exact) + slack).all()
    assert all(np.array_equal(x, y) for x, y in zip(arrays, before, strict=True))


GRADIENTS = {
    "cross_entropy_grad": lambda f, log_total, gy, x: f(gy, x, log_total, LABELS, None, None, 0.1),
    "batch_norm_grad": lambda f, _, gy, x: f(gy, x, np.ones(7), 1e-5, np.full(7, 0.1), np.full(7, 0.3), False)[0],
    "group_norm_grad": lambda f, _, gy, x: f(gy, x, 1, np.ones(7), 1e-5, np.full((3, 1), 0.1), np.full((3, 1), 0.3))[0],
}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", GRADIENTS)
def test_gradients_rounded_once(name, dtype):
    random = np.random.default_rng(0)
    x = random.uniform(-1, 1, (3, 7)).astype(dtype)
    gy = random.uniform(-1, 1, 3 if name == "cross_entropy_grad" else (3, 7)).astype(dtype)
    log_total = np.log(np.exp(x.astype(np.float64)).sum(1))
    found = GRADIENTS[name](kernel(name, x), log_total, gy, x)
    exact = GRADIENTS[name](kernel(name, np.ones(1)), log_total, gy.astype(np.float64), x.astype(np.float64))
    assert found.dtype == dtype
    assert (abs(found.astype(np.float64) - exact) <= EPS[dtype] * abs(exact) + 2.0**-25).all()


def test_every_kernel_of_numbers_has_a_case():
    elsewhere = {"max_windows", "sgd_update", "adam_update", "rmsprop_update", "adadelta_update",  # tests/ops/test_half.py
                 "update_each", "philox", "philox_uniform", "philox_normal", "dropout_mask",
                 "dropout", "mean_loss", "total_weight", "move_statistics",  # test_dropout.py, test_softmax.py, test_norm.py
                 "unscale_each", "update_scale",  # tests/amp
                 "nms", "soft_nms",  # of boxes in float32, tests/ops/test_nms.py
                 "join_edges"}  # of weights in float64, tests/models/detect/test_segments.py
    assert set(KERNELS) - elsewhere == set(CASES) | set(GRADIENTS)


def test_portable_does_half_precision():
    x = np.ones((2, 3), DTYPES[1])
    assert str(explain(lambda: kernel("softmax", x))[0]) == "softmax: portable (cpu has no kernels for bfloat16)"


def test_what_half_precision_is():
    assert [is_half(np.dtype(t)) for t in ("float16", "float32", "int16")] == [True, False, False]
    assert is_half(DTYPES[1]) and accumulator(DTYPES[1]) == np.float64
    x = np.array([1.5, -0.0, np.inf, np.nan]).astype(DTYPES[1])
    np.testing.assert_array_equal(widened(x), np.array([1.5, -0.0, np.inf, np.nan], np.float32))
    same = np.ones(2)
    assert widened(same) is same
