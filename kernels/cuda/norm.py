"""Normalisation on the GPU: see norm.cu, norm_grad.cu and running.cu."""

import math

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready, wide
from minidl.kernels.cuda.sum import sum
from minidl.kernels.cuda.team import Layout, plan
from minidl.kernels.portable import norm as portable

DOUBLE = np.dtype(np.float64)
OF_CHANNEL, OF_ROW, OF_PLACE = range(3)


def batch_norm(x, weight, bias, eps, mean=None, var=None, relu=False):
    """As the portable kernel."""
    if not x.size:
        return portable.batch_norm(x, weight, bias, eps, mean, var, relu)
    fixed = mean is not None
    given = (_doubles(mean), _doubles(var)) if fixed else _two(x, x.shape[1])
    y = _standardise(x, _channels(x), (OF_CHANNEL, x.shape[1]), weight, bias, eps, *given, fixed, relu)
    return (y, mean, var) if fixed else (y, *given)


def batch_norm_grad(gy, x, weight, eps, mean, var, fixed, relu_bias=None):
    """As the portable kernel."""
    if not x.size:
        return portable.batch_norm_grad(gy, x, weight, eps, mean, var, fixed, relu_bias)
    gweight, gbias = _two(x, x.shape[1])
    gx = _standardise_grad(*ready(gy, x), _channels(x), (OF_CHANNEL, x.shape[1]), weight, eps, _doubles(mean), _doubles(var),
                           fixed, gweight, gbias, None, relu_bias)
    return gx, gweight, gbias


def move_statistics(running_mean, running_var, mean, var, momentum, count):
    """As the portable kernel, in one launch."""
    dtype = running_mean.dtype
    if running_var.dtype != dtype or not (running_mean.flags.c_contiguous and running_var.flags.c_contiguous):
        return portable.move_statistics(running_mean, running_var, mean, var, momentum, count)
    launch("running.move_statistics", mean.size, running_mean, running_var, *ready(mean, var), float(momentum),
           count / (count - 1), dtype=dtype)


def group_norm(x, groups, weight, bias, eps):
    """As the portable kernel."""
    if not x.size:
        return portable.group_norm(x, groups, weight, bias, eps)
    mean, var = _two(x, (len(x), groups))
    layout, weights = _groups(x, groups)
    return _standardise(x, layout, (weights, groups), weight, bias, eps, mean, var, False), mean, var


def group_norm_grad(gy, x, groups, weight, eps, mean, var):
    """As the portable kernel."""
    if not x.size:
        return portable.group_norm_grad(gy, x, groups, weight, eps, mean, var)
    gy, x, xp = *ready(gy, x), namespace(x)
    hats = xp.empty((len(x), groups, 3), wide(x.dtype))
    layout, weights = _groups(x, groups)
    gx = _standardise_grad(gy, x, layout, (weights, groups), weight, eps, mean, var, False, None, None, hats)
    shared = plan(_channels(x), x.dtype)
    sums = xp.empty((x.shape[1], shared.parts, 2), np.float64)
    launch("norm_grad.channel_sums", shared.items, gy, x, *shared.arguments, hats, groups, sums, dtype=x.dtype,
           per_item=shared.per_item)
    gbias, gweight = sum(sums, (1,)).T
    return gx, gweight, gbias


def _channels(x) -> Layout:
    return Layout(1, *x.shape[:2], math.prod(x.shape[2:]))


def _groups(x, groups) -> tuple[Layout, int]:
    """The layout of rows with one mean, and which weight a number has."""
    each, inner = x.shape[1] // groups, math.prod(x.shape[2:])
    rows = len(x) * groups
    return (Layout(rows, 1, 1, each), OF_PLACE) if inner == 1 else (Layout(rows, each, 1, inner), OF_ROW)


def _standardise(x, layout, weights, weight, bias, eps, mean, var, fixed, relu=False):
    x, xp, shared = ready(x), namespace(x), plan(layout, x.dtype)
    y, partial, like = xp.empty(x.shape, x.dtype), None, {"dtype": x.dtype, "per_item": shared.per_item}
    if shared.parts > 1 and not fixed:
        partial = xp.empty((layout.channels, shared.parts, 3), np.float64)
        launch("norm.statistics", shared.items, x, *shared.arguments, partial, **like)
    launch("norm.standardise", shared.items, x, *shared.arguments, partial, fixed, mean, var, float(eps), _wide(weight, x),
           _wide(bias, x), *weights, relu, y, **like)
    return y


def _standardise_grad(gy, x, layout, weights, weight, eps, mean, var, fixed, gweight, gbias, hats, relu_bias=None):
    xp, shared, weight = namespace(x), plan(layout, x.dtype), _wide(weight, x)
    relu_bias = None if relu_bias is None else _wide(relu_bias, x)
    gx, partial, like = xp.empty(x.shape, x.dtype), None, {"dtype": x.dtype, "per_item": shared.per_item}
    if shared.parts > 1:
        partial = xp.empty((layout.channels, shared.parts, 2), np.float64)
        launch("norm_grad.sums", shared.items, gy, x, *shared.arguments, mean, var, float(eps), weight, *weights, relu_bias,
               partial, **like)
    launch("norm_grad.standardise_grad", shared.items, gy, x, *shared.arguments, partial, fixed, mean, var, float(eps), weight,
           *weights, relu_bias, gx, gweight, gbias, hats, **like)
    return gx


def _two(x, shape):
    """Arrays for two statistics."""
    return namespace(x).empty(shape, DOUBLE), namespace(x).empty(shape, DOUBLE)


def _wide(values, x):
    return _as(values, wide(x.dtype))


def _doubles(values):
    return _as(values, DOUBLE)


def _as(values, dtype):
    return ready(values if values.dtype == dtype else values.astype(dtype))
