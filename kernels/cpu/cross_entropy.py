"""Cross-entropy against class indices, compiled: a block of rows at a time."""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.exp import exp
from minidl.kernels.cpu.softmax import block, exponentials, total
from minidl.kernels.cpu.threads import split

UNIT = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}  # stands for weights that are all 1


def cross_entropy(x, target, weight, ignore_index, smoothing):
    """As the portable kernel."""
    x, target, weight = ready(x, target, UNIT[x.dtype] if weight is None else weight)
    loss, log_total = np.empty(len(x), x.dtype), np.empty(len(x))
    if x.size:
        split(_loss, len(x), 10 * x.size, x, target, weight, ignore_index, float(smoothing), loss, log_total)
    return loss, log_total


def cross_entropy_grad(gy, x, log_total, target, weight, ignore_index, smoothing):
    """As the portable kernel."""
    gy, x, target, weight = ready(np.broadcast_to(gy, len(x)), x, target, UNIT[x.dtype] if weight is None else weight)
    gx = np.empty_like(x)
    if x.size:
        split(_grad, len(x), 10 * x.size, gy, x, log_total, target, weight, ignore_index, float(smoothing), gx)
    return gx


@jit
def _loss(start, stop, x, target, weight, ignore_index, smoothing, loss, log_total):
    classes, rows = x.shape[1], block(x.shape[1])
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        e = np.empty((last - first, classes), x.dtype)
        top = exponentials(x[first:last], e)
        for row in range(first, last):
            log_total[row] = np.float64(top[row - first]) + math.log(total(e[row - first]))
            t = target[row]
            if t == ignore_index:
                loss[row] = 0
                continue
            nll = log_total[row] - x[row, t]
            value = (1 - smoothing) * (nll * weight[t] if weight.size else nll)
            if smoothing > 0:
                mean = 0.0
                for k in range(classes):
                    nll = log_total[row] - x[row, k]
                    mean += nll * weight[k] if weight.size else nll
                value += smoothing / classes * mean
            loss[row] = value


@jit
def _grad(start, stop, gy, x, log_total, target, weight, ignore_index, smoothing, gx):
    classes, rows = x.shape[1], block(x.shape[1])
    weights = total(weight) if weight.size else np.float64(classes)
    for first in range(start, stop, rows):
        last = min(first + rows, stop)
        for row in range(first, last):
            for k in range(classes):
                gx[row, k] = x[row, k] - log_total[row]
        flat = gx[first:last].reshape(-1)
        for i in range(flat.size):
            flat[i] = exp(flat[i])
        for row in range(first, last):
            t = target[row]
            if t == ignore_index:
                gx[row] = 0
                continue
            hit = gy[row] * (1 - smoothing) * (weight[t] if weight.size else 1.0)
            spread = gy[row] * smoothing / classes
            for k in range(classes):
                gx[row, k] = (hit + spread * weights) * gx[row, k] - spread * (weight[k] if weight.size else 1.0)
            gx[row, t] -= hit
