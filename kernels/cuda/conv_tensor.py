"""Convolution on tensor cores, as an implicit product of matrices: see conv_tensor.cu.

Numbers are rounded as the tensor cores take them (float32 to tf32, whose unit roundoff is 2^-11 like float16's; bfloat16 has
2^-8), multiplied exactly, and summed in float32. float32 arrays are for callers who allow that rounding.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from minidl import kernels
from minidl.kernels import namespace
from minidl.kernels.constants import derived
from minidl.kernels.cuda.channels_last import CHUNK, address, chunks_of, images_last, rows_last, weights_last
from minidl.kernels.cuda.launch import THREADS, launch, source, structs
from minidl.kernels.shapes import windows

CORRELATION = structs(source("conv_tensor").with_name("correlation.cuh").read_text(encoding="utf-8"))["Correlation"]
ENOUGH = 256  # blocks to keep a GPU busy: two on each of some 130 multiprocessors
CHUNKS = 4  # in a step of a sum
FEW = 4  # channels of a group for which the direct kernels are faster
SINCE = {"float16": 75, "float32": 80, "bfloat16": 80}  # compute capability
LONG = 8  # steps of a sum that are worth a block of their own
LONGEST = 8192  # products of a sum: longer ones in float32 lose digits


class Tile(NamedTuple):
    """What a block computes of the product, and the word in the names of its kernels."""

    rows: int
    columns: int

    @property
    def name(self) -> str:
        return f"{self.rows}x{self.columns}"

    def count(self, rows: int, columns: int) -> int:
        """How many cover a product of this size."""
        return -(-rows // self.rows) * -(-columns // self.columns)

    def fits(self, rows: int, columns: int) -> bool:
        """Whether more than half of it is needed, along both."""
        return rows > self.rows // 2 and columns > self.columns // 2


TILES = Tile(128, 128), Tile(64, 128), Tile(64, 64)


class Correlation(NamedTuple):
    """conv_tensor.cu's struct: windows of taps walk over images of ``channels`` and give images of ``rows`` channels."""

    groups: int
    rows: int  # channels of a group of the output
    channels: int  # and of the input
    size: tuple[int, int]  # of the input
    images: int
    out_size: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    first: tuple[int, int]  # the row and column in the input of the first tap of output (0, 0)
    step: tuple[int, int]  # from tap to tap
    chunks: int  # of the input's channels, when they come last
    places: tuple[int, int, int, int] = (0, 0, 0, 0)  # in the output: plane, first pixel, from row to row, from pixel to pixel

    @property
    def pixels(self) -> int:
        return self.images * math.prod(self.out_size)

    def struct(self):
        numbers = [number for field in self for number in (field if isinstance(field, tuple) else (field,))]
        return np.array(tuple(numbers), CORRELATION)[()]


class Plan(NamedTuple):
    """How a kernel is launched, which follows from sizes: its name, the blocks, and the sums' ``parts`` of so many steps each."""

    kernel: str
    blocks: int
    parts: int
    length: int
    correlation: np.void


def takes(array) -> str | None:
    """What products of numbers like these run on: the tensor cores of their GPU, or None if it has none for the dtype, or float32
    may not be rounded. The host plays all.

    >>> takes(np.ones(1, np.float16)), takes(np.ones(1))
    ('tensor cores, float16', None)
    """
    capability = None if isinstance(array, np.ndarray) else array.device.compute_capability
    return _takes(array.dtype, capability, kernels.float32_matmul_precision() == "highest")


@functools.cache
def _takes(dtype, capability, exact) -> str | None:
    if dtype.name not in SINCE or dtype == np.float32 and exact:
        return None
    if capability is not None and int(capability) < SINCE[dtype.name]:
        return None
    return f"tensor cores, {'tf32' if dtype == np.float32 else dtype}"


def suits(w_shape, geometry) -> bool:
    """Whether convolutions of this kind are faster here. Groups of few channels would leave most of a tile empty."""
    return geometry.groups == 1 or min(w_shape[0] // geometry.groups, w_shape[1]) >= FEW


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    correlation = _forward(x.shape, w.shape, geometry, x.dtype)
    y = namespace(x).empty((x.shape[0], w.shape[0], *correlation.out_size), x.dtype)
    weights = derived(w, "channels last", lambda: weights_last(_grouped(w, geometry.groups).transpose(0, 1, 3, 4, 2)))
    _launch(*_readable(x, w.shape, geometry), weights, b, y, relu, correlation)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel, a convolution of gy for each phase of the stride."""
    gx, images = namespace(gy).empty(x_shape, gy.dtype), _readable(gy, w.shape, geometry)
    window, w = w.shape[2:], _grouped(w, geometry.groups).transpose(0, 2, 3, 4, 1)
    for pixels, taps, correlation in _phases(x_shape, gy.shape, w.shape, geometry, gy.dtype):
        if correlation is None:
            gx[pixels] = 0
        else:
            part = w if correlation.window == window else w[taps]  # a view takes CuPy some 5 us
            _launch(*images, weights_last(part), None, gx, False, correlation)
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    gw = namespace(x).empty(w_shape, x.dtype)
    correlation = _forward(x.shape, w_shape, geometry, x.dtype)
    planes = _in_planes(gy, w_shape, geometry) and _in_planes(x, w_shape, geometry)
    if not planes:
        gy, x = images_last(gy, geometry.groups), images_last(x, geometry.groups)
    _launch_weights(gy, x, planes, gw, correlation)
    return gw


def matmul(x, y):
    """x (..., M, K) y (..., K, N) -> (..., M, N), batches broadcast, with a group of channels for each matrix of the batch.

    If y is a transposed array, as a linear layer's weights are, its columns are pixels of an image of one row, with K channels.
    Otherwise the K are the pixels, and the product is the gradient in weights. So y is read as it lies in memory.
    """
    batch, (m, k), n = np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), x.shape[-2:], y.shape[-1]
    groups = math.prod(batch)
    x, y = (namespace(x).broadcast_to(array, (*batch, *array.shape[-2:])).reshape(groups, *array.shape[-2:]) for array in (x, y))
    z = namespace(x).empty((*batch, m, n), x.dtype)
    row = Correlation(groups, m, k, (1, n), 1, (1, n), (1, 1), (1, 1), (0, 0), (1, 1), chunks_of(k, x.dtype), (n, 0, n, 1))
    if y.swapaxes(1, 2).flags.c_contiguous:
        _launch(rows_last(y.swapaxes(1, 2)), False, rows_last(x), None, z, False, row)
    else:
        row = row._replace(channels=n, size=(1, k), out_size=(1, k), chunks=chunks_of(n, x.dtype))
        _launch_weights(rows_last(x.swapaxes(1, 2)), rows_last(y), False, z, row)
    return z


def _in_planes(array, w_shape, geometry) -> bool:
    """Whether images are read as they lie: see planes.cuh. Floats have to be rounded."""
    plane, pointwise = math.prod(array.shape[2:]), (w_shape[2:], geometry.stride, geometry.padding) == ((1, 1), (1, 1), (0, 0))
    return pointwise and array.itemsize == 2 and plane * 2 % CHUNK == 0 and address(array) % CHUNK == 0


def _readable(array, w_shape, geometry):
    """Images as the kernels read them, and whether that is in planes."""
    planes = _in_planes(array, w_shape, geometry)
    return array if planes else images_last(array, geometry.groups), planes


def _grouped(w, groups):
    """w (O, C, KH, KW) -> (groups, O of a group, C, KH, KW)."""
    return w.reshape(groups, w.shape[0] // groups, *w.shape[1:])


@functools.lru_cache(4096)
def _forward(x_shape, w_shape, geometry, dtype) -> Correlation:
    out_size = oh, ow = windows(x_shape[2:], w_shape[2:], geometry)
    first = -geometry.padding[0], -geometry.padding[1]
    return Correlation(geometry.groups, w_shape[0] // geometry.groups, w_shape[1], x_shape[2:], x_shape[0], out_size, w_shape[2:],
                       geometry.stride, first, geometry.dilation, chunks_of(w_shape[1], dtype), places=(oh * ow, 0, ow, 1))


@functools.lru_cache(4096)
def _phases(x_shape, gy_shape, w_shape, geometry, dtype) -> list:
    """Of the gradient in x: where to find the pixels of each phase in gx and their taps in w (groups, C, KH, KW, O of a group),
    and what gives them, or None if no tap sees them.

    Pixel h is read by tap a of window i where h + padding = stride i + dilation a. So the pixels with one remainder of
    h + padding by the stride see every (stride / gcd(stride, dilation))-th tap only; among them, a step to the next tap is a step
    back to an earlier window.
    """
    groups, channels, *window, inner = w_shape
    (images, _, height, width), (sh, sw), phases = x_shape, geometry.stride, []
    along = zip(x_shape[2:], window, geometry.stride, geometry.padding, geometry.dilation, strict=True)
    rows, columns = ([_phase(pixel, *axis) for pixel in range(min(axis[2], axis[0]))] for axis in along)
    for (h, row), (v, column) in itertools.product(enumerate(rows), enumerate(columns)):
        correlation = None if not channels * inner * row.count * column.count else Correlation(
            groups, channels, inner, gy_shape[2:], images, (row.pixels, column.pixels), (row.count, column.count), (1, 1),
            (row.first, column.first), (row.step, column.step), chunks_of(inner, dtype),
            places=(height * width, h * width + v, sh * width, sw))
        pixels, taps = (..., slice(h, None, sh), slice(v, None, sw)), (..., row.taps, column.taps, slice(None))
        phases.append((pixels, taps, correlation))
    return phases


class Phase(NamedTuple):
    """Along one axis: every ``stride``-th pixel, and the taps that they see, ``count`` of them."""

    pixels: int
    taps: slice
    count: int
    first: int  # the window that reads the first pixel with the first tap
    step: int  # from there to the window that reads it with the next one


def _phase(pixel: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> Phase:
    """Pixels ``pixel``, ``pixel`` + stride, ... of an axis."""
    apart = stride // math.gcd(stride, dilation)
    tap = next((a for a in range(min(apart, kernel)) if (pixel + padding - a * dilation) % stride == 0), kernel)
    taps = slice(tap, None, apart)
    return Phase(-(-(size - pixel) // stride), taps, len(range(kernel)[taps]), (pixel + padding - tap * dilation) // stride,
                 -apart * dilation // stride)


def _launch(images, planes, weights, bias, y, relu, correlation):
    """``weights`` and, unless they are read in ``planes``, ``images`` with their channels last."""
    plan = _plan(correlation, y.dtype, y.size, bias is not None or relu, planes)
    _launch_in_parts(plan, (images, weights, bias), y, (relu,))


def _launch_weights(gy, x, planes, gw, correlation):
    """Unless they are read in ``planes``, ``gy`` and ``x`` with their channels last."""
    _launch_in_parts(_weights_plan(correlation, gw.dtype, planes), (gy, x), gw)


def _launch_in_parts(plan, inputs, out, options=()):
    """Run a kernel of conv_tensor.cu, on its sums in parts where there are several, and add these up."""
    sums = namespace(out).empty((plan.parts, *out.shape), np.float32) if plan.parts > 1 else None
    launch(plan.kernel, plan.blocks, *inputs, out, *options, sums, plan.length, plan.correlation, dtype=out.dtype,
           per_item=THREADS)
    if sums is not None:
        launch("parts.sum_parts", out.size, sums, plan.parts, out, dtype=out.dtype)


@functools.lru_cache(4096)
def _plan(correlation, dtype, size, ended, planes) -> Plan:
    """For an output of ``size`` numbers. Sums stay whole if they are of a part of it, or ``ended`` by a bias or a ReLU."""
    shape, steps = (correlation.rows, correlation.pixels), -(-math.prod(correlation.window) * correlation.chunks // CHUNKS)
    tile = _tile(*shape, correlation.groups)
    tiles = tile.count(*shape) * correlation.groups
    whole = ended or size != math.prod(shape) * correlation.groups
    length = steps if whole else _length(steps, tiles, _depth(dtype))
    return _cut(f"correlate_{'planes_' * planes}{tile.name}", tiles, steps, length, correlation)


@functools.lru_cache(4096)
def _weights_plan(correlation, dtype, planes) -> Plan:
    shape = correlation.rows, math.prod(correlation.window) * correlation.chunks * CHUNK // dtype.itemsize
    tile = next((tile for tile in TILES if tile.fits(*shape)), TILES[-1])
    tiles, steps = tile.count(*shape) * correlation.groups, -(-correlation.pixels // _depth(dtype))
    return _cut(f"weights_{'planes_' * planes}{tile.name}", tiles, steps, _length(steps, tiles, _depth(dtype)), correlation)


def _cut(name, tiles, steps, length, correlation) -> Plan:
    parts = max(1, -(-steps // length)) if length else 1
    return Plan(f"conv_tensor.{name}", tiles * parts, parts, length, correlation.struct())


def _tile(rows: int, columns: int, groups: int) -> Tile:
    """The largest that is not half empty and leaves no multiprocessor without a block."""
    fitting = (tile for tile in TILES if tile.fits(rows, columns) and tile.count(rows, columns) * groups >= ENOUGH // 2)
    return next(fitting, TILES[-1])


def _length(steps: int, tiles: int, depth: int) -> int:
    """Of how many ``steps`` of ``depth`` products a part of a sum has, so that there are enough blocks."""
    parts = max(1, ENOUGH // max(1, tiles))
    return min(max(-(-steps // parts), LONG), LONGEST // depth)


def _depth(dtype) -> int:
    """Products of a sum in one step: tile.cuh's DEPTH."""
    return CHUNKS * CHUNK // dtype.itemsize
