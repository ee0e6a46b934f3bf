"""Convolution on tensor cores, as an implicit product of matrices: see conv_tensor.cu.

Numbers are rounded as the tensor cores take them (float32 to tf32, whose unit roundoff is 2^-11 like float16's; bfloat16 has
2^-8), multiplied exactly, and summed in float32. float32 arrays are for callers who allow that rounding.
"""

import math
from typing import NamedTuple

import numpy as np

from minidl import kernels
from minidl.kernels import namespace
from minidl.kernels.constants import derived
from minidl.kernels.cuda.channels_last import CHUNK, chunks_of, images_last, rows_last, weights_last
from minidl.kernels.cuda.launch import THREADS, launch, source, structs
from minidl.kernels.shapes import windows

CORRELATION = structs(source("conv_tensor").read_text())["Correlation"]
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


def takes(array) -> str | None:
    """What products of numbers like these run on: the tensor cores of their GPU, or None if it has none for the dtype, or float32
    may not be rounded. The host plays all.

    >>> takes(np.ones(1, np.float16)), takes(np.ones(1))
    ('tensor cores, float16', None)
    """
    dtype = array.dtype
    if dtype.name not in SINCE or (dtype == np.float32 and kernels.float32_matmul_precision() == "highest"):
        return None
    if not isinstance(array, np.ndarray) and int(array.device.compute_capability) < SINCE[dtype.name]:
        return None
    return f"tensor cores, {'tf32' if dtype == np.float32 else dtype}"


def suits(x, w_shape, geometry) -> str | None:
    """Why a convolution should run here, or None. Groups of few channels would leave most of a tile empty."""
    if geometry.groups > 1 and min(w_shape[0] // geometry.groups, w_shape[1]) < FEW:
        return None
    return takes(x)


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    out_size = windows(x.shape[2:], w.shape[2:], geometry)
    y = namespace(x).empty((x.shape[0], w.shape[0], *out_size), x.dtype)
    grouped = w.reshape(geometry.groups, w.shape[0] // geometry.groups, *w.shape[1:])
    weights = derived(w, "channels last", lambda: weights_last(grouped.transpose(0, 1, 3, 4, 2)))
    _launch(images_last(x, geometry.groups), weights, b, y, relu, _forward(x, w.shape, geometry))
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel, a convolution of gy for each phase of the stride.

    Pixel h is read by tap a of window i where h + padding = stride i + dilation a. So the pixels with one remainder of
    h + padding by the stride see every (stride / gcd(stride, dilation))-th tap only; among them, a step to the next tap is a step
    back to an earlier window.
    """
    gx = namespace(gy).empty(x_shape, gy.dtype)
    groups, (_, channels, height, width) = geometry.groups, x_shape
    w = w.reshape(groups, w.shape[0] // groups, *w.shape[1:]).swapaxes(1, 2)
    along = zip(x_shape[2:], w.shape[3:], geometry.stride, geometry.padding, geometry.dilation, strict=True)
    rows, columns = ([_phase(pixel, *axis) for pixel in range(min(axis[2], axis[0]))] for axis in along)
    images, chunks = images_last(gy, groups), chunks_of(w.shape[2], gy.dtype)
    for h, row in enumerate(rows):
        for v, column in enumerate(columns):
            part = w[..., row.taps, column.taps]
            if not part.size:
                gx[:, :, h :: geometry.stride[0], v :: geometry.stride[1]] = 0
                continue
            correlation = Correlation(
                groups, channels // groups, part.shape[2], gy.shape[2:], x_shape[0], (row.pixels, column.pixels), part.shape[3:],
                (1, 1), (row.first, column.first), (row.step, column.step), chunks,
                places=(height * width, h * width + v, geometry.stride[0] * width, geometry.stride[1]))
            _launch(images, weights_last(part.transpose(0, 1, 3, 4, 2)), None, gx, False, correlation)
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    gw = namespace(x).empty(w_shape, x.dtype)
    _launch_weights(images_last(gy, geometry.groups), images_last(x, geometry.groups), gw, _forward(x, w_shape, geometry))
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
        _launch(rows_last(y.swapaxes(1, 2)), rows_last(x), None, z, False, row)
    else:
        row = row._replace(channels=n, size=(1, k), out_size=(1, k), chunks=chunks_of(n, x.dtype))
        _launch_weights(rows_last(x.swapaxes(1, 2)), rows_last(y), z, row)
    return z


class Phase(NamedTuple):
    """Along one axis: every ``stride``-th pixel, and the taps that they see."""

    pixels: int
    taps: slice
    first: int  # the window that reads the first pixel with the first tap
    step: int  # from there to the window that reads it with the next one


def _phase(pixel: int, size: int, kernel: int, stride: int, padding: int, dilation: int) -> Phase:
    """Pixels ``pixel``, ``pixel`` + stride, ... of an axis."""
    apart = stride // math.gcd(stride, dilation)
    tap = next((a for a in range(min(apart, kernel)) if (pixel + padding - a * dilation) % stride == 0), kernel)
    return Phase(-(-(size - pixel) // stride), slice(tap, None, apart), (pixel + padding - tap * dilation) // stride,
                 -apart * dilation // stride)


def _forward(x, w_shape, geometry) -> Correlation:
    size, window, (oh, ow) = x.shape[2:], w_shape[2:], windows(x.shape[2:], w_shape[2:], geometry)
    first = -geometry.padding[0], -geometry.padding[1]
    return Correlation(geometry.groups, w_shape[0] // geometry.groups, w_shape[1], size, x.shape[0], (oh, ow), window,
                       geometry.stride, first, geometry.dilation, chunks_of(w_shape[1], x.dtype), places=(oh * ow, 0, ow, 1))


def _launch(images, weights, bias, y, relu, correlation):
    """``images`` and ``weights`` with their channels last."""
    shape, depth = (correlation.rows, correlation.pixels), math.prod(correlation.window) * correlation.chunks
    tile = _tile(*shape, correlation.groups)
    whole = bias is not None or relu or y.size != shape[0] * shape[1] * correlation.groups  # a part of y
    _launch_in_parts(f"correlate_{tile.name}", tile.count(*shape) * correlation.groups, -(-depth // CHUNKS), whole,
                     (images, weights, bias), y, (relu,), correlation)


def _launch_weights(gy, x, gw, correlation):
    """``gy`` and ``x`` with their channels last."""
    shape = correlation.rows, math.prod(correlation.window) * correlation.chunks * CHUNK // x.itemsize
    tile = next((tile for tile in TILES if tile.fits(*shape)), TILES[-1])
    steps = -(-correlation.pixels // _depth(x.dtype))
    _launch_in_parts(f"weights_{tile.name}", tile.count(*shape) * correlation.groups, steps, False, (gy, x), gw, (), correlation)


def _launch_in_parts(name, tiles, steps, whole, inputs, out, options, correlation):
    """Run a kernel of conv_tensor.cu, on its sums in parts unless they must stay ``whole``, and add these up."""
    length = steps if whole else _length(steps, tiles, _depth(out.dtype))
    parts = max(1, -(-steps // length)) if length else 1
    sums = namespace(out).empty((parts, *out.shape), np.float32) if parts > 1 else None
    launch(f"conv_tensor.{name}", tiles * parts, *inputs, out, *options, sums, length, correlation.struct(), dtype=out.dtype,
           per_item=THREADS)
    if sums is not None:
        launch("parts.sum_parts", out.size, sums, parts, out, dtype=out.dtype)


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
