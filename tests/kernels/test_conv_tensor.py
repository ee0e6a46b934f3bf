"""Convolution on tensor cores, which the host plays where there is no GPU, against loops. What is multiplied is rounded first, so
that the rest is held to the accuracy of float32 sums.
"""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import kernels
from minidl.kernels.cuda import channels_last, conv, conv_tensor, host, matmul
from minidl.kernels.shapes import ConvGeometry, windows
from tests.kernels.cuda import cuda_runs, on_device, on_host

pytestmark = cuda_runs
cuda, tensor = on_device(conv), on_device(conv_tensor)

UNIT = {"float32": 2.0**-11, "float16": 2.0**-11, "bfloat16": 2.0**-8}  # roundoff of an operand
RESULT = {"float32": 2.0**-24, "float16": 2.0**-11, "bfloat16": 2.0**-8}  # of a result


@pytest.fixture(autouse=True)
def forget_plans():
    """Tests change what plans are made by."""
    plans = conv_tensor._plan, conv_tensor._weights_plan
    for plan in plans:
        plan.cache_clear()
    yield
    for plan in plans:
        plan.cache_clear()


def naive(x, w, gy, geometry):
    """y (without bias), gx and gw by the definition, in float64, tap by tap and pixel by pixel."""
    (sh, sw), (ph, pw), (dh, dw), groups = geometry
    y, gx, gw = np.zeros(gy.shape), np.zeros(x.shape), np.zeros(w.shape)
    c, o = w.shape[1], w.shape[0] // groups
    for g, i, j, a, k in itertools.product(range(groups), *map(range, (*gy.shape[2:], *w.shape[2:]))):
        row, column = i * sh + a * dh - ph, j * sw + k * dw - pw
        if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
            ins, outs = slice(g * c, g * c + c), slice(g * o, g * o + o)
            y[:, outs, i, j] += x[:, ins, row, column] @ w[outs, :, a, k].T
            gx[:, ins, row, column] += gy[:, outs, i, j] @ w[outs, :, a, k]
            gw[outs, :, a, k] += gy[:, outs, i, j].T @ x[:, ins, row, column]
    return y, gx, gw


def rounded(array):
    """As the tensor cores take it, in float64."""
    if array.dtype == np.float32:
        array = ((array.view(np.uint32) + np.uint32(0x1000)) & np.uint32(0xFFFFE000)).view(np.float32)
    return array.astype(np.float64)


def numpy_dtype(name):
    return np.dtype(getattr(pytest.importorskip("ml_dtypes"), name) if name == "bfloat16" else name)


class Case:
    """Random x (N, C, H, W), w (O, C/G, KH, KW), b (O,) and gy (N, O, OH, OW)."""

    def __init__(self, geometry, dtype="float32", n=2, c=3, o=5, size=(9, 8), kernel_size=(3, 2)):
        random, dtype, groups = np.random.default_rng(0), numpy_dtype(dtype), geometry.groups
        c, o = -(-c // groups) * groups, -(-o // groups) * groups
        shapes = (n, c, *size), (o, c // groups, *kernel_size), (o,), (n, o, *windows(size, kernel_size, geometry))
        self.x, self.w, self.b, self.gy = (random.standard_normal(shape).astype(np.float32).astype(dtype) for shape in shapes)
        self.geometry, self.dtype = geometry, dtype

    def check(self, what=("y", "gx", "gw")):
        operands = [rounded(array) for array in (self.x, self.w, self.gy)]
        wanted, sizes = naive(*operands, self.geometry), naive(*map(abs, operands), self.geometry)
        b = self.b.astype(np.float64)[:, None, None]
        wanted, sizes = (wanted[0] + b, *wanted[1:]), (sizes[0] + abs(b), *sizes[1:])
        terms = self.w[0].size + 1, self.w.size // max(1, self.w.shape[1]), self.gy.size // max(1, self.gy.shape[1])  # of a sum
        for name, count, want, size in zip(("y", "gx", "gw"), terms, wanted, sizes, strict=True):
            if name in what:
                got = self.computed(name)
                assert got.dtype == self.dtype and got.shape == want.shape, name
                allowed = 2.0**-24 * count * size + 1.01 * RESULT[self.dtype.name] * abs(want) + 2.0**-25
                assert np.all(abs(got.astype(np.float64) - want) <= allowed), name

    def computed(self, name):
        if name == "y":
            return tensor.conv2d(self.x, self.w, self.b, self.geometry)
        if name == "gx":
            return tensor.conv2d_input_grad(self.gy, self.w, self.x.shape, self.geometry)
        return tensor.conv2d_weight_grad(self.gy, self.x, self.w.shape, self.geometry)


# All strides and dilations from 1 to 3 and paddings from 0 to 3, along the height; another triple along the width.
ALONG = list(itertools.product((1, 2, 3), (0, 1, 2, 3), (1, 2, 3)))
GEOMETRIES = [ConvGeometry(*zip(along, across, strict=True), i % 3 + 1)
              for i, (along, across) in enumerate(zip(ALONG, ALONG[7:] + ALONG[:7], strict=True))]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_geometry(geometry):
    Case(geometry, ("float32", "float16", "bfloat16")[sum(geometry.stride) % 2]).check()


CASES = {
    "bfloat16": dict(geometry=ConvGeometry((2, 1), (1, 2), (1, 2), 2), dtype="bfloat16"),
    "no images": dict(geometry=ConvGeometry(), n=0),
    "no channels": dict(geometry=ConvGeometry(), c=0),
    "nothing but ones": dict(geometry=ConvGeometry(), n=1, c=1, o=1, size=(1, 1), kernel_size=(1, 1)),
    "a first layer": dict(geometry=ConvGeometry((4, 4), (2, 2)), dtype="float16", c=3, o=7, size=(23, 19), kernel_size=(11, 9)),
    "stride over what no tap sees": dict(geometry=ConvGeometry((3, 2)), kernel_size=(1, 1), size=(8, 9)),
    "stride beyond the image": dict(geometry=ConvGeometry((12, 11)), size=(9, 8)),
    "dilation and stride with a common divisor": dict(geometry=ConvGeometry((4, 6), (3, 5), (6, 4)), size=(15, 14)),
    "padding wider than the image": dict(geometry=ConvGeometry((1, 2), (9, 8)), size=(4, 3)),
    "a window on the image's edge only": dict(geometry=ConvGeometry((1, 1), (4, 4), (5, 5)), size=(3, 2)),
    "each channel for itself": dict(geometry=ConvGeometry(padding=(1, 1), groups=5), c=5, o=10, dtype="float16"),
}


@pytest.mark.parametrize("name", CASES)
def test_shapes(name):
    Case(**CASES[name]).check()


# More than one tile along rows and columns, both with a rest, and more than one step along the depth. The gradients in x and w
# have other rows and columns.
TILED = {
    "y": dict(n=1, c=5, o=131, size=(19, 13), kernel_size=(1, 7)),
    "gx": dict(n=3, c=131, o=5, size=(7, 7), kernel_size=(1, 7)),
    "gw": dict(n=1, c=20, o=131, size=(5, 15), kernel_size=(1, 7)),
}


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("tile", conv_tensor.TILES, ids=lambda tile: tile.name)
@pytest.mark.parametrize("what", TILED)
def test_many_tiles(monkeypatch, what, tile, dtype):
    monkeypatch.setattr(conv_tensor, "TILES", [tile])
    Case(ConvGeometry(padding=(0, 1)), dtype, **TILED[what]).check([what])


# Planes of whole chunks, several images, a rest of channels of both kinds, more than one step and tile.
PLANES = dict(geometry=ConvGeometry(groups=2), n=5, c=2 * 71, o=2 * 131, size=(4, 10), kernel_size=(1, 1))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("tile", conv_tensor.TILES, ids=lambda tile: tile.name)
def test_windows_of_a_pixel_read_images_as_they_lie(monkeypatch, tile, dtype):
    case, copied = Case(dtype=dtype, **PLANES), []
    monkeypatch.setattr(conv_tensor, "TILES", [tile])
    monkeypatch.setattr(conv_tensor, "images_last", lambda x, groups: copied.append(x) or channels_last.images_last(x, groups))
    case.check()
    assert not copied
    odd = np.zeros(case.x.size + 1, case.dtype)[1:].reshape(case.x.shape)  # where no chunk can be read
    odd[...], case.x = case.x, odd
    case.check(["y", "gw"])
    assert len(copied) == 3


@on_host
@pytest.mark.parametrize("tile", conv_tensor.TILES[:2], ids=lambda tile: tile.name)
def test_groups_of_warps_read_images_as_they_lie(monkeypatch, warpgroups, tile):
    monkeypatch.setattr(conv_tensor, "TILES", [tile])
    Case(dtype="bfloat16", **PLANES).check()


@pytest.fixture
def warpgroups(monkeypatch):
    """As on GPUs since Hopper, where four warps multiply together."""
    options = host.options
    monkeypatch.setattr(host, "options", lambda dtype: (*options(dtype), "-DWARPGROUPS=1"))
    host._compiled.cache_clear()
    yield
    host._compiled.cache_clear()


@on_host
@pytest.mark.parametrize("dtype", UNIT)
@pytest.mark.parametrize("tile", conv_tensor.TILES[:2], ids=lambda tile: tile.name)
@pytest.mark.parametrize("what", TILED)
def test_groups_of_warps(monkeypatch, warpgroups, what, tile, dtype):
    monkeypatch.setattr(conv_tensor, "TILES", [tile])
    Case(ConvGeometry(padding=(0, 1)), dtype, **TILED[what]).check([what])
    Case(ConvGeometry((2, 1), (1, 2), (1, 2), 2), dtype, c=70, o=66).check([what])


@pytest.mark.parametrize("long", [1, 3])
def test_sums_over_pixels_in_parts(monkeypatch, long):
    """A rest in the last part; images that begin in the middle of a step."""
    monkeypatch.setattr(conv_tensor, "LONG", long)
    Case(ConvGeometry((1, 2), (1, 0)), n=5, size=(7, 8)).check(["gw"])


def test_long_sums_are_cut():
    assert conv_tensor._length(steps=10, tiles=1000, depth=16) == 10  # enough blocks
    assert conv_tensor._length(steps=1568, tiles=32, depth=32) == 1568 // 8
    assert conv_tensor._length(steps=6272, tiles=1, depth=32) == 25
    assert conv_tensor._length(steps=100_000, tiles=1000, depth=32) == 8192 // 32
    assert conv_tensor._length(steps=20, tiles=1, depth=32) == 8  # short ones are not


def test_blocks_are_kept_busy():
    large, flat, small = conv_tensor.TILES
    assert conv_tensor._tile(256, 64 * 28 * 28, 1) == large
    assert conv_tensor._tile(64, 64 * 56 * 56, 1) == flat
    assert conv_tensor._tile(512, 8 * 7 * 7, 1) == conv_tensor._tile(20, 100, 1) == small


@pytest.mark.parametrize("dtype", UNIT)
def test_rounded_operands_are_the_error(dtype):
    """Against float64 of what came in: (1 + u)^2 in each product."""
    case = Case(ConvGeometry(padding=(1, 1)), dtype)
    x, w, gy = (array.astype(np.float64) for array in (case.x, case.w, case.gy))
    want, size = naive(x, w, gy, case.geometry)[0], naive(abs(x), abs(w), gy, case.geometry)[0]
    got = tensor.conv2d(case.x, case.w, None, case.geometry)
    assert np.all(abs(got.astype(np.float64) - want) <= 2.1 * UNIT[dtype] * size + RESULT[dtype] * abs(want))


def test_relu_keeps_nan_and_only_its_windows_see_it():
    case = Case(ConvGeometry(padding=(1, 1)))
    case.x[1, 2, 4, 3] = np.nan
    plain, y = (tensor.conv2d(case.x, case.w, case.b, case.geometry, relu=relu) for relu in (False, True))
    seen = np.isnan(plain)
    assert seen.any(axis=(2, 3)).tolist() == [[False] * 5, [True] * 5]
    assert seen[1, 0].sum() == case.w[0, 0].size
    assert (plain < 0).any()
    assert np.array_equal(y, np.where(plain < 0, 0, plain), equal_nan=True)
    gx = tensor.conv2d_input_grad(plain, case.w, case.x.shape, case.geometry)
    assert np.isnan(gx[1]).any() and not np.isnan(gx[0]).any() and not np.isnan(gx[1, :, 0]).any()


def test_chosen_for_half_precision_and_strided_arrays():
    """By the room's conv2d, which makes arrays contiguous, and leaves them as they were."""
    case = Case(ConvGeometry(padding=(1, 2)), "float16")
    want = [case.computed(name) for name in ("y", "gx", "gw")]
    x, w, gy = (np.stack([array, array], axis=-1)[..., 0] for array in (case.x, case.w, case.gy))
    got = []
    choices = kernels.explain(lambda: got.extend((cuda.conv2d(x, w, case.b, case.geometry),
                                                  cuda.conv2d_input_grad(gy, w, x.shape, case.geometry),
                                                  cuda.conv2d_weight_grad(gy, x, w.shape, case.geometry))))
    assert [choice.reason for choice in choices] == ["tensor cores, float16"] * 3
    assert all(map(np.array_equal, got, want))
    assert all(map(np.array_equal, (x, w, gy), (case.x, case.w, case.gy)))


def test_weights_at_an_odd_address():
    """As in a buffer that holds all of a model's parameters."""
    case = Case(ConvGeometry(), c=2, kernel_size=(2, 1))  # rows of 4 numbers: one chunk
    want = case.computed("y")
    buffer = np.zeros(case.w.size + 1, np.float32)
    buffer[1:] = case.w.ravel()
    case.w = buffer[1:].reshape(case.w.shape)
    assert np.array_equal(case.computed("y"), want)


@on_host
def test_pixels_that_do_not_exist_are_not_written(monkeypatch):
    """Of a tile that is not full, where channels are so far apart that counting from a place outside comes to an end inside."""
    monkeypatch.setattr(conv_tensor, "TILES", conv_tensor.TILES[:1])
    plane, rows, pixels = 2908 * 2908, 128, 16  # 2^30 is less than 128 planes
    y = np.zeros(rows * plane, np.float16)  # most of it is never touched, and takes no memory
    correlation = conv_tensor.Correlation(1, rows, 8, (1, pixels), 1, (1, pixels), (1, 1), (1, 1), (0, 0), (1, 1), 1,
                                          (plane, 0, pixels, 1))
    images, weights, bias = (np.ones(shape, np.float16) for shape in ((1, 1, pixels, 8), (1, rows, 1, 1, 8), (rows,)))
    conv_tensor._launch(images, False, weights, bias, y, False, correlation)
    assert (y.reshape(rows, plane)[:, :pixels] == 9).all()
    assert not y[: 10 * plane].reshape(10, plane)[:, pixels:].any()


@pytest.mark.parametrize("batch", [(), (3,), (2, 2)])
def test_matmul(batch):
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((*batch, *shape)).astype(np.float16) for shape in ((5, 37), (37, 66)))
    got, want = tensor.matmul(a, b), a.astype(np.float64) @ b.astype(np.float64)
    size = abs(a.astype(np.float64)) @ abs(b.astype(np.float64))
    assert got.dtype == np.float16 and got.shape == want.shape
    assert np.all(abs(got - want) <= 37 * 2.0**-24 * size + 1.01 * 2.0**-11 * abs(want))
    assert tensor.matmul(a, b[..., :0]).shape == (*batch, 5, 0)
    assert np.all(tensor.matmul(a[..., :0], b[..., :0, :]) == 0)
    assert np.array_equal(tensor.matmul(turned(a), b), got)
    for left in (a, turned(a)):  # the sums are then in another order
        other = tensor.matmul(left, turned(b))
        assert np.all(abs(other - want) <= 37 * 2.0**-24 * size + 1.01 * 2.0**-11 * abs(want))


def turned(x):
    """The same matrices, column by column in memory."""
    return x.swapaxes(-1, -2).copy().swapaxes(-1, -2)


@pytest.mark.parametrize("turn", [np.asarray, turned])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_long_sums_of_few_tiles_in_parts(monkeypatch, turn, dtype):
    monkeypatch.setattr(conv_tensor, "LONG", 1)
    random = np.random.default_rng(0)
    a, b = (random.integers(-9, 9, shape).astype(dtype) for shape in ((5, 131), (131, 70)))
    assert np.array_equal(tensor.matmul(a, turn(b)), a.astype(float) @ b.astype(float))  # whole numbers: sums are exact
    Case(ConvGeometry((1, 2), (1, 1)), dtype, c=36).check()


def test_matmul_broadcasts_batches():
    random = np.random.default_rng(0)
    a, b = random.integers(-9, 9, (3, 1, 5, 4)).astype(np.float16), random.integers(-9, 9, (2, 4, 7)).astype(np.float16)
    got = []
    choices = kernels.explain(lambda: got.append(on_device(matmul.matmul)(a, b)))
    assert np.array_equal(got[0], a.astype(float) @ b.astype(float))  # whole numbers: sums are exact
    assert choices[0].reason == "tensor cores, float16"


def test_who_may_use_them(monkeypatch):
    x = np.zeros((1, 6, 5, 5), np.float32)
    assert conv_tensor.takes(x) is None
    monkeypatch.setattr(kernels, "float32_matmul_precision", lambda: "high")
    assert conv_tensor.takes(x) == "tensor cores, tf32"
    assert conv_tensor.takes(x.astype(np.float16)) == "tensor cores, float16"
    assert conv_tensor.takes(x.astype(np.float64)) is None
    assert conv_tensor.suits((16, 6, 3, 3), ConvGeometry())
    assert conv_tensor.suits((2, 3, 3, 3), ConvGeometry())
    assert not conv_tensor.suits((6, 1, 3, 3), ConvGeometry(groups=6))


@pytest.mark.parametrize("capability, dtype, expected", [("70", "float16", False), ("75", "float16", True),
                                                         ("75", "float32", False), ("80", "float32", True)])
def test_tensor_cores_of_a_gpu(monkeypatch, capability, dtype, expected):
    monkeypatch.setattr(kernels, "float32_matmul_precision", lambda: "high")
    array = SimpleNamespace(dtype=np.dtype(dtype), device=SimpleNamespace(compute_capability=capability))
    assert bool(conv_tensor.takes(array)) == expected
