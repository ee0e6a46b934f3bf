"""Pooling, image by image: the loops of the portable kernels' docstrings, on all threads."""

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.instructions import BYTES
from minidl.kernels.cpu.moves import largest_of_squares, move, part, pick
from minidl.kernels.cpu.threads import split

TILE = 2048  # places of images whose maxima are found together: a few arrays of them fit the first-level cache


def max_windows(x, rows, columns):
    """As the portable kernel."""
    x = ready(x)
    values = np.empty((*x.shape[:2], len(rows.starts), len(columns.starts)), x.dtype)
    winners = np.empty(values.shape, np.int64)
    _max_windows(x, rows, columns, values, winners)
    return values, winners


def max_values(x, rows, columns):
    """As the portable kernel."""
    x = ready(x)
    values = np.empty((*x.shape[:2], len(rows.starts), len(columns.starts)), x.dtype)
    _max_windows(x, rows, columns, values, NO_WINNERS)
    return values


NO_WINNERS = np.empty((0, 0, 0, 0), np.int64)


def _max_windows(x, rows, columns, values, winners):
    planes = x.shape[0] * x.shape[1]
    x, values = x.reshape(planes, *x.shape[2:]), values.reshape(planes, *values.shape[2:])
    winners = winners.reshape(planes if winners.size else 0, *winners.shape[2:])
    if _square(rows, x.shape[1]) and _square(columns, x.shape[2]):
        split(_max_squares, planes, x.size, x.reshape(-1), x.shape[1:], values.reshape(-1), values.shape[1:],
              winners.reshape(-1))
        return
    # The even way tells which of two places comes first by their distances, which takes images wider than a window.
    if rows.even and columns.even and (columns.even[2] - 1) * columns.step < rows.step * x.shape[2]:
        split(_max_even, planes, x.size + values.size, x, values, winners, (*rows.even, rows.step), (*columns.even, columns.step))
    else:
        split(_max_any, planes, x.size, x, values, winners, rows.starts, rows.stops, rows.step, columns.starts, columns.stops,
              columns.step)


def _square(windows, size):
    """Whether they are all of two positions and none overlaps another."""
    return windows.even == (0, 2, 2) and windows.step == 1 and 2 * len(windows.starts) <= size


@jit
def _max_squares(start, stop, x, x_size, values, size, winners):
    """Windows of 2 x 2 pixels that do not overlap."""
    (height, width), (rows, columns) = x_size, size
    for plane in range(start, stop):
        for i in range(rows):
            target = (plane * rows + i) * columns
            source = (plane * height + 2 * i) * width
            largest_of_squares(x, source, width, values, target, winners, target, 2 * i * width, columns)


@jit
def _max_any(start, stop, x, values, winners, h_starts, h_stops, h_step, w_starts, w_stops, w_step):
    """Windows of any size, one by one."""
    for plane in range(start, stop):
        for i in range(values.shape[1]):
            for j in range(values.shape[2]):
                best, place = _search(x[plane], h_starts[i], h_stops[i], h_step, w_starts[j], w_stops[j], w_step)
                values[plane, i, j] = best
                if winners.size:
                    winners[plane, i, j] = place


@jit
def _max_even(start, stop, x, values, winners, rows, columns):
    """Windows that are all alike: images are laid out with -inf around them, several small ones one behind the other or some rows
    of a large one, and all places of that row of numbers are compared with those one step further, and so on. What the margins
    between rows give is not read.
    """
    (top, sh, kh, dh), (left, sw, kw, dw) = rows, columns
    height, width, lines = (kh - 1) * dh + 1, (values.shape[2] - 1) * sw + (kw - 1) * dw + 1, values.shape[1]
    room = ((lines - 1) * sh + height) * width
    images = max(1, TILE // room)
    if room > TILE:
        lines = min(lines, max(1, (TILE // width - height) // sh + 1))
        room = ((lines - 1) * sh + height) * width
    padded, tall, best = np.empty(images * room, x.dtype), np.empty(images * room, x.dtype), np.empty(images * room, x.dtype)
    tall_at, best_at = np.empty(images * room, np.int32), np.empty(images * room, np.int32)
    flat, flat_values, flat_winners = x.reshape(x.size), values.reshape(values.size), winners.reshape(winners.size)
    size, wide = x.shape[1] * x.shape[2], values.shape[2]
    origins = np.empty(lines * wide, np.int64)  # where windows begin in the image, from that of the first line on
    for j in range(origins.size):
        origins[j] = j // wide * sh * x.shape[2] + left + j % wide * sw
    for first in range(start, stop, images):
        count = min(images, stop - first)
        for line in range(0, values.shape[1], lines):
            used = min(lines, values.shape[1] - line)
            deep = (used - 1) * sh + height
            for image in range(count):
                _load(flat, (first + image) * size, x.shape[1], x.shape[2], line * sh + top, left, deep, width,
                      part(padded, image * room, deep * width))
            places = (count - 1) * room + deep * width - (kh - 1) * dh * width
            if winners.size:
                _slide_rows(padded, places, kh, dh * width, dh * x.shape[2], tall, tall_at)
                _slide(tall, tall_at, places - (kw - 1) * dw, kw, dw, best, best_at)
            else:
                _slide_values(padded, places, kh, dh * width, tall)
                _slide_values(tall, places - (kw - 1) * dw, kw, dw, best)
            for image in range(count):
                target, size_here = ((first + image) * values.shape[1] + line) * wide, used * wide
                pick(best, image * room, sh * width, sw, flat_values, target, wide, used, wide)
                if winners.size:
                    at, row = part(flat_winners, target, size_here), line * sh + top
                    for i in range(used):
                        source_at = part(best_at, image * room + i * sh * width, (wide - 1) * sw + 1)
                        for j in range(wide):
                            at[i * wide + j] = source_at[j * sw] + origins[i * wide + j] + row * x.shape[2]
                    _mend(part(flat, (first + image) * size, size), x.shape[2], part(flat_values, target, size_here), at, row,
                          left, wide, rows, columns)


@jit
def _load(flat, plane, image_height, image_width, top, left, height, width, padded):
    """Rows of the image that begins at ``plane``, from (top, left) on; -inf where there is no image."""
    nothing, lanes = flat.dtype.type(-np.inf), BYTES // flat.itemsize
    length = max(0, min(image_width, width + left))
    for i in range(height):
        line = part(padded, i * width, width)
        if 0 <= top + i < image_height:
            line[:-left] = nothing
            move(flat, plane + (top + i) * image_width, line, -left, lanes, length, flat.dtype.type(0), False)
            line[length - left :] = nothing
        else:
            line[:] = nothing


@jit
def _slide_values(x, places, length, step, best):
    """best[p] = maximum of x[p], x[p + step], ... (``length`` of them); NaN wins."""
    for p in range(places):
        best[p] = x[p]
    for a in range(1, length):
        shifted = x[a * step :]
        for p in range(places):
            value, old = shifted[p], best[p]
            best[p] = old if (value <= old) | (old != old) else value


@jit
def _slide_rows(x, places, length, step, row, best, best_at):
    """As ``_slide_values``, and best_at[p] = how far from p the first maximum stands in the image, where a step is
    ``row`` places.
    """
    for p in range(places):
        best[p], best_at[p] = x[p], 0
    for a in range(1, length):
        shifted, distance = x[a * step :], np.int32(a * row)
        for p in range(places):
            value, old, old_at = shifted[p], best[p], best_at[p]
            stays = (value <= old) | (old != old)
            best[p] = old if stays else value
            best_at[p] = old_at if stays else distance


@jit
def _slide(x, at, places, length, step, best, best_at):
    """As ``_slide_rows`` over x that has places ``at`` of its own; of equal ones, the nearest is taken."""
    for p in range(places):
        best[p], best_at[p] = x[p], at[p]
    for a in range(1, length):
        shifted, shifted_at, distance = x[a * step :], at[a * step :], np.int32(a * step)
        for p in range(places):
            value, place, old, old_place = shifted[p], np.int32(shifted_at[p] + distance), best[p], best_at[p]
            larger = not ((value <= old) | (old != old))
            same = (value == old) | ((value != value) & (old != old))
            better = larger | (same & (place < old_place))
            best[p] = value if better else old
            best_at[p] = place if better else old_place


@jit
def _mend(x, width, y, at, top, left, wide, rows, columns):
    """Where the maximum is -inf, the padding may have won: search these windows, of which ``wide`` make a row."""
    (_, sh, kh, dh), (_, sw, kw, dw) = rows, columns
    doubtful = 0
    for j in range(y.size):
        doubtful += y[j] == -np.inf
    for j in range(y.size if doubtful else 0):
        if y[j] == -np.inf:
            image, h, w = x.reshape(x.size // width, width), top + j // wide * sh, left + j % wide * sw
            y[j], at[j] = _search(image, h + max(0, -(h // dh)) * dh, min(image.shape[0], h + (kh - 1) * dh + 1), dh,
                                  w + max(0, -(w // dw)) * dw, min(width, w + (kw - 1) * dw + 1), dw)


@jit
def _search(x, top, bottom, h_step, left, right, w_step):
    """The maximum of one window and its place, position by position."""
    best, place = x[top, left], top * x.shape[1] + left
    for h in range(top, bottom, h_step):
        for w in range(left, right, w_step):
            if not (x[h, w] <= best) and best == best:
                best, place = x[h, w], h * x.shape[1] + w
    return best, place


def take_winners(x, out_shape, winners, windows=None):
    """As the portable kernel."""
    x, winners = ready(x, winners)
    y = np.empty(out_shape, x.dtype)
    planes = x.shape[0] * x.shape[1]
    split(_take, planes, y.size, _flat(x), _flat(winners), _flat(y))
    return y


@jit
def _take(start, stop, x, winners, y):
    for plane in range(start, stop):
        source, target, at = _row(x, plane), _row(y, plane), _row(winners, plane)
        for i in range(at.size):
            target[i] = source[at[i]]


@jit
def _row(matrix, row):
    """One row of it, as ``part`` gives it."""
    return part(matrix, row * matrix.shape[1], matrix.shape[1])


def add_winners(gy, out_shape, winners, windows=None):
    """As the portable kernel."""
    gy, winners = ready(gy, winners)
    gx = np.empty(out_shape, gy.dtype)
    planes = gy.shape[0] * gy.shape[1]
    split(_add, planes, gx.size, _flat(gy), _flat(winners), _flat(gx))
    return gx


@jit
def _add(start, stop, gy, winners, gx):
    for plane in range(start, stop):
        source, target, at = _row(gy, plane), _row(gx, plane), _row(winners, plane)
        target[:] = 0
        for i in range(at.size):
            target[at[i]] += source[i]


def _flat(x):
    """(N, C, H, W) as (N C, H W)."""
    return x.reshape(x.shape[0] * x.shape[1], x.shape[2] * x.shape[3])


def mean_windows(x, out_shape, rows, columns, divisors):
    """As the portable kernel."""
    x = ready(x)
    y = np.empty(out_shape, x.dtype)
    planes = x.shape[0] * x.shape[1]
    split(_mean, planes, x.size, x.reshape(planes, *x.shape[2:]), y.reshape(planes, *y.shape[2:]), rows.starts, rows.stops,
          columns.starts, columns.stops, 1 / divisors)
    return y


@jit
def _mean(start, stop, x, y, h_starts, h_stops, w_starts, w_stops, scales):
    for plane in range(start, stop):
        for i in range(y.shape[1]):
            for j in range(y.shape[2]):
                total = x.dtype.type(0)
                for h in range(h_starts[i], h_stops[i]):
                    for w in range(w_starts[j], w_stops[j]):
                        total += x[plane, h, w]
                y[plane, i, j] = total * scales[i, j]


def spread_windows(gy, out_shape, rows, columns, divisors):
    """As the portable kernel."""
    gy = ready(gy)
    gx = np.empty(out_shape, gy.dtype)
    planes = gy.shape[0] * gy.shape[1]
    split(_spread, planes, gx.size, gy.reshape(planes, *gy.shape[2:]), gx.reshape(planes, *gx.shape[2:]), rows.starts,
          rows.stops, columns.starts, columns.stops, 1 / divisors)
    return gx


@jit
def _spread(start, stop, gy, gx, h_starts, h_stops, w_starts, w_stops, scales):
    for plane in range(start, stop):
        gx[plane] = 0
        for i in range(gy.shape[1]):
            for j in range(gy.shape[2]):
                share = gy[plane, i, j] * scales[i, j]
                for h in range(h_starts[i], h_stops[i]):
                    for w in range(w_starts[j], w_stops[j]):
                        gx[plane, h, w] += share
