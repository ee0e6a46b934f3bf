"""The compiled loops of Winograd's convolution; ``winograd`` explains the idea and the names.

Each function works on vectors of ``LANES`` tiles (forward) or channels (weight gradient) side by side. Transformed inputs lie
as ``v[element][group of lanes][k][lane]`` and transformed weights as ``u[element][group of outputs][k][lane]``, where k is what
the products sum over, so that ``multiply`` reads both without a gap.
"""

import math
from fractions import Fraction

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.instructions import LANES
from minidl.kernels.cpu.moves import gathered, move, scattered
from minidl.kernels.cpu.moves import part as part_of
from minidl.kernels.cpu.vector import ROWS, VECTORS, multiply


def cook_toom(m, r, points):
    """A (n, m), G (n, r) and B (n, n) with y = Aᵀ [(G w) * (Bᵀ d)] for the m outputs y of r weights w over d, n = m + r - 1.

    Products of polynomials by their values at ``points`` and at infinity, transposed: S. Winograd, Arithmetic Complexity of
    Computations, 1980; A. Toom and S. Cook before him for products of integers.

    >>> A, G, B = cook_toom(2, 3, (0, 1, -1))
    >>> np.array(A).T.astype(int)
    array([[ 1,  1,  1,  0],
           [ 0,  1, -1,  1]])
    """
    others = [[p for p in points if p != point] for point in points]
    a = [[Fraction(p) ** i for i in range(m)] for p in points] + [[0] * (m - 1) + [1]]
    scale = [math.prod(Fraction(p - q) for q in rest) for p, rest in zip(points, others, strict=True)]
    g = [[Fraction(p) ** i / s for i in range(r)] for p, s in zip(points, scale, strict=True)] + [[0] * (r - 1) + [1]]
    b = [_expanded(rest, m + r - 1) for rest in others] + [_expanded(points, m + r - 1)]
    return a, g, _transposed(b)


def _expanded(roots, size):
    """The coefficients of the product of all (x - root), lowest power first."""
    polynomial = [Fraction(1)] + [Fraction(0)] * (size - 1)
    for root in roots:
        polynomial = [(polynomial[i - 1] if i else 0) - root * polynomial[i] for i in range(size)]
    return polynomial


def _transposed(matrix):
    return [list(row) for row in zip(*matrix, strict=True)]


def _reversed(matrix):
    return [row[::-1] for row in matrix]


# The three algorithms. F(m, r): tiles of m x m outputs of r x r weights, by n x n products. The points +-3/4 and +-3/2 instead of
# the +-1 and +-2 of Lavin and Gray make the error four times smaller: powers of the points differ less.
POINTS = (0, Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))
A43, G43, B43 = cook_toom(4, 3, POINTS)
A25, G25, B25 = cook_toom(2, 5, POINTS)
A23, G23, B23 = cook_toom(2, 3, (0, 1, -1))
F43, F23, F25 = 0, 1, 2

NO_BIAS = np.zeros(ROWS, np.float32)
BANDS = 8  # channels that are loaded before they are transformed, so that results are written in longer runs

_images_43, _images_23, _images_25 = (gathered(_transposed(b)) for b in (B43, B23, B25))
_grads_43, _grads_23, _grads_25 = (gathered(a) for a in (A43, A23, A25))
_weights_43, _weights_23, _weights_25 = (gathered(g) for g in (G43, G23, G25))
_flipped_43, _flipped_23, _flipped_25 = (gathered(_reversed(g)) for g in (G43, G23, G25))
_outputs_43, _outputs_23, _outputs_25 = (scattered(_transposed(a)) for a in (A43, A23, A25))
_taps_43, _taps_23, _taps_25 = (scattered(_transposed(g)) for g in (G43, G23, G25))


@jit
def images_to_products(kind, source, base, places, first, row, target, at, step):
    """Bᵀ d B"""
    if kind == F43:
        _images_43(source, base, places, first, row, target, at, step)
    elif kind == F23:
        _images_23(source, base, places, first, row, target, at, step)
    else:
        _images_25(source, base, places, first, row, target, at, step)


@jit
def grads_to_products(kind, source, base, places, first, row, target, at, step):
    """A gy Aᵀ"""
    if kind == F43:
        _grads_43(source, base, places, first, row, target, at, step)
    elif kind == F23:
        _grads_23(source, base, places, first, row, target, at, step)
    else:
        _grads_25(source, base, places, first, row, target, at, step)


@jit
def weights_to_products(kind, flip, source, base, places, first, row, target, at, step):
    """G w Gᵀ; with ``flip``, w rotated by half a turn."""
    if kind == F43:
        if flip:
            _flipped_43(source, base, places, first, row, target, at, step)
        else:
            _weights_43(source, base, places, first, row, target, at, step)
    elif kind == F23:
        if flip:
            _flipped_23(source, base, places, first, row, target, at, step)
        else:
            _weights_23(source, base, places, first, row, target, at, step)
    elif flip:
        _flipped_25(source, base, places, first, row, target, at, step)
    else:
        _weights_25(source, base, places, first, row, target, at, step)


@jit
def products_to_outputs(kind, source, at, step, target, base, places, first, row):
    """Aᵀ M A"""
    if kind == F43:
        _outputs_43(source, at, step, target, base, places, first, row)
    elif kind == F23:
        _outputs_23(source, at, step, target, base, places, first, row)
    else:
        _outputs_25(source, at, step, target, base, places, first, row)


@jit
def products_to_taps(kind, source, at, step, target, base, places, first, row):
    """Gᵀ M G"""
    if kind == F43:
        _taps_43(source, at, step, target, base, places, first, row)
    elif kind == F23:
        _taps_23(source, at, step, target, base, places, first, row)
    else:
        _taps_25(source, at, step, target, base, places, first, row)


@jit
def room(groups, depth):
    """From one element to the next: a vector more than needed, or elements of a tile would compete for one set of the cache."""
    return (groups * depth + 1) * LANES


@jit
def transform_weights(start, stop, w, flip, plan, u, origin):
    """u[element][group - origin][k][lane] for groups ``start`` to ``stop`` of outputs.

    w (O, C, r, r); with ``flip`` it acts in the other direction, from O to C, as an input gradient takes it.
    """
    taps = plan.r * plan.r
    outputs, depth = (w.shape[1], w.shape[0]) if flip else (w.shape[0], w.shape[1])
    along, across = (taps, w.shape[1] * taps) if flip else (w.shape[1] * taps, taps)
    flat, places = w.reshape(w.size), np.zeros(LANES, np.int64)
    for group in range(start, stop):
        for lane in range(LANES):
            places[lane] = min(group * LANES + lane, outputs - 1) * along
        for k in range(depth):
            weights_to_products(plan.kind, flip, flat, k * across, places, 0, plan.r, u, ((group - origin) * depth + k) * LANES,
                                u.size // (plan.n * plan.n))


@jit
def tile_places(first, count, plan, extra, width, places, outside):
    """Where each tile from ``first`` on begins in a band: tile rows are ``plan.m`` rows of ``width`` pixels, behind those of each
    image come ``extra`` rows. Lanes without a tile are sent ``outside``.
    """
    top = first // plan.across
    for t in range(places.size):
        row, column = (first + t) // plan.across, (first + t) % plan.across
        line = (row - top) * plan.m + (row // plan.down - top // plan.down) * extra
        places[t] = line * width + column * plan.m if t < count else outside


@jit
def load_band(x, flat, c, first, last, pad, extra, plan, band, width):
    """The pixels of channel c that tile rows ``first`` to ``last - 1`` read, with the padding as zeros, and ``extra`` rows more
    than tiles have outputs.
    """
    height, length, at = x.shape[2], min(x.shape[3], width - pad[1]), 0
    while first < last:
        n, row = first // plan.down, first % plan.down
        rows = min(plan.down - row, last - first)
        line = row * plan.m - pad[0]
        for h in range(line, line + rows * plan.m + extra):
            if 0 <= h < height:
                source = ((n * x.shape[1] + c) * height + h) * x.shape[3]
                move(flat, source, band, at + pad[1], LANES, length, x.dtype.type(0), False)
            else:
                band[at : at + width] = 0
            at += width
        first += rows


@jit
def largest(numbers):
    """The bits of the largest magnitude: as integers they have the same order, with infinity and NaN on top."""
    bits, found = numbers.view(np.int32), np.int32(0)
    for i in range(bits.size):
        found = max(found, bits[i] & np.int32(0x7FFFFFFF))
    return found


@jit
def largest_of_rows(start, stop, matrix, seen):
    """``seen`` [row] = the ``largest`` of each row."""
    for row in range(start, stop):
        seen[row] = largest(part_of(matrix, row * matrix.shape[1], matrix.shape[1]))


@jit
def usual(numbers, count, spared):
    """The mean magnitude of at most ``count`` of the numbers, evenly spaced, without so large a share of the largest of them."""
    step = max(1, -(-numbers.size // count))
    sample = np.empty(-(-numbers.size // step), numbers.dtype)
    for i in range(sample.size):
        sample[i] = abs(numbers[numbers.size - 1 - i * step])
    sample = np.sort(sample)[: sample.size - int(sample.size * spared)]
    return sample.sum() / max(1, sample.size)


@jit
def store_band(y, flat, o, first, count, plan, band, start, floor):
    """Tiles ``first`` to ``first + count - 1`` of a band of outputs go to channel o of y, with ``start`` added."""
    width, height = plan.across * plan.m, y.shape[2]
    top, last = first // plan.across, (first + count - 1) // plan.across
    for row in range(top, last + 1):
        n, line = row // plan.down, row % plan.down * plan.m
        left = max(0, first - row * plan.across) * plan.m
        right = min((first + count - row * plan.across) * plan.m, y.shape[3])
        for i in range(min(plan.m, height - line)):
            move(band, ((row - top) * plan.m + i) * width + left, flat,
                 ((n * y.shape[1] + o) * height + line + i) * y.shape[3] + left, LANES, right - left, start, floor)


@jit
def prepare_bands(channels, first, count, extra, plan, like):
    """Room for the pixels of some tiles of several channels; the tile rows, the width of a row, and where each tile begins."""
    top, bottom = first // plan.across, (first + count - 1) // plan.across + 1
    images = (bottom - 1) // plan.down - top // plan.down + 1
    width = plan.across * plan.m + extra
    places = np.empty(-(-count // LANES) * LANES, np.int64)
    tile_places(first, count, plan, extra, width, places, 0)
    return np.zeros((channels, ((bottom - top) * plan.m + images * extra) * width), like.dtype), top, bottom, width, places


@jit
def transform_tiles(start, stop, x, pad, first, count, plan, v, seen):
    """v[element][group of tiles][c][lane] for channels ``start`` to ``stop`` and tiles from ``first`` on; ``seen`` [c] keeps the
    ``largest`` magnitude.
    """
    bands, top, bottom, width, places = prepare_bands(BANDS, first, count, plan.r - 1, plan, x)
    flat, groups = x.reshape(x.size), places.size // LANES
    for c in range(start, stop, BANDS):
        channels = min(BANDS, stop - c)
        for k in range(channels):
            load_band(x, flat, c + k, top, bottom, pad, plan.r - 1, plan, bands[k], width)
            seen[c + k] = max(seen[c + k], largest(bands[k]))
        for group in range(groups):
            for k in range(channels):
                images_to_products(plan.kind, bands[k], 0, places, group * LANES, width, v,
                                   (group * x.shape[1] + c + k) * LANES, room(groups, x.shape[1]))


@jit
def multiply_groups(elements, u, u_first, u_groups, v, v_groups, depth, steps, m):
    """m[element][output][group][lane] = sum over k of u[element][..][k] v[element][group][k], for LANES outputs of group
    ``u_first``.
    """
    for e in range(elements):
        for part in range(0, LANES, ROWS):
            a = e * room(u_groups, depth) + u_first * depth * LANES + part
            for group in range(0, v_groups, VECTORS):
                vectors = min(VECTORS, v_groups - group)
                multiply(vectors, u, a, LANES, v, e * room(v_groups, depth) + group * depth * LANES, steps, depth * LANES,
                         depth, NO_BIAS, 0, m, e * room(v_groups, LANES) + (part * v_groups + group) * LANES, v_groups * LANES,
                         LANES, False, False)


@jit
def finish(group, m, first, count, bias, plan, places, band, y, relu):
    """Outputs of one group from their products: transformed back, with their bias, into y."""
    groups = places.size // LANES
    for o in range(group * LANES, min((group + 1) * LANES, y.shape[1])):
        for g in range(groups):
            products_to_outputs(plan.kind, m, ((o - group * LANES) * groups + g) * LANES, room(groups, LANES), band, 0, places,
                                g * LANES, plan.across * plan.m)
        store_band(y, y.reshape(y.size), o, first, count, plan, band, bias[o], relu)


@jit
def by_tiles(start, stop, x, pad, u, bias, plan, steps, y, seen, relu):
    """Blocks of tiles, each with all channels and all outputs: for many tiles."""
    channels, total = x.shape[1], x.shape[0] * plan.down * plan.across
    u_groups = -(-y.shape[1] // LANES)
    elements, most = plan.n * plan.n, -(-plan.block // LANES)
    v, m = np.empty(elements * room(most, channels), x.dtype), np.empty(elements * room(most, LANES), x.dtype)
    for item in range(start, stop):
        first = item * plan.block
        count = min(plan.block, total - first)
        groups = -(-count // LANES)
        transform_tiles(0, channels, x, pad, first, count, plan, v, seen[item])
        band, places = _output_band(first, count, plan, x)
        for group in range(u_groups):
            multiply_groups(elements, u, group, u_groups, v, groups, channels, steps, m)
            finish(group, m, first, count, bias, plan, places, band, y, relu)


@jit
def by_outputs(start, stop, w, flip, v, bias, plan, steps, y, relu):
    """Groups of outputs, each with all tiles: for few tiles, whose weights then never lie in memory transformed."""
    depth = steps.size
    total = y.shape[0] * plan.down * plan.across
    groups, elements = -(-total // LANES), plan.n * plan.n
    u, m = np.empty(elements * room(1, depth), y.dtype), np.empty(elements * room(groups, LANES), y.dtype)
    band, places = _output_band(0, total, plan, y)
    for group in range(start, stop):
        transform_weights(group, group + 1, w, flip, plan, u, group)
        multiply_groups(elements, u, 0, 1, v, groups, depth, steps, m)
        finish(group, m, 0, total, bias, plan, places, band, y, relu)


@jit
def _output_band(first, count, plan, like):
    """Room for the outputs of some tiles, and where each begins; lanes without a tile write behind it."""
    rows = (first + count - 1) // plan.across - first // plan.across + 1
    size = rows * plan.m * plan.across * plan.m
    places = np.empty(-(-count // LANES) * LANES, np.int64)
    tile_places(first, count, plan, 0, plan.across * plan.m, places, size)
    return np.empty(size + plan.m * plan.across * plan.m, like.dtype), places


@jit
def transform_channels(start, stop, x, pad, of_images, first, count, plan, v, seen):
    """v[element][group of channels][t][lane] for groups ``start`` to ``stop`` and ``count`` tiles t from ``first`` on, of images
    x or of gradients x.
    """
    extra = plan.r - 1 if of_images else 0
    channels, flat, lanes = x.shape[1], x.reshape(x.size), np.empty(LANES, np.int64)
    groups = -(-channels // LANES)
    for begin in range(0, count, plan.block):
        tiles = min(plan.block, count - begin)
        bands, top, bottom, width, places = prepare_bands(LANES, first + begin, tiles, extra, plan, x)
        flat_bands = bands.reshape(bands.size)
        for group in range(start, stop):
            for lane in range(LANES):
                lanes[lane] = min(lane, channels - 1 - group * LANES) * bands.shape[1]
                if group * LANES + lane < channels:
                    load_band(x, flat, group * LANES + lane, top, bottom, pad, extra, plan, bands[lane], width)
                    seen[group] = max(seen[group], largest(bands[lane]))
            for t in range(tiles):
                at = (group * count + begin + t) * LANES
                if of_images:
                    images_to_products(plan.kind, flat_bands, places[t], lanes, 0, width, v, at, room(groups, count))
                else:
                    grads_to_products(plan.kind, flat_bands, places[t], lanes, 0, width, v, at, room(groups, count))


@jit
def add_products(z, z_groups, z_first, z_last, v, v_groups, v_first, v_last, tiles, steps, plan, m, add):
    """m[element][output][group of channels][lane] (+)= sum over tiles t of z[element][output][t] v[element][group][t][lane], for
    some groups of outputs and some of channels.
    """
    outputs, across = (z_last - z_first) * LANES, v_last - v_first
    for e in range(plan.n * plan.n):
        for group in range(v_first, v_last, VECTORS):
            vectors = min(VECTORS, v_last - group)
            for part in range(0, outputs, ROWS):
                a = e * room(z_groups, tiles) + (z_first + part // LANES) * tiles * LANES + part % LANES
                b = e * room(v_groups, tiles) + group * tiles * LANES
                c = e * room(outputs, across) + (part * across + group - v_first) * LANES
                multiply(vectors, z, a, LANES, v, b, steps, tiles * LANES, tiles, NO_BIAS, 0, m, c, across * LANES, LANES, add,
                         False)


@jit
def finish_taps(m, row, step, o, first, last, plan, gw):
    """The weight gradients of output o for groups ``first`` to ``last`` of channels, from their products."""
    taps, channels = plan.r * plan.r, gw.shape[1]
    block, places = np.empty(LANES * taps, gw.dtype), np.arange(LANES) * taps
    for group in range(first, last):
        products_to_taps(plan.kind, m, row + (group - first) * LANES, step, block, 0, places, 0, plan.r)
        count = min(LANES, channels - group * LANES) * taps
        gw[o].reshape(channels * taps)[group * LANES * taps :][:count] = block[:count]


@jit
def weight_grad_parts(start, stop, x, pad, gy, plan, steps, m, seen):
    """m[part] of the products' sums, over one part of the tiles each: for many tiles."""
    total, parts = x.shape[0] * plan.down * plan.across, m.shape[0]
    elements, x_groups, y_groups = plan.n * plan.n, -(-x.shape[1] // LANES), -(-gy.shape[1] // LANES)
    v, z = np.empty(elements * room(x_groups, plan.block), x.dtype), np.empty(elements * room(y_groups, plan.block), x.dtype)
    for part in range(start, stop):
        begin, end = total * part // parts, total * (part + 1) // parts
        for first in range(begin, end, plan.block):
            count = min(plan.block, end - first)
            transform_channels(0, x_groups, x, pad, True, first, count, plan, v, seen[part])
            transform_channels(0, y_groups, gy, (0, 0), False, first, count, plan, z, seen[part, x_groups:])
            add_products(z, y_groups, 0, y_groups, v, x_groups, 0, x_groups, count, steps, plan, m[part], first > begin)


@jit
def sum_parts(start, stop, m, plan, gw):
    """gw of outputs ``start`` to ``stop`` from the sums of all parts."""
    groups = -(-gw.shape[1] // LANES)
    step = room(-(-gw.shape[0] // LANES) * LANES, groups)
    for o in range(start, stop):
        for part in range(1, m.shape[0]):
            for e in range(plan.n * plan.n):
                row = e * step + o * groups * LANES
                here, there = m[0, row : row + groups * LANES], m[part, row : row + groups * LANES]
                for i in range(here.size):
                    here[i] += there[i]
        finish_taps(m[0], o * groups * LANES, step, o, 0, groups, plan, gw)


@jit
def weight_grad_blocks(start, stop, v, z, tiles, outputs, channels, plan, steps, gw):
    """Blocks of so many groups of outputs and of channels, over all tiles: for few tiles."""
    y_groups, x_groups = -(-gw.shape[0] // LANES), -(-gw.shape[1] // LANES)
    across = -(-x_groups // channels)
    m = np.empty(plan.n * plan.n * room(outputs * LANES, channels), v.dtype)
    for item in range(start, stop):
        top, left = item // across * outputs, item % across * channels
        bottom, right = min(top + outputs, y_groups), min(left + channels, x_groups)
        add_products(z, y_groups, top, bottom, v, x_groups, left, right, tiles, steps, plan, m, False)
        for o in range(top * LANES, min(bottom * LANES, gw.shape[0])):
            finish_taps(m, (o - top * LANES) * (right - left) * LANES, room((bottom - top) * LANES, right - left), o, left, right,
                        plan, gw)
