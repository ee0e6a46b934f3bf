"""The depthwise convolution of the CPU's room against seven nested loops: each way to read rows, one plane or two in a vector."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.kernels import explain, use_algorithm
from minidl.kernels.cpu import conv as cpu
from minidl.kernels.cpu import conv_depthwise
from minidl.kernels.cpu.depthwise_rows import Plain, Spread, Thinned
from minidl.kernels.cpu.instructions import LANES, WIDE
from minidl.kernels.portable import conv as portable
from minidl.kernels.shapes import ConvGeometry
from tests.kernels.test_conv import Case


def case_of(stride=1, padding=(1, 1), channels=3, multiplier=1, dtype=np.float32, **options):
    """As Case, each channel a group."""
    geometry = ConvGeometry((stride, stride), padding, groups=channels)
    return Case(geometry, dtype, c=channels, o=channels * multiplier, **options)


# Rows longer and shorter than vectors, more rows than a tile has and fewer, windows of all heights.
SHAPES = {
    "long rows": dict(n=2, size=(15, 37), kernel_size=(3, 4), padding=(1, 2)),
    "long rows, stride 2": dict(stride=2, n=1, size=(17, 74), kernel_size=(3, 3), padding=(2, 1)),
    "rows of a vector": dict(n=2, size=(9, 13), kernel_size=(3, 5), padding=(1, 0)),
    "rows of two vectors, stride 2": dict(stride=2, n=2, size=(13, 31), kernel_size=(3, 2)),
    "gradients of a vector, stride 2": dict(stride=2, n=2, size=(5, 27), kernel_size=(3, 3)),
    "two planes, one left over": dict(n=3, channels=5, size=(8, 7), kernel_size=(3, 3)),
    "two planes of a vector each": dict(n=2, channels=4, size=(6, 14), kernel_size=(3, 9), padding=(2, 0)),
    "two planes, stride 2": dict(stride=2, n=3, size=(11, 7), kernel_size=(3, 3)),
    "two planes of a vector each, stride 2": dict(stride=2, n=3, size=(9, 13), kernel_size=(3, 2), padding=(0, 1)),
    "several outputs for a channel": dict(n=2, multiplier=2, size=(9, 35), kernel_size=(3, 3)),
    "several for each of two planes": dict(n=2, multiplier=3, size=(9, 6), kernel_size=(3, 3)),
    "several outputs, stride 2": dict(stride=2, n=2, multiplier=2, size=(8, 19), kernel_size=(3, 3)),
    "windows of a row": dict(n=2, size=(6, 5), kernel_size=(1, 4), padding=(0, 2)),
    "windows of five": dict(n=2, size=(16, 6), kernel_size=(5, 5), padding=(2, 2)),
    "windows of seven, stride 2": dict(stride=2, n=2, size=(20, 17), kernel_size=(7, 3), padding=(3, 1)),
    "padding wider than the image": dict(n=2, size=(4, 3), kernel_size=(3, 3), padding=(9, 8)),
    "padding wider than the image, stride 2": dict(stride=2, n=2, size=(4, 3), kernel_size=(3, 3), padding=(8, 9)),
    "nothing but ones": dict(n=1, channels=2, size=(1, 1), kernel_size=(1, 1), padding=(0, 0)),
    "no images": dict(n=0, size=(5, 6), kernel_size=(3, 3)),
}


@pytest.mark.parametrize("name", SHAPES)
def test_shapes(name):
    case_of(**SHAPES[name]).check(conv_depthwise)


@pytest.mark.parametrize("name", [name for name in SHAPES if SHAPES[name]["kernel_size"][0] == 3])
def test_float64(name):
    case_of(**SHAPES[name], dtype=np.float64).check(conv_depthwise)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(stride=st.integers(1, 2), padding=st.tuples(st.integers(0, 4), st.integers(0, 4)), n=st.integers(0, 3),
       channels=st.integers(2, 5), multiplier=st.integers(1, 3), width=st.integers(1, 6),
       excess=st.tuples(st.integers(0, 16), st.integers(0, 36)))
def test_any_shape(stride, padding, n, channels, multiplier, width, excess):
    size = tuple(max(1, k - 2 * p) + e for k, p, e in zip((3, width), padding, excess, strict=True))
    case_of(stride, padding, channels, multiplier, n=n, size=size, kernel_size=(3, width)).check(conv_depthwise)


def test_codes():
    """What the shapes above are for: how many planes share a vector, and in how many of them a row is held. That takes AVX-512:
    others have no permutation of a vector's lanes by a vector.
    """
    def check(expected, kind, width, outputs, channels=2):
        x, y = (np.zeros((1, channels, 1, size), np.float32) for size in (width, outputs))
        code = conv_depthwise._code(kind(1, 0, 0), (channels, 1, 3, 3), x, y)
        assert (len(code.planes), len(code.held)) == (expected if WIDE else (1, 0))

    check((1, 0), Plain, LANES + 1, LANES - 1)
    check((1, 1), Plain, LANES, LANES)
    check((2, 1), Plain, LANES // 2, LANES // 2)
    check((2, 2), Plain, LANES // 2 + 1, LANES // 2)
    check((1, 1), Plain, LANES // 2, LANES // 2, channels=1)
    check((1, 0), Thinned, 2 * LANES + 1, LANES + 1)
    check((1, 2), Thinned, 2 * LANES, LANES)
    check((2, 2), Thinned, LANES, LANES // 2)
    check((1, 0), Spread, LANES + 1, 2 * LANES)
    check((1, 1), Spread, LANES, 2 * LANES)
    check((2, 1), Spread, LANES // 4, LANES // 2)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(9, 7), (9, 13), (9, 37)])
def test_nan_and_infinity_reach_what_they_must(size, stride):
    """As in the portable kernels, padding takes part in products. Those of a weight may reach all of its channel's gradient,
    those of pixels all of its channel's weights; nothing reaches the plane that shares a vector.
    """
    for place, spoiled in (("x", 3), ("w", 1), ("gy", 3)):
        for bad in (np.nan, np.inf):
            case = case_of(stride, n=2, channels=4, size=size, kernel_size=(3, 3))
            getattr(case, place)[1, -1, 1, 0] = bad
            if place != "w":
                case.w = abs(case.w) + 1  # so that infinity stays infinity
            with np.errstate(invalid="ignore"):
                want = case.computed(portable)
            y, gx, gw = case.computed(conv_depthwise)
            others = np.arange(4) != spoiled
            np.testing.assert_allclose(y, want[0], rtol=0, atol=1e-5)
            exact = others if place == "w" else slice(None)
            np.testing.assert_allclose(gx[:, exact], want[1][:, exact], rtol=0, atol=1e-5)
            np.testing.assert_allclose(gw[others], want[2][others], rtol=0, atol=1e-4)
            for got, expected in ((gx, want[1]), (gw, want[2])):
                assert not np.isfinite(got[~np.isfinite(expected)]).any()


@pytest.mark.parametrize("size", [(9, 7), (9, 37)])
def test_bias_and_relu_in_the_same_pass(size):
    case = case_of(n=2, size=size, kernel_size=(3, 3))
    case.x[0, 0, 0, 0] = np.nan
    plain = conv_depthwise.conv2d(case.x, case.w, case.b, case.geometry)
    y = conv_depthwise.conv2d(case.x, case.w, case.b, case.geometry, True)
    np.testing.assert_array_equal(y, np.where(plain <= 0, 0, plain))
    assert (y == 0).any() and (y > 0).any() and np.isnan(y).any()
    without = conv_depthwise.conv2d(case.x, case.w, None, case.geometry)
    np.testing.assert_allclose(without + case.b[:, None, None], plain, atol=1e-6)


@pytest.mark.parametrize("n, size", [(16, (256, 256)), (4096, (16, 16)), (16384, (8, 8))])
def test_sums_over_a_large_batch_are_accurate(n, size):
    """Weight gradients over 2**20 terms, of mean 1/2 so that rounding does not cancel."""
    x = np.random.default_rng(0).random((n, 2, *size), np.float32)
    got = conv_depthwise.conv2d_weight_grad(np.ones_like(x), x, (2, 1, 1, 1), ConvGeometry(groups=2)).ravel()
    np.testing.assert_allclose(got, x.sum((0, 2, 3), dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("n, side", [(64, 112), (8, 224), (1, 1024)])
def test_sums_over_large_planes_are_accurate(n, side):
    """Of equal terms, whose rounding errors all point the same way: a plain float32 sum of the last case is wrong by 6e-4."""
    x = np.full((n, 2, side, side), 0.1, np.float32)
    got = conv_depthwise.conv2d_weight_grad(np.ones_like(x), x, (2, 1, 1, 1), ConvGeometry(groups=2))
    np.testing.assert_allclose(got, n * side**2 * float(x[0, 0, 0, 0]), rtol=5e-6)


def test_inputs_are_left_alone_and_results_own_their_memory():
    case = case_of(2, size=(9, 7), kernel_size=(3, 3))
    before = [array.copy() for array in (case.x, case.w, case.b, case.gy)]
    assert all(result.base is None for result in case.computed(conv_depthwise))
    for array, copy in zip((case.x, case.w, case.b, case.gy), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_any_memory_layout():
    case = case_of(size=(9, 7), kernel_size=(3, 3))
    want = case.computed(conv_depthwise)
    for layout in (np.asfortranarray, lambda a: a[..., ::-1].copy()[..., ::-1]):
        case.x, case.w, case.gy = layout(case.x), layout(case.w), layout(case.gy)
        for got, expected in zip(case.computed(cpu), want, strict=True):
            np.testing.assert_array_equal(got, expected)


def test_chosen_where_each_channel_is_a_group(monkeypatch):
    def chosen(channels=4, groups=4, kernel_size=(3, 3), **options):
        case = Case(ConvGeometry(groups=groups, **options), np.float32, c=channels, o=channels, size=(15, 16),
                    kernel_size=kernel_size)
        case.check(cpu)
        reasons = {choice.reason.partition(":")[0] for choice in explain(case.computed, cpu)}
        assert len(reasons) == 1
        return reasons.pop()

    assert chosen() == chosen(stride=(2, 2)) == chosen(kernel_size=(7, 2)) == "depthwise"
    assert chosen(groups=2) == chosen(channels=1, groups=1) == "direct"
    assert chosen(stride=(2, 1)) == chosen(stride=(3, 3)) == chosen(dilation=(1, 2)) == chosen(kernel_size=(8, 2)) == "direct"
    with use_algorithm("direct"):
        assert chosen() == "direct"
    with use_algorithm("depthwise"):
        assert chosen() == "depthwise" and chosen(groups=2) == "direct"
    monkeypatch.setattr(conv_depthwise, "MASKS", False)  # as on a processor whose vectors have no masks
    assert chosen() == "direct"
