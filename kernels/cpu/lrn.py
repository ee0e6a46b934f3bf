"""Local response normalisation, compiled: blocks of positions, all channels of which stay in the cache."""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split

BLOCK = 512  # positions


def local_response_norm(x, size, alpha, beta, k):
    """As the portable kernel."""
    planes, y = _planes(x), np.empty(x.shape, x.dtype)
    split(_forward, _blocks(planes), 20 * x.size, planes, size, float(alpha), float(beta), float(k), _planes(y))
    return y


def local_response_norm_grad(gy, x, size, alpha, beta, k):
    """As the portable kernel."""
    planes, gx = _planes(x), np.empty(x.shape, x.dtype)
    split(_backward, _blocks(planes), 30 * x.size, _planes(gy), planes, size, float(alpha), float(beta), float(k), _planes(gx))
    return gx


def _planes(x):
    return ready(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _blocks(planes):
    return planes.shape[0] * -(-planes.shape[2] // BLOCK)


@jit
def _forward(start, stop, x, size, alpha, beta, k, y):
    base, power = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    blocks = -(-x.shape[2] // BLOCK)
    for item in range(start, stop):
        n, first, last = item // blocks, item % blocks * BLOCK, min(item % blocks * BLOCK + BLOCK, x.shape[2])
        for c in range(x.shape[1]):
            powers(x[n], c, first, last, size, alpha, beta, k, base, power)
            row, out = x[n, c, first:last], y[n, c, first:last]
            for i in range(row.size):
                out[i] = row[i] * power[i]


@jit
def _backward(start, stop, gy, x, size, alpha, beta, k, gx):
    channels, factor = x.shape[1], x.dtype.type(2 * alpha * beta / size)
    base, power, spread = np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype), np.empty(BLOCK, x.dtype)
    t = np.empty((channels, BLOCK), x.dtype)
    blocks = -(-x.shape[2] // BLOCK)
    for item in range(start, stop):
        n, first, last = item // blocks, item % blocks * BLOCK, min(item % blocks * BLOCK + BLOCK, x.shape[2])
        for c in range(channels):
            powers(x[n], c, first, last, size, alpha, beta, k, base, power)
            g, row, out, here = gy[n, c, first:last], x[n, c, first:last], gx[n, c, first:last], t[c]
            for i in range(row.size):
                out[i] = g[i] * power[i]
                here[i] = out[i] * row[i] / base[i]
        for c in range(channels):
            spread[:] = 0
            for j in range(max(0, c - (size - 1) // 2), min(channels, c + size // 2 + 1)):
                spread += t[j]
            row, out = x[n, c, first:last], gx[n, c, first:last]
            for i in range(row.size):
                out[i] -= factor * row[i] * spread[i]


@jit
def powers(x, c, first, last, size, alpha, beta, k, base, power):
    """At positions first to last of channel c of x (C, positions): base = k + (alpha / size) sum x², power = base^-beta."""
    one, scale = x.dtype.type(1), x.dtype.type(alpha / size)
    base[:] = k
    for j in range(max(0, c - size // 2), min(x.shape[0], c + (size - 1) // 2 + 1)):
        row = x[j, first:last]
        for i in range(row.size):
            base[i] += scale * row[i] * row[i]
    if beta == 0.75:  # everyone's choice; roots vectorise, powers don't
        for i in range(last - first):
            root = math.sqrt(one / base[i])
            power[i] = root * math.sqrt(root)
    else:
        for i in range(last - first):
            power[i] = base[i] ** -beta
