"""The compiled loops of Winograd's convolution; ``winograd`` explains the idea and the names.

Each function works on vectors of ``LANES`` channels side by side: pixels are transposed once on their way into a band, which
tiles overlap, and once on their way out. Transformed inputs lie as ``v[element][group of channels][tile][lane]``, transformed
weights as ``u[element][group of outputs][channel][lane]``. Work is cut into blocks of whole rows of tiles.
"""

import math
from fractions import Fraction

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.instructions import LANES
from minidl.kernels.cpu.moves import aligned, into_lanes, out_of_lanes, sandwich
from minidl.kernels.cpu.moves import part as part_of
from minidl.kernels.cpu.vector import ROWS, VECTORS, multiply, multiply_rows


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


# The three algorithms. F(m, r): tiles of m x m outputs of r x r weights, by n x n products. The points +-3/4 and +-3/2 instead of
# the +-1 and +-2 of Lavin and Gray make the error four times smaller: powers of the points differ less.
POINTS = (0, Fraction(3, 4), Fraction(-3, 4), Fraction(3, 2), Fraction(-3, 2))
A43, G43, B43 = cook_toom(4, 3, POINTS)
A25, G25, B25 = cook_toom(2, 5, POINTS)
A23, G23, B23 = cook_toom(2, 3, (0, 1, -1))
F43, F23, F25 = 0, 1, 2

NO_BIAS = np.zeros(LANES, np.float32)

images_to_products = sandwich(*map(_transposed, (B43, B23, B25)))  # Bᵀ d B
grads_to_products = sandwich(A43, A23, A25)  # A gy Aᵀ
weights_to_products = sandwich(G43, G23, G25)  # G w Gᵀ
products_to_outputs = sandwich(*map(_transposed, (A43, A23, A25)))  # Aᵀ M A
products_to_taps = sandwich(*map(_transposed, (G43, G23, G25)))  # Gᵀ M G


@jit
def room(groups, depth):
    """From one element to the next: a vector more than needed, or elements of a tile would compete for one set of the cache."""
    return (groups * depth + 1) * LANES


@jit
def transform_weights(start, stop, w, flip, plan, u, origin):
    """u[element][group - origin][k][lane] for groups ``start`` to ``stop`` of outputs.

    w (O, C, r, r); with ``flip`` it acts in the other direction and rotated by half a turn, as an input gradient takes it.
    """
    taps = plan.r * plan.r
    outputs, depth = (w.shape[1], w.shape[0]) if flip else (w.shape[0], w.shape[1])
    along, across = (taps, w.shape[1] * taps) if flip else (w.shape[1] * taps, taps)
    flat, places, step = w.reshape(w.size), np.empty(LANES, np.int64), u.size // (plan.n * plan.n)
    window, first, way = np.empty((taps + LANES) * LANES, w.dtype), (taps - 1) * LANES if flip else 0, -LANES if flip else LANES
    for group in range(start, stop):
        lane_places(group, outputs, along, places)
        for k in range(depth):
            for tap in range(0, taps, LANES):
                into_lanes(flat, k * across + tap, places, 0, min(LANES, taps - tap), window, tap * LANES)
            weights_to_products(plan.kind, window, first, plan.r * way, way, u, ((group - origin) * depth + k) * LANES,
                                plan.n * step, step)


@jit
def lane_places(group, channels, along, places):
    """Where the channels of a group begin; lanes behind the last channel repeat it."""
    for lane in range(LANES):
        places[lane] = min(group * LANES + lane, channels - 1) * along


@jit
def line_of(row, top, extra, plan):
    """The first line of a tile row in a band that begins with tile row ``top``: ``extra`` lines follow those of each image."""
    return (row - top) * plan.m + (row // plan.down - top // plan.down) * extra


@jit
def load_band(x, places, pad, extra, top, bottom, plan, band, width):
    """The pixels that tile rows ``top`` to ``bottom - 1`` read, as vectors of channels, with the padding as zeros."""
    height, length, at, flat, row = x.shape[2], min(x.shape[3], width - pad[1]), 0, x.reshape(x.size), top
    while row < bottom:
        n, first = row // plan.down, row % plan.down
        rows = min(plan.down - first, bottom - row)
        line = first * plan.m - pad[0]
        for h in range(line, line + rows * plan.m + extra):
            if 0 <= h < height:
                source = (n * x.shape[1] * height + h) * x.shape[3]
                for j in range(0, length, LANES):
                    into_lanes(flat, source + j, places, 0, min(LANES, length - j), band, (at + pad[1] + j) * LANES)
            else:
                band[at * LANES : (at + width) * LANES] = 0
            at += width
        row += rows


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
def ordinary(seen, numbers, count, spared, outlier, most):
    """Whether the largest of ``seen``, bits of magnitudes, is at most ``most`` and ``outlier`` times the ``usual``; never true of
    NaN.
    """
    bits = np.zeros(1, np.int32)
    for found in seen.flat:
        bits[0] = max(bits[0], found)
    return bits.view(np.float32)[0] <= min(most, outlier * usual(numbers, count, spared))


@jit
def transform_channels(start, stop, x, pad, of_images, first, rows, plan, v, seen):
    """v[element][group of channels][t][lane] for groups ``start`` to ``stop`` and the tiles t of ``rows`` tile rows from
    ``first`` on, of images x or of gradients x; ``seen`` [group] keeps the ``largest`` magnitude.
    """
    extra = plan.r - 1 if of_images else 0
    width, tall, step = plan.across * plan.m + extra, filled(rows * plan.across), v.size // (plan.n * plan.n)
    places, most = np.empty(LANES, np.int64), min(rows, plan.rows)
    images = (most + plan.down - 2) // plan.down + 1
    band = aligned((most * plan.m + images * extra) * width * LANES, x)
    band[:] = 0
    for top in range(first, first + rows, plan.rows):
        bottom = min(top + plan.rows, first + rows)
        used = (line_of(bottom - 1, top, extra, plan) + plan.m + extra) * width * LANES
        for group in range(start, stop):
            lane_places(group, x.shape[1], x.shape[2] * x.shape[3], places)
            load_band(x, places, pad, extra, top, bottom, plan, band, width)
            seen[group] = max(seen[group], largest(part_of(band, 0, used)))
            for row in range(top, bottom):
                source = line_of(row, top, extra, plan) * width * LANES
                at = (group * tall + (row - first) * plan.across) * LANES
                if of_images:
                    for j in range(plan.across):
                        images_to_products(plan.kind, band, source + j * plan.m * LANES, width * LANES, LANES, v, at + j * LANES,
                                           plan.n * step, step)
                else:
                    for j in range(plan.across):
                        grads_to_products(plan.kind, band, source + j * plan.m * LANES, width * LANES, LANES, v, at + j * LANES,
                                          plan.n * step, step)


@jit
def filled(tiles):
    """The number of tiles, filled up to whole blocks of rows of a product."""
    return -(-tiles // (2 * ROWS)) * 2 * ROWS


@jit
def multiply_groups(elements, v, tall, tiles, v_places, u, u_at, u_step, u_places, depth, groups, m):
    """m[element][tile][group][lane] = sum over k of v[element][tile, k] u[element][group][k][lane] for up to three groups."""
    high = 2 * ROWS if groups == 1 else ROWS
    for e in range(elements):
        for t in range(0, tiles, high):
            multiply_rows(groups, v, e * (v.size // elements) + t * LANES, v_places, u, e * u_step + u_at, u_places,
                          depth * LANES, depth, m, e * room(tall, groups) + t * groups * LANES, groups * LANES)


@jit
def finish(group, groups, m, tall, first, rows, bias, plan, band, y, relu):
    """Outputs of some groups from their products: transformed back into a band, then with their bias into y."""
    width, step, outputs = plan.across * plan.m, room(tall, groups), y.shape[1]
    flat, places, height = y.reshape(y.size), np.empty(LANES, np.int64), y.shape[2]
    for g in range(groups):
        lane_places(group + g, outputs, height * y.shape[3], places)
        for row in range(rows):
            for j in range(plan.across):
                products_to_outputs(plan.kind, m, ((row * plan.across + j) * groups + g) * LANES, plan.n * step, step, band,
                                    (row * plan.m * width + j * plan.m) * LANES, width * LANES, LANES)
        for row in range(rows):
            n, line = (first + row) // plan.down, (first + row) % plan.down * plan.m
            for i in range(min(plan.m, height - line)):
                at, target = (row * plan.m + i) * width, (n * outputs * height + line + i) * y.shape[3]
                for j in range(0, y.shape[3], LANES):
                    out_of_lanes(band, (at + j) * LANES, flat, target + j, places, 0, min(LANES, y.shape[3] - j), bias,
                                 (group + g) * LANES, relu)


@jit
def groups_at_once(groups):
    """How many groups of outputs are multiplied together: three where they divide into threes, or else two."""
    return min(groups, 3 if groups % 3 == 0 else 2)


@jit
def product_places(depth, tall):
    """Where number k of the first tile lies in v."""
    places = np.empty(depth, np.int64)
    for k in range(depth):
        places[k] = k // LANES * tall * LANES + k % LANES
    return places


@jit
def output_band(rows, plan, like):
    """Room for the outputs of some tile rows, and for what is read behind them."""
    return aligned((rows * plan.m * plan.across * plan.m + LANES) * LANES, like)


@jit
def by_tiles(start, stop, x, pad, u, bias, plan, steps, y, seen, relu):
    """Blocks of tile rows, each with all channels and all outputs: for many tiles."""
    channels, total = x.shape[1], x.shape[0] * plan.down
    x_groups, y_groups, elements, tall = -(-x.shape[1] // LANES), -(-y.shape[1] // LANES), plan.n * plan.n, 0
    wide, most = groups_at_once(y_groups), filled(plan.rows * plan.across)
    v, m = aligned(elements * room(most, x_groups), x), aligned(elements * room(most, wide), x)
    band, places = output_band(plan.rows, plan, x), np.empty(0, np.int64)
    for item in range(start, stop):
        first = item * plan.rows
        rows = min(plan.rows, total - first)
        if tall != filled(rows * plan.across):
            tall = filled(rows * plan.across)
            places = product_places(channels, tall)
        transform_channels(0, x_groups, x, pad, True, first, rows, plan, v, seen[item])
        for group in range(0, y_groups, wide):
            groups = min(wide, y_groups - group)
            multiply_groups(elements, v, tall, rows * plan.across, places, u, group * channels * LANES, u.size // elements, steps,
                            channels, groups, m)
            finish(group, groups, m, tall, first, rows, bias, plan, band, y, relu)


@jit
def by_outputs(start, stop, w, flip, v, bias, plan, steps, y, relu):
    """Groups of outputs, each with all tiles: for few tiles, whose weights then never lie in memory transformed."""
    depth, rows, y_groups, elements = steps.size, y.shape[0] * plan.down, -(-y.shape[1] // LANES), plan.n * plan.n
    tall, wide = filled(rows * plan.across), groups_at_once(y_groups)
    u, m = aligned(elements * room(wide, depth), y), aligned(elements * room(tall, wide), y)
    band, places = output_band(rows, plan, y), product_places(depth, tall)
    for item in range(start, stop):
        group = item * wide
        groups = min(wide, y_groups - group)
        transform_weights(group, group + groups, w, flip, plan, u, group)
        multiply_groups(elements, v, tall, rows * plan.across, places, u, 0, u.size // elements, steps, depth, groups, m)
        finish(group, groups, m, tall, 0, rows, bias, plan, band, y, relu)


@jit
def add_products(z, z_first, z_last, v, v_first, v_last, tall, tiles, steps, plan, m, add):
    """m[element][output][group of channels][lane] (+)= sum over tiles t of z[element][output][t] v[element][group][t][lane], for
    some groups of outputs and some of channels.
    """
    outputs, across = (z_last - z_first) * LANES, v_last - v_first
    for e in range(plan.n * plan.n):
        for group in range(v_first, v_last, VECTORS):
            vectors = min(VECTORS, v_last - group)
            for part in range(0, outputs, ROWS):
                a = e * (z.size // (plan.n * plan.n)) + (z_first + part // LANES) * tall * LANES + part % LANES
                b = e * (v.size // (plan.n * plan.n)) + group * tall * LANES
                c = e * room(outputs, across) + (part * across + group - v_first) * LANES
                multiply(vectors, z, a, LANES, v, b, steps, tall * LANES, tiles, NO_BIAS, 0, m, c, across * LANES, LANES, add,
                         False)


@jit
def finish_taps(m, row, step, o, first, last, plan, gw):
    """The weight gradients of output o for groups ``first`` to ``last`` of channels, from their products."""
    taps, channels, flat = plan.r * plan.r, gw.shape[1], gw.reshape(gw.size)
    window, places = np.empty((taps + LANES) * LANES, gw.dtype), np.empty(LANES, np.int64)
    for group in range(first, last):
        lane_places(group, channels, taps, places)
        products_to_taps(plan.kind, m, row + (group - first) * LANES, plan.n * step, step, window, 0, plan.r * LANES, LANES)
        for tap in range(0, taps, LANES):
            out_of_lanes(window, tap * LANES, flat, o * channels * taps + tap, places, 0, min(LANES, taps - tap),
                         NO_BIAS, 0, False)


@jit
def weight_grad_parts(start, stop, x, pad, gy, plan, steps, m, seen):
    """m[part] of the products' sums, over one part of the tile rows each: for many tiles."""
    total, parts, tall = x.shape[0] * plan.down, m.shape[0], filled(plan.rows * plan.across)
    elements, x_groups, y_groups = plan.n * plan.n, -(-x.shape[1] // LANES), -(-gy.shape[1] // LANES)
    v, z = aligned(elements * room(x_groups, tall), x), aligned(elements * room(y_groups, tall), x)
    for part in range(start, stop):
        begin, end = total * part // parts, total * (part + 1) // parts
        for first in range(begin, end, plan.rows):
            rows = min(plan.rows, end - first)
            transform_channels(0, x_groups, x, pad, True, first, rows, plan, v, seen[part])
            transform_channels(0, y_groups, gy, (0, 0), False, first, rows, plan, z, seen[part, x_groups:])
            add_products(z, 0, y_groups, v, 0, x_groups, filled(rows * plan.across), rows * plan.across, steps, plan, m[part],
                         first > begin)


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
    m = aligned(plan.n * plan.n * room(outputs * LANES, channels), v)
    for item in range(start, stop):
        top, left = item // across * outputs, item % across * channels
        bottom, right = min(top + outputs, y_groups), min(left + channels, x_groups)
        add_products(z, top, bottom, v, left, right, filled(tiles), tiles, steps, plan, m, False)
        for o in range(top * LANES, min(bottom * LANES, gw.shape[0])):
            finish_taps(m, (o - top * LANES) * (right - left) * LANES, room((bottom - top) * LANES, right - left), o, left, right,
                        plan, gw)
