"""Convolution without a column matrix: a sum of shifted images.

Laid out in memory with its padding, an image is one long row of pixels, and what position (a, k) of the window reads is that
same row, shifted by ``a * width + k``:

    y[o, p] = sum over taps t of w[o, t] * source[shift[t] + p]         t = (c, a, k), p = i * width + j

Every p is independent of the others, so loops over p run in vector registers (``conv_tiles``). Dilation only changes the
shifts. A stride of s splits the image into s x s phases, each of every s-th pixel; a tap reads one phase, again as a shifted
row. Work is cut into tiles of about a thousand places that stay in the cache: some rows of a large image, or several small
images side by side.
"""

import functools
import itertools
import math
from typing import NamedTuple

import numpy as np

from minidl.kernels.cpu.conv_tiles import LANES, OUTPUTS, TAPS, TILE, correlate_tiles, weight_grad_tiles
from minidl.kernels.cpu.threads import split
from minidl.kernels.shapes import windows

PARTS = 16  # a weight gradient is summed in up to so many parts, whatever the number of threads: the same bits everywhere


class Layout(NamedTuple):
    """A tile is ``rows`` x ``columns`` outputs of each of several ``images``. For each channel and phase, what they read lies in
    memory as a plane: ``height`` rows, each made of ``width`` pixels of every image, and then zeros to fill the last vector.
    """

    stride: tuple[int, int]
    padding: tuple[int, int]
    images: int
    rows: int
    columns: int
    height: int
    width: int
    plane: int


def conv2d(x, w, b, geometry):
    """As the portable kernel."""
    size = windows(x.shape[2:], w.shape[2:], geometry)
    y = np.empty((len(x), len(w), *size), x.dtype)
    _correlate(x, _by_group(w, geometry), b, y, _places(w.shape, geometry), geometry.stride, geometry.padding, (0, 0), (1, 1),
               size)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel. Each phase of gx is a convolution of gy, of stride 1, with the taps that read this phase, in
    reverse.
    """
    gx = np.empty(x_shape, gy.dtype)
    weights = _by_group(w, geometry).swapaxes(1, 2)
    for phase in itertools.product(*map(range, geometry.stride)):
        axes = zip(phase, geometry.stride, geometry.padding, geometry.dilation, w.shape[2:], x_shape[2:], strict=True)
        taps, places, padding, first, size = zip(*itertools.starmap(_phase, axes), strict=True)
        _correlate(gy, weights[..., taps[0], taps[1]], None, gx, places, (1, 1), padding, first, geometry.stride, size)
    return gx


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
    gw = np.zeros(w_shape, x.dtype)
    if not gy.size:
        return gw
    n, groups, outputs, taps = len(x), geometry.groups, w_shape[0] // geometry.groups, math.prod(w_shape[1:])
    layout, shift, room = _plan(n, w_shape[1], x.shape[2:], gy.shape[2:], _places(w_shape, geometry), geometry.stride,
                                geometry.padding)
    tiles, blocks = _tiles(n, gy.shape[2:], layout), -(-outputs // OUTPUTS)
    parts = min(tiles, max(1, PARTS // (groups * blocks)))
    sums = np.zeros((parts, groups, blocks * OUTPUTS, len(shift)), x.dtype)
    flat = layout._replace(stride=(1, 1), padding=(0, 0))
    split(weight_grad_tiles, parts * groups * blocks, gy.size * taps // LANES, _channels_by_group(x, groups),
          _channels_by_group(gy, groups), sums, shift, room, layout, flat, tiles)
    np.sum(sums[:, :, :outputs, :taps], axis=0, out=gw.reshape(groups, outputs, taps))
    return gw


def _correlate(x, w, b, y, places, stride, padding, first, step, size):
    """y[..., first::step] = b (O,) + sum over taps of w (G, O/G, C/G, rows, columns) times what they read of x: ``places`` of
    the padded image, and from there on in steps of ``stride``.
    """
    n, (groups, outputs, channels), taps = len(x), w.shape[:3], math.prod(w.shape[2:])
    if not n or 0 in size:
        return
    layout, shift, room = _plan(n, channels, x.shape[2:], size, places, stride, padding)
    blocks = -(-outputs // OUTPUTS)
    weights = np.zeros((groups, blocks * OUTPUTS, len(shift)), x.dtype)
    weights[:, :outputs, :taps].reshape(w.shape)[...] = w
    bias = np.zeros((groups, blocks * OUTPUTS), x.dtype)
    if b is not None:
        bias[:, :outputs] = b.reshape(groups, outputs)
    split(correlate_tiles, _tiles(n, size, layout) * groups * blocks, n * math.prod(size) * groups * outputs * taps // LANES,
          _channels_by_group(x, groups), weights, bias, _channels_by_group(y, groups), shift, room, layout, size, first, step)


def _by_group(w, geometry):
    """(O, C/G, KH, KW) -> (G, O/G, C/G, KH, KW)"""
    return w.reshape(geometry.groups, len(w) // geometry.groups, *w.shape[1:])


def _channels_by_group(x, groups):
    """(N, C, H, W) -> (N, G, C/G, H, W)"""
    return x.reshape(len(x), groups, x.shape[1] // groups, *x.shape[2:])


def _places(w_shape, geometry):
    """The rows and the columns of the padded image that the first window reads."""
    return tuple(range(0, k * d, d) for k, d in zip(w_shape[2:], geometry.dilation, strict=True))


@functools.lru_cache
def _plan(n, channels, x_size, y_size, places, stride, padding):
    """The layout; for each tap (c, row, column) how far from its output's place it reads; and the room that a tile takes."""
    layout = _layout(n, x_size, y_size, [max(along, default=0) for along in places], stride, padding)
    (sh, sw), plane = stride, layout.plane
    rows = np.array([place % sh * sw * plane + place // sh * layout.images * layout.width for place in places[0]], int)
    columns = np.array([place % sw * plane + place // sw for place in places[1]], int)
    taps = np.arange(channels)[:, None, None] * (sh * sw * plane) + rows[:, None] + columns
    behind = channels * sh * sw * plane
    shift = np.full(-(-taps.size // TAPS) * TAPS, behind)  # the extra taps read zeros behind all planes
    shift[: taps.size] = taps.ravel()
    return layout, shift, int(shift.max(initial=behind)) + plane + LANES


def _layout(n, x_size, y_size, last, stride, padding):
    """Small images lie side by side; what hangs over the right edge of one reads the left margin of the next."""
    (oh, ow), hang = y_size, [place // s for place, s in zip(last, stride, strict=True)]
    images, rows, columns = 1, oh, ow
    width = max(ow, -(-(x_size[1] + padding[1]) // stride[1]), ow + hang[1] - padding[1] // stride[1])
    if oh * width <= TILE:
        images = _even(n, TILE // (oh * width))
    else:
        if width > TILE // 2:
            columns = _even(ow, TILE // 4)
            width = columns + hang[1]
        rows = _even(oh, max(1, TILE // width))
    height = rows + hang[0]
    return Layout(stride, padding, images, rows, columns, height, width, height * images * width + LANES)


def _even(count, most):
    """The size of equal parts of at most so many."""
    return -(-count // -(-count // most))


def _tiles(n, size, layout):
    """How many tiles cover n outputs of this size."""
    return -(-n // layout.images) * -(-size[0] // layout.rows) * -(-size[1] // layout.columns)
