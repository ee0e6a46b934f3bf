"""Optimizer updates in one pass over memory. Formulas and sources: the portable kernels.

Numbers travel in one array of the parameter's dtype, so that float32 arithmetic stays float32. A state that an option does
without is passed as the parameter itself and not touched.
"""

import functools
import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split
from minidl.kernels.portable.optim import update_each as update_each  # a parameter at a time: each is split among all threads


def _update(kernel, p, g, states, numbers, *flags) -> None:
    """Run over flat views. States were made contiguous; a parameter of another layout is copied and written back.

    An element costs a fraction of an operation: the loops are vector code.
    """
    value, descent = ready(p, g)
    flat = [(value if array is None else array).ravel() for array in (value, descent, *states)]
    split(kernel, p.size, p.size // 4, *flat, _numbers(p.dtype, *numbers), *flags)
    if value is not p:
        p[...] = value


@functools.lru_cache(maxsize=64)
def _numbers(dtype, *values):
    """As an array, made once: a step uses the same few numbers for every parameter."""
    return np.array(values, dtype)


def sgd_update(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    """As the portable kernel."""
    numbers = (lr, momentum, 1 - dampening, weight_decay, -1 if maximize else 1)
    _update(_sgd, p, g, (buffer,), numbers, buffer is not None, nesterov, first)


# Slices of the parts, counted from 0: with indices that might be negative the loops would not become vector code.


@jit
def _sgd(start, stop, p, g, buffer, numbers, has_buffer, nesterov, first):
    lr, momentum, new, decay, sign = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    p, g, buffer = p[start:stop], g[start:stop], buffer[start:stop]
    for i in range(p.size):
        change = sign * g[i] + decay * p[i]
        if has_buffer:
            moved = change if first else momentum * buffer[i] + new * change
            buffer[i] = moved
            change = change + momentum * moved if nesterov else moved
        p[i] -= lr * change


def adam_update(p, g, mean, square, largest, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step):
    """As the portable kernel."""
    shrink, decay = (1 - lr * weight_decay, 0) if decoupled else (1, weight_decay)
    numbers = (lr / (1 - beta1**step), 1 - beta1, beta2, 1 - beta2, 1 / math.sqrt(1 - beta2**step), eps, decay, shrink,
               -1 if maximize else 1)
    _update(_adam, p, g, (mean, square, largest), numbers, largest is not None)


@jit
def _adam(start, stop, p, g, mean, square, largest, numbers, amsgrad):
    lr, new1, beta2, new2, correction, eps = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    decay, shrink, sign = numbers[6], numbers[7], numbers[8]
    p, g, mean = p[start:stop], g[start:stop], mean[start:stop]
    square, largest = square[start:stop], largest[start:stop]
    for i in range(p.size):
        value = shrink * p[i]
        change = sign * g[i] + decay * value
        m = mean[i] + new1 * (change - mean[i])
        v = beta2 * square[i] + new2 * change * change
        mean[i] = m
        square[i] = v
        if amsgrad:
            v = np.maximum(largest[i], v)
            largest[i] = v
        p[i] = value - lr * m / (np.sqrt(v) * correction + eps)


def rmsprop_update(p, g, square, mean, buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    """As the portable kernel."""
    numbers = (lr, alpha, 1 - alpha, eps, weight_decay, momentum, -1 if maximize else 1)
    _update(_rmsprop, p, g, (square, mean, buffer), numbers, mean is not None, buffer is not None)


@jit
def _rmsprop(start, stop, p, g, square, mean, buffer, numbers, centered, has_buffer):
    lr, alpha, new, eps, decay, momentum = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    sign = numbers[6]
    p, g, square = p[start:stop], g[start:stop], square[start:stop]
    mean, buffer = mean[start:stop], buffer[start:stop]
    for i in range(p.size):
        change = sign * g[i] + decay * p[i]
        v = alpha * square[i] + new * change * change
        square[i] = v
        if centered:
            m = mean[i] + new * (change - mean[i])
            mean[i] = m
            v -= m * m
        change /= np.sqrt(v) + eps
        if has_buffer:
            change += momentum * buffer[i]
            buffer[i] = change
        p[i] -= lr * change


def adadelta_update(p, g, square, delta, lr, rho, eps, weight_decay, maximize):
    """As the portable kernel."""
    numbers = (lr, rho, 1 - rho, eps, weight_decay, -1 if maximize else 1)
    _update(_adadelta, p, g, (square, delta), numbers)


@jit
def _adadelta(start, stop, p, g, square, delta, numbers):
    lr, rho, new, eps, decay, sign = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    p, g, square, delta = p[start:stop], g[start:stop], square[start:stop], delta[start:stop]
    for i in range(p.size):
        change = sign * g[i] + decay * p[i]
        v = rho * square[i] + new * change * change
        square[i] = v
        change *= np.sqrt(delta[i] + eps) / np.sqrt(v + eps)
        delta[i] = rho * delta[i] + new * change * change
        p[i] -= lr * change
