"""Normalisation: y = weight x^ + bias with x^ = (x - mean) / sqrt(var + eps), by the statistics of a channel or of a group.

x (N, C, ...); weight and bias (C,). The variance is divided by the number of elements (biased) and taken around the mean:
E[x²] - E[x]² loses all digits where the mean is large. Everything is computed in float64 and rounded once: y and gx have the
dtype of x; statistics and the gradients of weight and bias stay in float64. A NaN fills all that shares its statistics;
statistics of no elements are NaN.

With h = weight gy, and averages over the elements that share their statistics, the gradients are
    gx = (h - average(h) - x^ average(h x^)) / sqrt(var + eps),   gweight = sum gy x^,   gbias = sum gy.

Sources: Ioffe and Szegedy, "Batch normalization" (2015), algorithm 1 and section 3; Wu and He, "Group normalization" (2018),
section 3.1; Ba, Kiros and Hinton, "Layer normalization" (2016), section 3.
"""

import math

import numpy as np

from minidl.kernels import namespace


@np.errstate(all="ignore")
def batch_norm(x, weight, bias, eps, mean=None, var=None, relu=False):
    """y, and the mean and var (C,) of each channel over the batch and all positions; given ones are used as they are. With
    ``relu`` what is below 0 becomes 0.
    """
    planes = _parts(x, x.shape[1])
    if mean is None:
        mean, var = _statistics(planes, (0, 2))
    y = _standardised(planes, mean, var, eps) * weight[:, None] + bias[:, None]
    y = namespace(x).maximum(y, 0) if relu else y
    return y.astype(x.dtype).reshape(x.shape), mean, var


@np.errstate(all="ignore")
def batch_norm_grad(gy, x, weight, eps, mean, var, fixed, relu_bias=None):
    """gx, gweight and gbias of ``batch_norm``. If its statistics were given (``fixed``), they do not depend on x, and
    gx = h / sqrt(var + eps). ``relu_bias`` is the bias if a ReLU followed, which passes gy on where y is not below or at 0.
    """
    gy, hat = _parts(gy, x.shape[1]), _standardised(_parts(x, x.shape[1]), mean, var, eps)
    if relu_bias is not None:
        gy = namespace(x).where(hat * weight[:, None] + relu_bias[:, None] <= 0, 0, gy)
    h = gy * weight[:, None]
    gx = (h if fixed else _centred(h, hat, (0, 2))) * _reciprocal_std(var, eps)
    return gx.astype(x.dtype).reshape(x.shape), (gy * hat).sum((0, 2)), gy.sum((0, 2))


@np.errstate(all="ignore")
def move_statistics(running_mean, running_var, mean, var, momentum, count):
    """Running statistics (C,) move towards those of a batch, in place: running = (1 - momentum) running + momentum batch. The
    batch's variance, of ``count`` elements, is divided by count - 1 for it.
    """
    for running, batch in ((running_mean, mean), (running_var, var * (count / (count - 1)))):
        running[...] = (1 - momentum) * running + momentum * batch


@np.errstate(all="ignore")
def group_norm(x, groups, weight, bias, eps):
    """y, and the mean and var (N, groups) of each image over groups of C / groups neighbouring channels.

    Layer normalisation of vectors (R, D) is the case of one group.
    """
    rows = _parts(x, groups)
    mean, var = _statistics(rows, (2,))
    hat = _standardised(rows, mean, var, eps)
    y = _parts(hat.reshape(x.shape), x.shape[1]) * weight[:, None] + bias[:, None]
    return y.astype(x.dtype).reshape(x.shape), mean, var


@np.errstate(all="ignore")
def group_norm_grad(gy, x, groups, weight, eps, mean, var):
    """gx, gweight and gbias of ``group_norm``."""
    gy, hat = _parts(gy, x.shape[1]), _standardised(_parts(x, groups), mean, var, eps)
    h = gy * weight[:, None]
    gx = _centred(h.reshape(hat.shape), hat, (2,)) * _reciprocal_std(var, eps)
    return gx.astype(x.dtype).reshape(x.shape), (gy * hat.reshape(gy.shape)).sum((0, 2)), gy.sum((0, 2))


def _parts(x, parts):
    """x as (N, parts, elements of a part) in float64."""
    return x.astype(np.float64).reshape(len(x), parts, math.prod(x.shape[1:]) // max(parts, 1))


def _statistics(x, axes):
    """Mean and biased variance over axes, in two passes."""
    mean = _average(x, axes)
    return mean.squeeze(axes), _average((x - mean) ** 2, axes).squeeze(axes)


def _average(x, axes):
    return x.sum(axes, keepdims=True) / math.prod(x.shape[axis] for axis in axes)


def _standardised(x, mean, var, eps):
    return (x - mean[..., None]) * _reciprocal_std(var, eps)


def _reciprocal_std(var, eps):
    return (var.astype(np.float64) + eps)[..., None] ** -0.5


def _centred(h, hat, axes):
    """h without its components along 1 and x^, which standardisation removes."""
    return h - _average(h, axes) - hat * _average(h * hat, axes)
