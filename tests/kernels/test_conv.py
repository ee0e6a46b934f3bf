"""Every convolution kernel, in every room and by every algorithm, against seven nested loops."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minidl.kernels import explain, kernel, use_algorithm, use_backend
from minidl.kernels.cpu import conv as cpu
from minidl.kernels.cpu import conv_depthwise, conv_direct, conv_pointwise, threads, winograd, winograd_tiles
from minidl.kernels.cpu import im2col as cpu_im2col
from minidl.kernels.cuda import conv, im2col
from minidl.kernels.portable import conv as portable
from minidl.kernels.portable import im2col as portable_im2col
from minidl.kernels.shapes import ConvGeometry, windows
from tests.kernels.cuda import cuda_runs, on_device

cuda, cuda_im2col = on_device(conv), on_device(im2col)
EPS = {np.float16: 1e-3, np.float32: 1e-6, np.float64: 1e-14}


def naive(x, w, gy, geometry):
    """y (without bias), gx and gw by the definition, in float64."""
    (sh, sw), (ph, pw), (dh, dw), groups = geometry
    x, w, gy = (array.astype(np.float64) for array in (x, w, gy))
    y, gx, gw = np.zeros(gy.shape), np.zeros(x.shape), np.zeros(w.shape)
    images, _, height, width = x.shape
    o_size, c_size, kh, kw = w.shape
    for n, o, c in itertools.product(range(images), range(o_size), range(c_size)):
        channel = o // (o_size // groups) * c_size + c
        for i, j, a, k in itertools.product(range(gy.shape[2]), range(gy.shape[3]), range(kh), range(kw)):
            row, column = i * sh + a * dh - ph, j * sw + k * dw - pw
            if 0 <= row < height and 0 <= column < width:
                y[n, o, i, j] += x[n, channel, row, column] * w[o, c, a, k]
                gx[n, channel, row, column] += gy[n, o, i, j] * w[o, c, a, k]
                gw[o, c, a, k] += gy[n, o, i, j] * x[n, channel, row, column]
    return y, gx, gw


class Case:
    """Random x (N, C, H, W), w (O, C/G, KH, KW), b (O,) and gy (N, O, OH, OW); every axis of another length."""

    def __init__(self, geometry, dtype=np.float64, n=2, c=3, o=5, size=(9, 8), kernel_size=(3, 2), seed=0):
        random = np.random.default_rng(seed)
        groups = geometry.groups
        c, o = -(-c // groups) * groups, -(-o // groups) * groups

        def draw(*shape):
            return random.standard_normal(shape).astype(dtype)

        self.geometry, self.dtype = geometry, dtype
        self.x, self.w, self.b = draw(n, c, *size), draw(o, c // groups, *kernel_size), draw(o)
        self.gy = draw(n, o, *windows(size, kernel_size, geometry))

    def expected(self):
        y, gx, gw = naive(self.x, self.w, self.gy, self.geometry)
        return y + self.b[:, None, None], gx, gw

    def computed(self, module):
        return (module.conv2d(self.x, self.w, self.b, self.geometry),
                module.conv2d_input_grad(self.gy, self.w, self.x.shape, self.geometry),
                module.conv2d_weight_grad(self.gy, self.x, self.w.shape, self.geometry))

    def check(self, module):
        scale = max(1.0, np.sqrt(self.w[0].size), np.sqrt(self.gy.size / self.gy.shape[1]))
        for name, got, want in zip(("y", "gx", "gw"), self.computed(module), self.expected(), strict=True):
            assert got.dtype == self.dtype and got.shape == want.shape, name
            np.testing.assert_allclose(got, want, rtol=0, atol=10 * EPS[self.dtype] * scale, err_msg=name)


# All strides, dilations and groups from 1 to 3 and paddings from 0 to 3, along the height; another triple along the width.
ALONG = list(itertools.product((1, 2, 3), (0, 1, 2, 3), (1, 2, 3)))
GEOMETRIES = [ConvGeometry(*zip(along, across, strict=True), groups)
              for groups in (1, 2, 3)
              for along, across in zip(ALONG, ALONG[7:] + ALONG[:7], strict=True)]


MODULES = [portable, cpu, conv_direct]
ROOMS = [*MODULES, pytest.param(cuda, marks=cuda_runs)]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_every_geometry(geometry):
    case = Case(geometry)
    for module in MODULES:
        case.check(module)


small = st.tuples(st.integers(1, 3), st.integers(1, 3))


@settings(deadline=None, max_examples=150, derandomize=True)
@given(stride=small, padding=st.tuples(st.integers(0, 4), st.integers(0, 4)), dilation=small, kernel_size=small,
       groups=st.integers(1, 3), n=st.integers(0, 4), c=st.integers(1, 6), o=st.integers(1, 9),
       excess=st.tuples(st.integers(0, 5), st.integers(0, 5)), dtype=st.sampled_from((np.float32, np.float64)))
def test_any_shape(stride, padding, dilation, kernel_size, groups, n, c, o, excess, dtype):
    """From windows that only just fit; also batches of 0, paddings wider than the window, channels of 1."""
    span = zip(kernel_size, dilation, padding, excess, strict=True)
    size = tuple(max(1, d * (k - 1) + 1 - 2 * p) + e for k, d, p, e in span)
    geometry = ConvGeometry(stride, padding, dilation, groups)
    case = Case(geometry, dtype, n, c, o, size, kernel_size)
    for module in MODULES:
        case.check(module)


# Several tiles of rows, columns or images, several parts of the batch, and lengths that are not whole vectors.
LARGE = {
    "rows": dict(geometry=ConvGeometry(padding=(2, 1)), n=1, c=2, o=3, size=(38, 61), kernel_size=(3, 4)),
    "columns": dict(geometry=ConvGeometry(padding=(0, 2)), n=2, c=1, o=1, size=(3, 1520), kernel_size=(2, 5)),
    "columns of phases": dict(geometry=ConvGeometry((2, 3), (0, 1), (1, 2)), n=1, c=1, o=2, size=(5, 1800)),
    "images": dict(geometry=ConvGeometry(padding=(1, 1)), n=95, c=2, o=5, size=(4, 3), kernel_size=(3, 2)),
    "images of phases": dict(geometry=ConvGeometry((3, 2), (1, 2)), n=95, c=1, o=2, size=(7, 5), kernel_size=(3, 2)),
    "channels": dict(geometry=ConvGeometry(padding=(1, 1)), n=1, c=1030, o=1, size=(17, 18), kernel_size=(1, 2)),
    "lenet": dict(geometry=ConvGeometry(), n=1, c=6, o=16, size=(14, 14), kernel_size=(5, 5)),
    "grouped": dict(geometry=ConvGeometry(padding=(0, 2), groups=3), n=37, c=9, o=6, size=(5, 7), kernel_size=(2, 4)),
    "depthwise": dict(geometry=ConvGeometry(padding=(1, 1), groups=7), n=2, c=7, o=14, size=(6, 5), kernel_size=(3, 3)),
    "wide padding": dict(geometry=ConvGeometry((1, 2), (9, 8)), n=3, c=1, o=2, size=(4, 3), kernel_size=(2, 3)),
    "wide dilation": dict(geometry=ConvGeometry((1, 2), (9, 8), (11, 12)), n=3, c=1, o=2, size=(4, 9), kernel_size=(2, 3)),
    "dilation wider than a tile": dict(geometry=ConvGeometry((1, 1), (0, 1), (1, 1200)), n=1, c=1, o=4, size=(2, 2499),
                                       kernel_size=(1, 3)),
    "shared margins": dict(geometry=ConvGeometry((1, 2), (0, 2)), n=3, c=1, o=2, size=(3, 5), kernel_size=(1, 4)),
    "wide stride": dict(geometry=ConvGeometry((5, 4)), n=3, c=2, o=5, size=(13, 11), kernel_size=(2, 3)),
    "padded pointwise": dict(geometry=ConvGeometry(padding=(1, 2)), n=3, c=4, o=3, size=(6, 5), kernel_size=(1, 1)),
}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LARGE)
def test_large(name, dtype):
    Case(dtype=dtype, **LARGE[name]).check(conv_direct)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", [ConvGeometry(), ConvGeometry((3, 2)), ConvGeometry((3, 1))], ids=str)
def test_pointwise(geometry, dtype):
    """Images smaller and larger than a block, blocks with rows and columns left over, several blocks of channels."""
    for n, c, o, size in ((3, 8, 12, (6, 5)), (1, 9, 5, (1, 1)), (0, 8, 3, (2, 3)), (35, 8, 19, (7, 8)), (2, 3, 17, (39, 41)),
                          (3, 130, 7, (5, 3))):
        case = Case(geometry, dtype, n, c, o, size, kernel_size=(1, 1))
        case.check(conv_pointwise)
        case.check(cpu)
    case = Case(geometry._replace(groups=4), dtype, c=8, o=12, kernel_size=(1, 1))
    case.check(cpu)


# Winograd: partial tiles, tiles of one pixel, several blocks of tiles and strips of channels, many and few tiles.
WINOGRAD = {
    "partial tiles": dict(padding=(1, 0), n=2, c=5, o=7, size=(13, 11)),
    "one tile": dict(padding=(2, 2), n=1, c=3, o=5, size=(2, 3)),
    "less than a tile": dict(padding=(2, 2), n=1, c=2, o=3, size=(1, 1)),
    "no padding": dict(padding=(0, 2), n=3, c=20, o=33, size=(6, 9)),
    "few tiles": dict(padding=(1, 1), n=2, c=17, o=40, size=(9, 7)),
    "many tiles": dict(padding=(0, 1), n=5, c=9, o=8, size=(31, 45)),
    "many channels": dict(padding=(1, 1), n=1, c=100, o=131, size=(6, 5)),
}


@pytest.mark.parametrize("kernel_size", [3, 5])
@pytest.mark.parametrize("name", WINOGRAD)
def test_winograd(name, kernel_size):
    options = dict(WINOGRAD[name])
    if name == "no padding" and kernel_size == 5:
        options["padding"] = (0, 4)
    case = Case(ConvGeometry(padding=options.pop("padding")), np.float32, kernel_size=(kernel_size, kernel_size), **options)
    case.check(winograd)


@settings(deadline=None, max_examples=100, derandomize=True)
@given(kernel_size=st.sampled_from((3, 5)), padding=st.tuples(st.integers(0, 2), st.integers(0, 2)), n=st.integers(1, 4),
       c=st.integers(1, 20), o=st.integers(1, 20), excess=st.tuples(st.integers(0, 12), st.integers(0, 12)))
def test_winograd_of_any_shape(kernel_size, padding, n, c, o, excess):
    size = tuple(max(1, kernel_size - 2 * p) + e for p, e in zip(padding, excess, strict=True))
    case = Case(ConvGeometry(padding=padding), np.float32, n, c, o, size, (kernel_size, kernel_size))
    case.check(winograd)


@pytest.mark.parametrize("points, m, r", [((0, 1, -1), 2, 3), (winograd_tiles.POINTS, 4, 3), (winograd_tiles.POINTS, 2, 5)])
def test_minimal_filtering_in_exact_fractions(points, m, r):
    """Transposed, the same matrices give the gradients."""
    a, g, b = (np.array(matrix, object) for matrix in winograd_tiles.cook_toom(m, r, points))
    random = np.random.default_rng(0)
    d, w, gy = (random.integers(-9, 9, (size, size)).astype(object) for size in (m + r - 1, r, m))
    products = (g @ w @ g.T) * (b.T @ d @ b)
    rows = range(m)
    want = [[(d[i : i + r, j : j + r] * w).sum() for j in rows] for i in rows]
    assert (a.T @ products @ a == np.array(want, object)).all()
    want = [[(d[i : i + m, j : j + m] * gy).sum() for j in range(r)] for i in range(r)]
    assert (g.T @ ((a @ gy @ a.T) * (b.T @ d @ b)) @ g == np.array(want, object)).all()


@pytest.mark.parametrize("kernel_size", [3, 5])
def test_winograd_is_accurate(kernel_size):
    """At 512 channels: 3e-5 of the largest output is the bar, F(4, 3) with other points gave 2e-5; these give 5e-6."""
    case = Case(ConvGeometry(padding=(1, 1)), np.float32, n=2, c=512, o=24, size=(14, 12), kernel_size=(kernel_size, kernel_size))
    exact = [array.astype(np.float64) for array in (case.x, case.w, case.b, case.gy)]
    x, w, b, gy = exact
    wants = (conv_direct.conv2d(x, w, b, case.geometry), conv_direct.conv2d_input_grad(gy, w, x.shape, case.geometry),
             conv_direct.conv2d_weight_grad(gy, x, w.shape, case.geometry))
    for got, want in zip(case.computed(winograd), wants, strict=True):
        assert abs(got - want).max() <= 1e-5 * abs(want).max()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e20])
@pytest.mark.parametrize("size", [(9, 8), (40, 70)])
def test_winograd_leaves_what_it_would_spoil(bad, size):
    """Next to an outlier, values of ordinary size keep their digits; NaN reaches what it must and nothing else."""
    case = Case(ConvGeometry(padding=(1, 1)), np.float32, c=8, o=9, size=size, kernel_size=(3, 3))
    case.x[1, 2, 4, 5] = bad
    assert winograd.conv2d(case.x, case.w, case.b, case.geometry) is None
    assert winograd.conv2d_weight_grad(case.gy, case.x, case.w.shape, case.geometry) is None
    gradient = np.pad(case.x, ((0, 0), (0, 1), (0, 0), (0, 0)))
    assert winograd.conv2d_weight_grad(gradient, case.gy, (9, 9, 3, 3), case.geometry) is None
    chosen = explain(cpu.conv2d, case.x, case.w, case.b, case.geometry)
    assert "outlier" in chosen[-1].reason
    far = np.ones(case.gy.shape[2:], bool)
    far[3:6, 4:7] = False
    with np.errstate(invalid="ignore"):
        got, want = cpu.conv2d(case.x, case.w, case.b, case.geometry), case.expected()[0]
    np.testing.assert_allclose(got[0], want[0], atol=1e-4)
    np.testing.assert_allclose(got[1][:, far], want[1][:, far], atol=1e-4)
    assert not (np.isfinite(got[1][:, ~far]) & (abs(got[1][:, ~far]) < 1e3)).any()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e7])
def test_winograd_leaves_weights_that_would_spoil_others(bad):
    """The tap above meets only padding in the first row, which must keep its digits."""
    case = Case(ConvGeometry(padding=(1, 1)), np.float32, c=9, o=8, size=(8, 11), kernel_size=(3, 3))
    case.x = abs(case.x)
    case.w[:, :, 0, 0] = bad
    assert winograd.conv2d(case.x, case.w, case.b, case.geometry) is None
    gy = case.gy[:, :8]
    assert winograd.conv2d_input_grad(gy, case.w, case.x.shape, case.geometry) is None
    if np.isfinite(bad):
        y = cpu.conv2d(case.x, case.w, case.b, case.geometry)
        np.testing.assert_allclose(y[:, :, 0], case.expected()[0][:, :, 0], atol=1e-4)


@pytest.mark.parametrize("size", [1, 7, 256, 1000])
@pytest.mark.parametrize("spared", [1 / 128, 1 / 4])
def test_the_usual_magnitude_spares_the_largest(size, spared):
    numbers = np.random.default_rng(0).standard_normal(size).astype(np.float32)
    sample = np.sort(abs(numbers[:: -math.ceil(size / 256)]))  # at most 256, counted from the end
    kept = sample[: len(sample) - int(len(sample) * spared)]
    assert winograd_tiles.usual(numbers, 256, spared) == pytest.approx(kept.mean(), rel=1e-5)


def test_the_verdict_does_not_depend_on_the_number_of_threads():
    case = Case(ConvGeometry(padding=(1, 1)), np.float32, n=1, c=16, o=16, size=(64, 64), kernel_size=(3, 3))
    before, found = threads.get_num_threads(), set()
    for size in (3e3, 6e3, 1e4, 3e4):
        case.x[0, 0, 3, 3] = size
        verdicts = set()
        for count in (1, 2, 5):
            threads.set_num_threads(count)
            verdicts.add(winograd.conv2d(case.x, case.w, case.b, case.geometry) is None)
        threads.set_num_threads(before)
        assert len(verdicts) == 1
        found |= verdicts
    assert found == {True, False}


def test_bias_and_relu_in_the_last_pass():
    for module, kernel_size, c in ((portable, (3, 2), 3), (conv_direct, (3, 2), 3), (conv_pointwise, (1, 1), 3),
                                   (winograd, (3, 3), 9), (cpu, (3, 3), 9)):
        case = Case(ConvGeometry(), np.float32, c=c, kernel_size=kernel_size)
        case.x[0, 0, 0, 0] = 0 if module is winograd else np.nan
        plain = module.conv2d(case.x, case.w, case.b, case.geometry)
        y = module.conv2d(case.x, case.w, case.b, case.geometry, True)
        np.testing.assert_array_equal(y, np.where(plain <= 0, 0, plain))
        assert (y == 0).any() and (y > 0).any()


def test_any_algorithm_by_force():
    case = Case(ConvGeometry(padding=(1, 1)), np.float32, kernel_size=(3, 3))
    for algorithm in ("direct", "winograd"):
        with use_algorithm(algorithm):
            assert algorithm in explain(cpu.conv2d, case.x, case.w, case.b, case.geometry)[-1].reason
            case.check(cpu)
    with pytest.raises(ValueError, match="depthwise, direct, pointwise, winograd"):
        use_algorithm("fft")


def test_float16_is_computed_in_float32():
    case = Case(ConvGeometry((1, 2), (1, 0)), np.float16)
    case.check(portable)
    assert kernel("conv2d", case.x) is portable.conv2d
    ones = np.ones((1, 4096, 1, 1), np.float16)  # in float16 a sum of ones stops at 2048
    assert portable.conv2d(ones, ones, None, ConvGeometry()) == 4096


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.__name__)
def test_no_bias(module):
    case = Case(ConvGeometry())
    y = module.conv2d(case.x, case.w, None, case.geometry)
    np.testing.assert_allclose(y, case.expected()[0] - case.b[:, None, None], atol=1e-13)


@pytest.mark.parametrize("module", [portable, cpu, pytest.param(cuda, marks=cuda_runs)], ids=lambda module: module.__name__)
@pytest.mark.parametrize("stride", [1, 2])
def test_any_memory_layout(stride, module):
    """Transposed, reversed, read-only, misaligned and broadcast arrays give what their contiguous copies give."""
    case = Case(ConvGeometry((stride, 1), (1, 1)), np.float32)
    want = case.computed(cpu)

    def misaligned(array):
        buffer = bytearray(array.nbytes + 1)
        view = np.frombuffer(buffer, np.uint8)[1:].view(array.dtype).reshape(array.shape)
        view[...] = array
        return view

    def read_only(array):
        copy = array.copy()
        copy.flags.writeable = False
        return copy

    for layout in (np.asfortranarray, lambda a: a[..., ::-1].copy()[..., ::-1], misaligned, read_only):
        case.x, case.w, case.gy = layout(case.x), layout(case.w), layout(case.gy)
        for got, expected in zip(case.computed(module), want, strict=True):
            np.testing.assert_allclose(got, expected, atol=1e-5)
    spread = np.broadcast_to(np.float32(1.5), case.gy.shape)
    got = module.conv2d_weight_grad(spread, case.x, case.w.shape, case.geometry)
    np.testing.assert_allclose(got, naive(case.x, case.w, spread, case.geometry)[2], atol=1e-4)


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.__name__)
def test_inputs_are_left_alone_and_results_own_their_memory(module):
    case = Case(ConvGeometry(padding=(1, 0)))
    before = [array.copy() for array in (case.x, case.w, case.b, case.gy)]
    results = case.computed(module)
    for array, copy in zip((case.x, case.w, case.b, case.gy), before, strict=True):
        np.testing.assert_array_equal(array, copy)
        assert not any(np.shares_memory(array, result) for result in results)


@pytest.mark.parametrize("module", [conv_direct, conv_pointwise], ids=lambda module: module.__name__)
def test_results_are_not_views(module):
    """A gradient that is a view would be copied once more when it becomes ``.grad``."""
    assert all(result.base is None for result in Case(ConvGeometry((2, 1)), kernel_size=(1, 1)).computed(module))


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.__name__)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_propagate(module, bad):
    """They reach at least what the definition says, and nothing of another image, output or group."""
    for place in ("x", "w", "gy"):
        case = Case(ConvGeometry(padding=(1, 0), groups=2), n=3, c=4, o=6)
        array = getattr(case, place)
        array[(1, 1, 0, 0) if place != "w" else (1, 1, 2, 0)] = bad
        got = case.computed(module)
        with np.errstate(invalid="ignore"):
            want = case.expected()
        for result, expected in zip(got, want, strict=True):
            assert not np.isfinite(result[~np.isfinite(expected)]).any()
        y, gx, gw = (np.isfinite(result) for result in got)
        if place == "x":
            assert y[[0, 2]].all() and y[1, 3:].all() and gx.all() and gw[3:].all() and gw[:, [0]].all()
        if place == "w":
            assert y[:, [0, 2, 3, 4, 5]].all() and gx[:, [0, 2, 3]].all() and gw.all()
        if place == "gy":
            assert y.all() and gx[[0, 2]].all() and gx[1, 2:].all() and gw[[0, 2, 3, 4, 5]].all()


def test_nan_does_not_reach_another_group():
    """Buffers are used again: a NaN in the last group must not stay where the first group of a smaller, last tile finds it."""
    case = Case(ConvGeometry(padding=(1, 1), groups=2), n=67, c=2, o=2, size=(4, 3), kernel_size=(3, 3))
    case.x[:, 1] = np.nan
    y, _, gw = case.computed(conv_direct)
    assert np.isfinite(y[:, 0]).all() and np.isnan(y[:, 1]).all()
    assert np.isfinite(gw[0]).all() and np.isnan(gw[1]).all()


@pytest.mark.parametrize("module", ROOMS, ids=lambda module: module.__name__)
def test_unused_border_gets_no_gradient(module):
    """Width 8, window 3, stride 2: no window sees the last column."""
    gx = module.conv2d_input_grad(np.ones((1, 1, 2, 3)), np.ones((1, 1, 2, 3)), (1, 1, 3, 8), ConvGeometry((1, 2)))
    np.testing.assert_array_equal(gx[0, 0], [[1, 1, 2, 1, 2, 1, 1, 0], [2, 2, 4, 2, 4, 2, 2, 0], [1, 1, 2, 1, 2, 1, 1, 0]])


def test_sums_over_a_large_batch_are_accurate():
    """Weight gradients over 2**22 terms, of mean 1/2 so that rounding does not cancel."""
    random = np.random.default_rng(0)
    for size, stride in (((256, 256), 1), ((512, 512), 2)):
        x = random.random((64, 1, *size), np.float32)
        geometry = ConvGeometry((stride, stride))
        gy = np.ones((64, 1, *windows(size, (1, 1), geometry)), np.float32)
        got = cpu.conv2d_weight_grad(gy, x, (1, 1, 1, 1), geometry).item()
        want = x[:, :, ::stride, ::stride].sum(dtype=np.float64)
        assert abs(got - want) <= 1e-6 * want


def test_number_of_threads_changes_no_bit():
    sizes = dict(n=33, c=25, o=17, size=(13, 11))
    planes = Case(ConvGeometry(groups=37), np.float32, n=3, c=37, o=37, size=(13, 7), kernel_size=(3, 3))
    cases = (planes, conv_depthwise), \
            (Case(ConvGeometry(padding=(2, 2)), np.float32, **sizes, kernel_size=(5, 4)), conv_direct), \
            (Case(ConvGeometry(), np.float32, **sizes, kernel_size=(1, 1)), conv_pointwise), \
            (Case(ConvGeometry(padding=(1, 1)), np.float32, **sizes, kernel_size=(3, 3)), winograd)
    before = threads.get_num_threads()
    for case, module in cases:
        results = []
        try:
            for count in (1, 2, 3):
                threads.set_num_threads(count)
                results.append(case.computed(module))
        finally:
            threads.set_num_threads(before)
        for other in results[1:]:
            for got, want in zip(other, results[0], strict=True):
                np.testing.assert_array_equal(got, want)


def test_explain_tells_the_algorithm():
    def run(geometry, kernel_size=(3, 2)):
        case = Case(geometry, np.float32, kernel_size=kernel_size)
        kernel("conv2d", case.x)(case.x, case.w, case.b, geometry)

    assert "direct" in str(explain(run, ConvGeometry())[-1])
    assert "pointwise" in str(explain(run, ConvGeometry(), (1, 1))[-1])
    with use_backend("portable"):
        chosen = explain(run, ConvGeometry())
    assert [(c.kernel, c.backend) for c in chosen] == [("conv2d", "portable"), ("im2col", "portable")]
    assert chosen[1].array.ndim == 3 and "array" not in str(chosen[1])


# im2col and its adjoint

by_room = pytest.mark.parametrize("module", [portable_im2col, cpu_im2col, pytest.param(cuda_im2col, marks=cuda_runs)],
                                  ids=lambda module: module.__name__)


def naive_im2col(x, kernel_size, geometry):
    (sh, sw), (ph, pw), (dh, dw), _ = geometry
    (n, c, h, w), (kh, kw) = x.shape, kernel_size
    oh, ow = windows((h, w), kernel_size, geometry)
    cols = np.zeros((n, c * kh * kw, oh * ow), x.dtype)
    for image, channel, a, k, i, j in itertools.product(*map(range, (n, c, kh, kw, oh, ow))):
        row, column = i * sh + a * dh - ph, j * sw + k * dw - pw
        if 0 <= row < h and 0 <= column < w:
            cols[image, (channel * kh + a) * kw + k, i * ow + j] = x[image, channel, row, column]
    return cols


@by_room
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("geometry", GEOMETRIES[:36], ids=str)
def test_im2col_and_its_adjoint(module, geometry, dtype):
    random = np.random.default_rng(1)
    x = random.integers(-9, 9, (2, 3, 9, 8)).astype(dtype)  # integers: sums are exact
    want = naive_im2col(x, (3, 2), geometry)
    cols = module.im2col(x, want.shape, (3, 2), geometry)
    assert cols.dtype == dtype
    np.testing.assert_array_equal(cols, want)
    other = random.integers(-9, 9, want.shape).astype(dtype)
    back = module.col2im(other, x.shape, (3, 2), geometry)
    assert back.dtype == dtype and back.shape == x.shape
    assert (want * other).sum() == (x * back).sum()


@by_room
def test_im2col_of_nothing_and_of_nan(module):
    assert module.im2col(np.zeros((0, 3, 4, 5)), (0, 12, 12), (2, 2), ConvGeometry()).shape == (0, 12, 12)
    assert module.col2im(np.zeros((0, 12, 12)), (0, 3, 4, 5), (2, 2), ConvGeometry()).shape == (0, 3, 4, 5)
    x = np.full((1, 1, 1, 2), np.nan)
    cols = module.im2col(x, (1, 2, 3), (1, 2), ConvGeometry(padding=(0, 1)))
    np.testing.assert_array_equal(cols, [[[0, np.nan, np.nan], [np.nan, np.nan, 0]]])
    np.testing.assert_array_equal(module.col2im(cols, x.shape, (1, 2), ConvGeometry(padding=(0, 1))), x)
