"""CUDA's convolutions, against the same loops as the other rooms'."""

import numpy as np
import pytest

from minidl.kernels import explain, use_backend
from minidl.kernels.cuda import conv as choice
from minidl.kernels.cuda import conv_depthwise, conv_gemm, gemm
from minidl.kernels.cuda.geometry import geometry_of
from minidl.kernels.shapes import ConvGeometry
from tests.kernels.cuda import bfloat16, cuda_runs, kernel, on_device, with_bfloat16
from tests.kernels.test_conv import EPS, GEOMETRIES, Case

pytestmark = cuda_runs
conv, conv_depthwise, conv_gemm = map(on_device, (choice, conv_depthwise, conv_gemm))


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_geometry(geometry):
    Case(geometry, np.float32).check(conv_gemm)


@pytest.mark.parametrize("outputs", [1, 2], ids=lambda outputs: f"{outputs} for a channel")
@pytest.mark.parametrize("geometry", GEOMETRIES[::5], ids=str)
def test_depthwise(geometry, outputs):
    case = Case(geometry._replace(groups=3), np.float32, c=3, o=3 * outputs)
    case.check(conv_depthwise)
    case.check(conv)


# More than one tile along each axis of the product, and a part of one; steps of 8 with some left over.
TILES = {
    "outputs and windows": dict(n=3, c=2, o=None, size=(9, 8)),
    "channels and pixels": dict(n=3, c=None, o=2, size=(9, 8)),
    "strided": dict(geometry=ConvGeometry((2, 3), (1, 2)), n=5, c=None, o=3, size=(17, 19)),
    "taps": dict(n=2, c=23, o=3, size=(6, 5)),
    "groups": dict(geometry=ConvGeometry(padding=(1, 0), groups=2), n=3, c=46, o=6, size=(7, 8)),
    "whole fours": dict(geometry=ConvGeometry(padding=(1, 1)), n=2, c=12, o=8, size=(8, 10), kernel_size=(3, 3)),
    "pointwise": dict(geometry=ConvGeometry((2, 2)), n=2, c=134, o=9, size=(5, 7), kernel_size=(1, 1)),
}


@pytest.mark.parametrize("busy", [0, 132], ids=["whole sums", "sums in parts"])
@pytest.mark.parametrize("rows", gemm.ROWS)
@pytest.mark.parametrize("name", TILES)
def test_tiles(name, rows, busy, monkeypatch):
    monkeypatch.setattr(gemm, "ROWS", (rows,))
    monkeypatch.setattr(gemm, "BUSY", busy)
    options = dict(TILES[name])
    geometry = options.pop("geometry", ConvGeometry())
    Case(geometry, np.float32, **{axis: rows + 5 if size is None else size for axis, size in options.items()}).check(conv_gemm)


def test_long_sums_are_cut_by_shapes_alone():
    assert gemm.plan(6, 25, 150) == gemm.Plan(32, 2, 2, 80)
    assert gemm.plan(64, 576, 10**6).parts == -(-10**6 // gemm.plan(64, 576, 10**6).length) > 100
    assert gemm.plan(2048, 18432, 10**5).length <= gemm.LONGEST
    assert gemm.plan(300, 10**6) == gemm.Plan(128, 3 * 7813, 1, 0)
    for depth in (0, 1, 7, 63, 64, 65, 1000, 100003):
        parts, length = gemm.cut(depth, 3)
        assert (parts - 1) * length < max(1, depth) <= max(1, parts * length) and length % gemm.DEPTH == 0


def test_the_parts_of_a_long_sum(monkeypatch):
    """Depthwise, of more windows than a block has threads."""
    monkeypatch.setattr(gemm, "SHORTEST", 300)
    case = Case(ConvGeometry((2, 1), (1, 2), groups=3), np.float32, n=9, c=3, o=6, size=(13, 11))
    assert gemm.cut(int(geometry_of(case.x.shape, case.w.shape, case.geometry)["windows"]), 6)[0] > 1
    case.check(conv_depthwise)


@pytest.mark.parametrize("module", [conv_gemm, conv_depthwise], ids=lambda module: module.__name__.split(".")[-1])
@pytest.mark.parametrize("dtype", [np.float16, np.float64, pytest.param(bfloat16, marks=with_bfloat16)])
def test_dtypes(module, dtype, monkeypatch):
    monkeypatch.setitem(EPS, bfloat16, 8e-3)
    Case(ConvGeometry((1, 2), (1, 0), groups=3), dtype, n=5, c=3, o=6, size=(9, 14)).check(module)


def test_float16_is_summed_in_float32():
    ones = np.ones((1, 4096, 1, 1), np.float16)  # in float16 a sum of ones stops at 2048
    assert conv.conv2d(ones, ones, None, ConvGeometry()) == 4096
    row = np.ones((1, 1, 1, 4096), np.float16)
    assert conv.conv2d_weight_grad(row, row, (1, 1, 1, 1), ConvGeometry()) == 4096
    pair = np.ones((1, 2, 1, 4096), np.float16)
    assert (conv.conv2d_weight_grad(pair, pair, (2, 1, 1, 1), ConvGeometry(groups=2)) == 4096).all()


@pytest.mark.parametrize("groups", [1, 3])
def test_bias_and_relu_in_the_last_pass(groups):
    case = Case(ConvGeometry(groups=groups), np.float32)
    case.x[0, 0, 0, 0] = np.nan
    plain = conv.conv2d(case.x, case.w, case.b, case.geometry)
    y = conv.conv2d(case.x, case.w, case.b, case.geometry, True)
    np.testing.assert_array_equal(y, np.where(plain <= 0, 0, plain))
    assert (y == 0).any() and (y > 0).any() and np.isnan(y).any()


@pytest.mark.parametrize("groups", [1, 3])
def test_of_no_images(groups):
    case = Case(ConvGeometry(groups=groups), np.float32, n=0)
    y, gx, gw = case.computed(conv)
    assert y.shape == case.gy.shape and gx.shape == case.x.shape and gw.shape == case.w.shape and not gw.any()


def test_of_no_channels():
    case = Case(ConvGeometry(), np.float32, o=0)
    y, gx, gw = case.computed(conv_gemm)
    assert y.shape == case.gy.shape and gx.shape == case.x.shape and gw.shape == case.w.shape and not gx.any()


def test_the_algorithm_that_suits():
    def chosen(groups):
        case = Case(ConvGeometry(groups=groups), np.float32)
        with use_backend("cuda"):
            return explain(lambda: kernel("conv2d", case.x)(case.x, case.w, case.b, case.geometry))[-1]

    assert "gemm" in chosen(1).reason and "depthwise" in chosen(3).reason


@pytest.fixture
def limit(monkeypatch):
    """Sets how many numbers kernels can count."""
    def forget():
        choice._parts.cache_clear()
        choice._algorithm.cache_clear()

    def set_to(numbers):
        forget()
        monkeypatch.setattr(choice, "LARGEST", numbers)

    yield set_to
    forget()


@pytest.mark.parametrize("c, o", [(6, 3), (1, 3)], ids=["more in x", "more in y"])
@pytest.mark.parametrize("images, reason, parts", [(2.5, "gemm", 3), (1, "gemm", 5), (0.5, "im2col", 5)])
def test_batches_with_too_many_numbers_are_computed_in_parts(c, o, images, reason, parts, limit):
    case = Case(ConvGeometry(padding=(1, 0)), np.float32, n=5, c=c, o=o)
    limit(int(images * max(case.x[0].size, case.gy[0].size)))
    case.check(conv)
    chosen = explain(conv.conv2d_weight_grad, case.gy, case.x, case.w.shape, case.geometry)
    assert [reason in each.reason for each in chosen if each.kernel == "conv2d_weight_grad"] == [True] * parts
    y = conv.conv2d(case.x, case.w, case.b, case.geometry)
    np.testing.assert_array_equal(conv.conv2d(case.x, case.w, case.b, case.geometry, relu=True), np.maximum(y, 0))


def test_parts_of_a_batch_are_added_up_in_float32(limit):
    x = np.array([2048, 1, 1, 1, 1], np.float16).reshape(5, 1, 1, 1)  # 2049 is no float16
    limit(1)
    assert conv.conv2d_weight_grad(np.ones_like(x), x, (1, 1, 1, 1), ConvGeometry()).tolist() == [[[[2052]]]]
