"""Convolution where each channel is a group of its own: small windows on single planes.

    y[i, j] = b + sum over a, k of w[a, k] x[i s + a, j s + k]        s: the stride; x is 0 in the padding

There is no sum over channels, so no product of matrices either: a pixel takes part in KH KW products and is done. What counts is
to load it seldom. Seven rows of outputs (four without AVX-512), a vector wide, are summed up in registers, one column of the
window after the other (``depthwise_tiles``): a vector of pixels, once loaded, serves all outputs that see its row, three with a
3x3 window, seven with a 7x7 one. No pixel is copied, not even to pad.

- The gradient in x is such a sum over the gradient of y, spread out by the stride with zeros between, and the window turned by
  180 degrees.
- The gradient in w[a, k] is the dot product of the gradient of y and the pixels from (a, k) on: here the gradients stay in
  registers while pixels pass by.
- Planes as small as 7x7, at the end of each network, would leave half of a vector empty: two channels share it.

There may be several outputs to a channel (a multiplier).

Source: A. Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017, section 3.1.
"""

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.depthwise_rows import ROWS, Code, Plain, Spread, Thinned
from minidl.kernels.cpu.depthwise_tiles import add_dots, correlate
from minidl.kernels.cpu.instructions import BYTES, MASKS, WIDE
from minidl.kernels.cpu.moves import aligned, part
from minidl.kernels.cpu.softmax import total
from minidl.kernels.cpu.threads import split
from minidl.kernels.shapes import windows

HIGHEST = 7  # windows with more rows take more registers than there are
FEW = 32  # tiles of a gradient of the weights that are summed up in the dtype of x, before they join the rest in float64


def suits(w_shape, geometry):
    """Whether these kernels can compute it."""
    return (MASKS and geometry.groups > 1 and w_shape[1] == 1 and w_shape[2] <= HIGHEST and geometry.dilation == (1, 1)
            and geometry.stride in ((1, 1), (2, 2)))


def conv2d(x, w, b, geometry, relu=False):
    """As the portable kernel."""
    y = np.empty((len(x), len(w), *windows(x.shape[2:], w.shape[2:], geometry)), x.dtype)
    _correlate(_seen(geometry), x, w, np.zeros(len(w), x.dtype) if b is None else b, y, relu)
    return y


def conv2d_input_grad(gy, w, x_shape, geometry):
    """As the portable kernel."""
    gx = np.empty(x_shape, gy.dtype)
    padding = (k - 1 - p for k, p in zip(w.shape[2:], geometry.padding, strict=True))
    kind = Plain if geometry.stride == (1, 1) else Spread
    _correlate(kind(1, *padding), gy, np.ascontiguousarray(w[:, :, ::-1, ::-1]), np.zeros(gx.shape[1], gx.dtype), gx, False)
    return gx


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """As the portable kernel."""
    gw, kind = np.empty(w_shape, x.dtype), _seen(geometry)
    code = _code(kind, w_shape, x, gy)
    split(_weight_grads, -(-x.shape[1] // len(code.planes)), _work(gy, w_shape), code, x, gy, gw)
    return gw


def _correlate(kind, x, w, b, y, relu):
    code = _code(kind, w.shape, x, y)
    items = len(x) * -(-min(x.shape[1], y.shape[1]) // len(code.planes))
    split(_correlate_planes, items, _work(y, w.shape) * max(1, x.shape[1] // y.shape[1]), code, x, w, b, y, relu)


def _seen(geometry):
    """The planes of x as windows of this geometry see them."""
    kind = Plain if geometry.stride == (1, 1) else Thinned
    return kind(geometry.stride[0], *geometry.padding)


def _code(kind, w_shape, x, y):
    """Which code computes y from x, or the gradient of the weights from both."""
    lanes, width, shared = BYTES // x.itemsize, x.shape[3], min(x.shape[1], y.shape[1]) > 1
    planes = 2 if WIDE and shared and width <= lanes and y.shape[3] <= lanes // 2 else 1
    vectors, most = -(-width * planes // lanes), 2 if planes == 2 or type(kind) is Thinned else 1
    held = vectors if WIDE and vectors <= most else 0
    return Code(tuple(range(0, w_shape[2] * w_shape[3], w_shape[3])), (0,) * planes, (0,) * held, kind)


def _work(y, w_shape):
    return y.size * w_shape[2] * w_shape[3] // (BYTES // y.itemsize)


@jit
def _correlate_planes(start, stop, code, x, w, bias, y, floor):
    """Groups of all images, as many at a time as share a vector. A group has several planes of y, or of x, or one of both.

    x (N, C, H, W), w (max(C, O), 1, KH, KW), bias (O,), y (N, O, OH, OW)
    """
    kind, lanes, zeros = code.kind, BYTES // x.itemsize // len(code.planes), np.zeros(x.shape[3], x.dtype)
    (channels, height, width), (outputs, rows, columns), taps = x.shape[1:], y.shape[1:], w.shape[2] * w.shape[3]
    flat, weights, out, groups = x.reshape(x.size), w.reshape(w.size), y.reshape(y.size), min(channels, outputs)
    inputs, multiplier, sets = channels // groups, outputs // groups, -(-groups // len(code.planes))
    image, place = start // sets, start % sets
    for _ in range(start, stop):
        group = place * len(code.planes)
        apart = 1 if group + 1 < groups else 0  # from the group beside it; the last one may have none, and is beside itself
        for o in range(group * multiplier, (group + 1) * multiplier):
            target = (image * outputs + o) * rows * columns
            for c in range(inputs):
                source, window = (image * channels + group * inputs + c) * height * width, (o * inputs + c) * taps
                for i in range(0, rows, ROWS):
                    for j in range(0, columns, lanes):
                        correlate(code, flat, (source, apart * inputs * height * width), (height, width),
                                  (i * kind.step - kind.top, j * kind.step - kind.left), zeros, weights,
                                  (window, apart * multiplier * inputs * taps), w.shape[3], bias, (o, apart * multiplier), out,
                                  (target + i * columns + j, apart * multiplier * rows * columns), columns,
                                  (rows - i, columns - j), c > 0, floor)
        place += 1
        if place == sets:
            image, place = image + 1, 0


@jit
def _weight_grads(start, stop, code, x, gy, gw):
    """Channels of x, as many at a time as share a vector.

    x (N, C, H, W), gy (N, O, OH, OW), gw (O, 1, KH, KW)
    """
    kind, lanes, zeros = code.kind, BYTES // x.itemsize, np.zeros(x.shape[3], x.dtype)
    (channels, height, width), (outputs, rows, columns), (taps, across) = x.shape[1:], gy.shape[1:], gw.shape[2:]
    flat, grads, multiplier = x.reshape(x.size), gy.reshape(gy.size), outputs // channels
    sums, totals, each = aligned(taps * across * lanes, x), np.empty(taps * across * lanes), lanes // len(code.planes)
    for item in range(start, stop):
        channel = item * len(code.planes)
        apart = 1 if channel + 1 < channels else 0
        for o in range(channel * multiplier, (channel + 1) * multiplier):
            totals[:] = 0
            sums[:] = 0
            tiles = 0
            for n in range(x.shape[0]):
                source, target = (n * channels + channel) * height * width, (n * outputs + o) * rows * columns
                for i in range(0, rows, ROWS):
                    for j in range(0, columns, each):
                        if tiles == FEW:
                            _move(sums, totals)
                            tiles = 0
                        add_dots(code, flat, (source, apart * height * width), (height, width),
                                 (i * kind.step - kind.top, j * kind.step - kind.left), zeros, grads,
                                 (target + i * columns + j, apart * multiplier * rows * columns), columns,
                                 (rows - i, columns - j), across, sums)
                        tiles += 1
            _move(sums, totals)
            for plane in range(min(len(code.planes), 1 + apart)):
                for a in range(taps):
                    for k in range(across):
                        gw[o + plane * multiplier, 0, a, k] = total(part(totals, (k * taps + a) * lanes + plane * each, each))


@jit
def _move(sums, totals):
    """Add all sums to the totals, and begin again."""
    for number in range(sums.size):
        totals[number] += sums[number]
        sums[number] = 0
