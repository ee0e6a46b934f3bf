"""Normalisation, compiled. Sums, statistics and all that belongs to a channel are float64; elements have their own dtype.

Images are walked plane by plane, one channel or group at a time, which stays in the cache between the passes over it. Vectors
(planes of one element) are walked row by row, with one running sum for each column.
"""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.moves import part
from minidl.kernels.cpu.softmax import total
from minidl.kernels.cpu.threads import split

BLOCKS = 16  # group_norm_grad keeps the sums of as many blocks of images apart, so that threads never share one


def batch_norm(x, weight, bias, eps, mean=None, var=None, relu=False):
    """As the portable kernel."""
    channels, fixed = x.shape[1], mean is not None
    mean, var = (_wide(mean), _wide(var)) if fixed else np.zeros((2, channels))
    y = np.empty(x.shape, x.dtype)
    walk, view = _walk(x, 1, _batch_planes, _batch_vectors)
    split(walk, channels, 4 * x.size, view(x), fixed, mean, var, _wide(weight), _wide(bias), float(eps), _low(relu), view(y))
    return y, mean, var


def batch_norm_grad(gy, x, weight, eps, mean, var, fixed, relu_bias=None):
    """As the portable kernel."""
    gx, (gweight, gbias) = np.empty(x.shape, x.dtype), np.zeros((2, x.shape[1]))
    walk, view = _walk(x, 1, _batch_planes_grad, _batch_vectors_grad)
    if x.size:
        bias = weight if relu_bias is None else relu_bias
        split(walk, x.shape[1], 6 * x.size, view(gy), view(x), fixed, _wide(mean), _wide(var), _wide(weight), _wide(bias),
              float(eps), _low(relu_bias is not None), view(gx), gweight, gbias)
    return gx, gweight, gbias


def group_norm(x, groups, weight, bias, eps):
    """As the portable kernel."""
    y, (mean, var) = np.empty(x.shape, x.dtype), np.empty((2, len(x), groups))
    walk, view = _walk(x, groups, _group_planes, _group_vectors)
    split(walk, mean.size, 4 * x.size, view(x), _wide(weight), _wide(bias), float(eps), mean.reshape(-1), var.reshape(-1),
          view(y))
    return y, mean, var


def group_norm_grad(gy, x, groups, weight, eps, mean, var):
    """As the portable kernel."""
    blocks = min(BLOCKS, len(x))
    gx, (gweight, gbias) = np.empty(x.shape, x.dtype), np.zeros((2, blocks, x.shape[1]))
    walk, view = _walk(x, groups, _group_planes_grad, _group_vectors_grad)
    if x.size:
        split(walk, blocks * groups, 6 * x.size, view(gy), view(x), _wide(weight), float(eps), mean.reshape(-1),
              var.reshape(-1), view(gx), gweight, gbias)
    return gx, gweight.sum(0), gbias.sum(0)


def _low(relu):
    """What y must not be below: NaN, to which nothing compares, if there is no ReLU."""
    return 0.0 if relu else math.nan


def _wide(values):
    return ready(values.astype(np.float64))


def _walk(x, groups, planes, vectors):
    """Which of two functions suits the shape of x, and how it wants to see arrays: images as (N groups, C / groups, plane),
    vectors as (N groups, C / groups).
    """
    size = math.prod(x.shape[2:])
    shape = (x.shape[0] * groups, x.shape[1] // groups, size)
    if size == 1:
        return vectors, lambda array: ready(array).reshape(shape[:2])
    return planes, lambda array: ready(array).reshape(shape)


@jit
def plane(x, n, c):
    """One plane of x (N, C, positions), as ``part`` gives it."""
    return part(x, (n * x.shape[1] + c) * x.shape[2], x.shape[2])


@jit
def squares(x, mean):
    """Sum of (x - mean)²."""
    result = 0.0
    for i in range(x.size):
        d = x[i] - mean
        result += d * d
    return result


@jit
def moments(gy, x, mean):
    """Sums of gy and of gy (x - mean)."""
    plain = weighted = 0.0
    for i in range(x.size):
        plain += gy[i]
        weighted += gy[i] * (x[i] - mean)
    return plain, weighted


@jit
def line(x, mean, slope, offset):
    """(near, a, b) for which slope (x - mean) + offset = a (x - near) + b in the dtype of x: what rounding the mean loses joins
    the offset, so that a large mean costs no digits.
    """
    number = x.dtype.type
    return number(mean), number(slope), number(offset - slope * (mean - number(mean)))


@jit
def standardise(x, mean, slope, offset, low, y):
    """y = slope (x - mean) + offset, or ``low`` where that is more, in the dtype of x."""
    near, a, b = line(x, mean, slope, offset)
    least = x.dtype.type(low)
    for i in range(x.size):
        value = a * (x[i] - near) + b
        y[i] = least if value < least else value


@jit
def moments_passed(gy, x, mean, slope, offset, low, passed):
    """``moments`` of what a ReLU passes on: gy where y, as ``standardise`` computes it, is not below or at ``low``, else 0."""
    near, a, b = line(x, mean, slope, offset)
    least, nothing = x.dtype.type(low), gy.dtype.type(0)
    plain = weighted = 0.0
    for i in range(x.size):
        g = nothing if a * (x[i] - near) + b <= least else gy[i]
        passed[i] = g
        plain += g
        weighted += g * (x[i] - mean)
    return plain, weighted


@jit
def combine(gy, scale, x, mean, slope, offset, gx):
    """gx = scale gy + slope (x - mean) + offset, in the dtype of x. gx may be gy."""
    near, a, b = line(x, mean, slope, offset)
    factor = x.dtype.type(scale)
    for i in range(x.size):
        gx[i] = factor * gy[i] + (a * (x[i] - near) + b)


@jit
def scaled(x, factor, y):
    """y = factor x, in the dtype of x."""
    a = x.dtype.type(factor)
    for i in range(x.size):
        y[i] = a * x[i]


@jit
def _batch_planes(start, stop, x, fixed, mean, var, weight, bias, eps, low, y):
    images, count = x.shape[0], x.shape[0] * x.shape[2]
    for c in range(start, stop):
        if not fixed:
            for n in range(images):
                mean[c] += total(plane(x, n, c))
            mean[c] /= count
            for n in range(images):
                var[c] += squares(plane(x, n, c), mean[c])
            var[c] /= count
        slope = weight[c] / math.sqrt(var[c] + eps)
        for n in range(images):
            standardise(plane(x, n, c), mean[c], slope, bias[c], low, plane(y, n, c))


@jit
def _batch_planes_grad(start, stop, gy, x, fixed, mean, var, weight, bias, eps, low, gx, gweight, gbias):
    images, count, relu = x.shape[0], x.shape[0] * x.shape[2], not math.isnan(low)
    for c in range(start, stop):
        rstd, scale = 1 / math.sqrt(var[c] + eps), weight[c] / math.sqrt(var[c] + eps)
        for n in range(images):
            if relu:
                plain, weighted = moments_passed(plane(gy, n, c), plane(x, n, c), mean[c], scale, bias[c], low, plane(gx, n, c))
            else:
                plain, weighted = moments(plane(gy, n, c), plane(x, n, c), mean[c])
            gbias[c] += plain
            gweight[c] += rstd * weighted
        slope, offset = -scale * rstd * gweight[c] / count, -scale * gbias[c] / count
        for n in range(images):
            g, out = plane(gx if relu else gy, n, c), plane(gx, n, c)
            if fixed:
                scaled(g, scale, out)
            else:
                combine(g, scale, plane(x, n, c), mean[c], slope, offset, out)


@jit
def _batch_vectors(start, stop, x, fixed, mean, var, weight, bias, eps, low, y):
    mean, var, weight, bias = mean[start:stop], var[start:stop], weight[start:stop], bias[start:stop]
    count = x.shape[0]
    if not fixed:
        for n in range(count):
            row = x[n, start:stop]
            for c in range(row.size):
                mean[c] += row[c]
        mean /= count
        for n in range(count):
            row = x[n, start:stop]
            for c in range(row.size):
                d = row[c] - mean[c]
                var[c] += d * d
        var /= count
    slope = weight / np.sqrt(var + eps)
    for n in range(count):
        row, out = x[n, start:stop], y[n, start:stop]
        for c in range(row.size):
            value = slope[c] * (row[c] - mean[c]) + bias[c]
            out[c] = low if value < low else value


@jit
def _batch_vectors_grad(start, stop, gy, x, fixed, mean, var, weight, bias, eps, low, gx, gweight, gbias):
    mean, rstd, gweight, gbias = mean[start:stop], 1 / np.sqrt(var[start:stop] + eps), gweight[start:stop], gbias[start:stop]
    count, scale, bias = x.shape[0], weight[start:stop] / np.sqrt(var[start:stop] + eps), bias[start:stop]
    for n in range(count):
        g, row, passed = gy[n, start:stop], x[n, start:stop], gx[n, start:stop]
        for c in range(row.size):
            passed[c] = 0 if scale[c] * (row[c] - mean[c]) + bias[c] <= low else g[c]
            gbias[c] += passed[c]
            gweight[c] += passed[c] * (row[c] - mean[c])
    gweight *= rstd
    slope, offset = -scale * rstd * gweight / count, -scale * gbias / count
    for n in range(count):
        row, out = x[n, start:stop], gx[n, start:stop]
        for c in range(row.size):
            out[c] = scale[c] * out[c] if fixed else scale[c] * out[c] + slope[c] * (row[c] - mean[c]) + offset[c]


@jit
def row_statistics(x):
    mean = total(x) / x.size
    return mean, squares(x, mean) / x.size


@jit
def _group_planes(start, stop, x, weight, bias, eps, mean, var, y):
    channels = x.shape[1]
    for row in range(start, stop):
        mean[row], var[row] = row_statistics(x[row].reshape(-1))
        rstd = 1 / math.sqrt(var[row] + eps)
        first = row * channels % weight.size
        for k in range(channels):
            standardise(plane(x, row, k), mean[row], weight[first + k] * rstd, bias[first + k], math.nan, plane(y, row, k))


@jit
def _group_vectors(start, stop, x, weight, bias, eps, mean, var, y):
    channels = x.shape[1]
    for n in range(start, stop):
        first = n * channels % weight.size
        row, out, w, b = x[n], y[n], weight[first:first + channels], bias[first:first + channels]
        mean[n], var[n] = row_statistics(row)
        center, rstd = mean[n], 1 / math.sqrt(var[n] + eps)
        for k in range(channels):
            out[k] = rstd * (row[k] - center) * w[k] + b[k]


@jit
def _group_planes_grad(start, stop, gy, x, weight, eps, mean, var, gx, gweight, gbias):
    channels, groups, count = x.shape[1], weight.size // x.shape[1], x.shape[1] * x.shape[2]
    blocks, images = gweight.shape[0], x.shape[0] // groups
    for item in range(start, stop):
        block, group = item // groups, item % groups
        for row in range(block * images // blocks * groups + group, (block + 1) * images // blocks * groups, groups):
            rstd = 1 / math.sqrt(var[row] + eps)
            sum_h = sum_h_hat = 0.0
            for k in range(channels):
                c = group * channels + k
                plain, weighted = moments(plane(gy, row, k), plane(x, row, k), mean[row])
                gbias[block, c] += plain
                gweight[block, c] += rstd * weighted
                sum_h += weight[c] * plain
                sum_h_hat += weight[c] * rstd * weighted
            slope, offset = -rstd * rstd * sum_h_hat / count, -rstd * sum_h / count
            for k in range(channels):
                scale = weight[group * channels + k] * rstd
                combine(plane(gy, row, k), scale, plane(x, row, k), mean[row], slope, offset, plane(gx, row, k))


@jit
def _group_vectors_grad(start, stop, gy, x, weight, eps, mean, var, gx, gweight, gbias):
    channels, groups = x.shape[1], weight.size // x.shape[1]
    blocks, images = gweight.shape[0], x.shape[0] // groups
    for item in range(start, stop):
        block, group = item // groups, item % groups
        first = group * channels
        last = first + channels
        w, gw, gb = weight[first:last], gweight[block, first:last], gbias[block, first:last]
        for n in range(block * images // blocks * groups + group, (block + 1) * images // blocks * groups, groups):
            g, row, out = gy[n], x[n], gx[n]
            center, rstd = mean[n], 1 / math.sqrt(var[n] + eps)
            sum_h = sum_h_hat = 0.0
            for k in range(channels):
                hat, h = rstd * (row[k] - center), w[k] * g[k]
                gb[k] += g[k]
                gw[k] += g[k] * hat
                sum_h += h
                sum_h_hat += h * hat
            slope, offset = rstd * rstd * sum_h_hat / channels, rstd * sum_h / channels
            for k in range(channels):
                out[k] = rstd * w[k] * g[k] - slope * (row[k] - center) - offset
