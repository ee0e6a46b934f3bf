"""Convolution without a column matrix: a sum of shifted images.

Laid out in memory with its padding, an image is one long row of pixels, and what position (a, k) of the window reads is that
same row, shifted by ``a * width + k``:

    y[o, p] = sum over taps t of w[o, t] * source[shift[t] + p]         t = (c, a, k), p = i * width + j

This is the product of the weights with the matrix that im2col would make, whose rows are never written down: they are read out
of the image, each at its shift (``conv_tiles``). Dilation only changes the shifts. A stride of s splits the image into s x s
phases, each of every s-th pixel; a tap reads one phase, again as a shifted row. Work is cut into tiles of at most a thousand
places that stay in the cache: some rows of a large image, or several small images side by side.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from minidl.kernels.constants import derived
from minidl.kernels.cpu.conv_tiles import TILE, correlate_tiles, pack_weights, weight_grad_tiles
from minidl.kernels.cpu.gemm import steps
from minidl.kernels.cpu.instructions import BYTES
from minidl.kernels.cpu.threads import split
from minidl.kernels.cpu.vector import ROWS, VECTORS
from minidl.kernels.shapes import windows

SOURCE = 800_000  # bytes of a tile's pixels, which then stay in the second-level cache
PARTS, PARTS_BYTES = 16, 32 << 20  # a weight gradient is summed in at most so many parts, whatever the number of threads


class Layout(NamedTuple):
    """A tile is ``rows`` x ``columns`` outputs of each of several ``images``. For each channel and phase, what they read lies in
    memory as a plane: ``height`` rows, each made of ``width`` pixels of every image, and then zeros to fill the last vector.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    phases: tuple[int, int]
    images: int
    rows: int
    columns: int
    height: int
    width: int
    plane: int


class Weights(NamedTuple):
    """Where each weight lies in a flat array: see ``pack_weights``."""

    flat: np.ndarray
    along_group: int
    along_output: int
    along_channel: int
    places: np.ndarray
    outputs: int
    channels: int


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    size = windows(x.shape[2:], w.shape[2:], geometry)
    y = np.empty((len(x), len(w), *size), x.dtype)
    outputs, channels, taps = len(w) // geometry.groups, w.shape[1], w.shape[2] * w.shape[3]
    weights = Weights(w.ravel(), outputs * channels * taps, channels * taps, taps, np.arange(taps), outputs, channels)
    packed = derived(w, ("direct", geometry.groups), lambda: _packed(weights, geometry.groups))
    _correlate(x, weights, packed, b, y, geometry.groups, _places(w.shape, geometry), geometry.stride, geometry.padding, (0, 0),
               (1, 1), size, relu)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel. Each phase of gx is a convolution of gy, of stride 1, with the taps that read this phase, in
    reverse.
    """
    gx = np.empty(x_shape, gy.dtype)
    outputs, channels, (kh, kw) = len(w) // geometry.groups, w.shape[1], w.shape[2:]
    flat = w.ravel()
    for taps, places, padding, first, size in _phases(geometry, (kh, kw), x_shape[2:]):
        weights = Weights(flat, outputs * channels * kh * kw, kh * kw, channels * kh * kw, taps, channels, outputs)
        _correlate(gy, weights, _packed(weights, geometry.groups), None, gx, geometry.groups, places, (1, 1), padding, first,
                   geometry.stride, size, False)
    return gx


@functools.lru_cache(4096)
def _phases(geometry, kernel, size):
    """What ``_phase`` finds along both axes, for each phase of gx; its taps as numbers of weights."""
    weights, found = np.arange(math.prod(kernel)).reshape(kernel), []
    for phase in itertools.product(*map(range, geometry.stride)):
        axes = zip(phase, geometry.stride, geometry.padding, geometry.dilation, kernel, size, strict=True)
        taps, *rest = zip(*itertools.starmap(_phase, axes), strict=True)
        found.append((weights[taps].ravel(), *rest))
    return found


def _phase(phase, stride, padding, dilation, kernel, size):
    """Along one axis: the taps that read this phase of the padded image; their places, in reverse; the padding of gy that this
    takes; the first pixel of the phase inside the image, and how many there are.
    """
    step = stride // math.gcd(stride, dilation)
    start = next((a for a in range(min(step, kernel)) if a * dilation % stride == phase), kernel)
    back = [a * dilation // stride for a in range(start, kernel, step)]
    reach = max(back, default=0)
    first = (phase - padding) % stride
    return (slice(start, kernel, step), tuple(reach - b for b in back), reach - (first + padding) // stride, first,
            len(range(first, size, stride)))


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel: the gradient of w[o, t] is the dot product of gy[o] and the image shifted by t."""
    if not gy.size:
        return np.zeros(w_shape, x.dtype)
    n, groups, outputs, taps = len(x), geometry.groups, w_shape[0] // geometry.groups, math.prod(w_shape[1:])
    lanes = BYTES // x.itemsize
    layout, shift, room = _plan(n, w_shape[1], x.shape[2:], gy.shape[2:], _places(w_shape, geometry), geometry.stride,
                                geometry.padding, x.itemsize, 4 * SOURCE, lanes)
    tiles = _tiles(n, gy.shape[2:], layout)
    parts = max(1, min(tiles, PARTS // groups, PARTS_BYTES // (math.prod(w_shape) * x.itemsize)))
    block = -(-outputs // lanes // max(1, PARTS // (2 * parts * groups))) * lanes
    sums = np.empty((parts, groups, outputs * taps), x.dtype)
    flat = layout._replace(stride=(1, 1), padding=(0, 0), phases=(1, 1))
    split(weight_grad_tiles, parts * groups * -(-outputs // block), gy.size * taps // lanes, _channels_by_group(x, groups),
          _channels_by_group(gy, groups), sums, shift, room, layout, flat, tiles, block, steps(x.itemsize))
    gw = np.empty(w_shape, x.dtype)
    np.add.reduce(sums, axis=0, out=gw.reshape(sums.shape[1:]))
    return gw


def _packed(weights, groups):
    """The weights as ``correlate_tiles`` takes them: (blocks of all groups, taps, ROWS)."""
    blocks, taps = groups * -(-weights.outputs // ROWS), weights.channels * len(weights.places)
    packed = np.zeros((blocks, taps, ROWS), weights.flat.dtype)
    split(pack_weights, blocks, packed.size, *weights, packed)
    return packed


def _correlate(x, weights, packed, b, y, groups, places, stride, padding, first, step, size, relu):
    """y[..., first::step] = b (O,) + sum over taps of the weights times what they read of x: ``places`` of the padded image, and
    from there on in steps of ``stride``.
    """
    n, outputs, channels, taps = len(x), weights.outputs, weights.channels, len(weights.places)
    if not n or 0 in size:
        return
    layout, shift, room = _plan(n, channels, x.shape[2:], size, places, stride, padding, x.itemsize, SOURCE)
    bias = np.zeros((groups, -(-outputs // ROWS) * ROWS), x.dtype)
    if b is not None:
        bias[:, :outputs] = b.reshape(groups, outputs)
    work = n * math.prod(size) * groups * outputs * channels * taps // (BYTES // x.itemsize)
    split(correlate_tiles, _tiles(n, size, layout) * len(packed), work, _channels_by_group(x, groups), packed,
          bias.reshape(-1), _channels_by_group(y, groups), shift, room, layout, size, first, step, relu)


def _channels_by_group(x, groups):
    """(N, C, H, W) -> (N, G, C/G, H, W)"""
    return x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])


def _places(w_shape, geometry):
    """The rows and the columns of the padded image that the first window reads."""
    return tuple(range(0, k * d, d) for k, d in zip(w_shape[2:], geometry.dilation, strict=True))


@functools.lru_cache
def _plan(n, channels, x_size, y_size, places, stride, padding, itemsize, source, multiple=1):
    """The layout; for each tap (c, row, column) how far from its output's place it reads, their number rounded up to a
    ``multiple``; and the room that a tile takes.
    """
    phases = tuple(max((place % s for place in along), default=0) + 1 for along, s in zip(places, stride, strict=True))
    most = min(TILE, max(VECTORS * BYTES // itemsize, source // max(1, itemsize * channels * math.prod(phases))))
    layout = _layout(n, x_size, y_size, [max(along, default=0) for along in places], stride, padding, phases, most)
    (sh, sw), (down, across), plane = stride, phases, layout.plane
    rows = np.array([place % sh * across * plane + place // sh * layout.images * layout.width for place in places[0]], int)
    columns = np.array([place % sw * plane + place // sw for place in places[1]], int)
    taps = np.arange(channels)[:, None, None] * (down * across * plane) + rows[:, None] + columns
    behind = channels * down * across * plane
    shift = np.full(-(-taps.size // multiple) * multiple, behind)  # the extra taps read zeros behind all planes
    shift[: taps.size] = taps.ravel()
    return layout, shift, int(shift.max(initial=behind)) + plane + VECTORS * BYTES // itemsize


def _layout(n, x_size, y_size, last, stride, padding, phases, most):
    """Small images lie side by side; what hangs over the right edge of one reads the left margin of the next."""
    (oh, ow), hang = y_size, [place // s for place, s in zip(last, stride, strict=True)]
    images, rows, columns = 1, oh, ow
    width = max(ow, -(-(x_size[1] + padding[1]) // stride[1]), ow + hang[1] - padding[1] // stride[1])
    if oh * width <= most:
        images = _even(n, most // (oh * width))
    else:
        if width > most // 2:
            columns = _even(ow, max(1, most // 4))
            width = columns + hang[1]
        rows = _even(oh, max(1, most // width))
    height = rows + hang[0]
    return Layout(stride, padding, phases, images, rows, columns, height, width, height * images * width + 16)


def _even(count, most):
    """The size of equal parts of at most so many."""
    return -(-count // -(-count // most))


def _tiles(n, size, layout):
    """How many tiles cover n outputs of this size."""
    return -(-n // layout.images) * -(-size[0] // layout.rows) * -(-size[1] // layout.columns)
