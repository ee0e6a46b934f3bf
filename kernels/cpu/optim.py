"""Optimizer updates in one pass over memory. Formulas and sources: the portable kernels.

Numbers travel in one array of the parameter's dtype, so that float32 arithmetic stays float32. A state that an option does
without is passed as the parameter itself and not touched.
"""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit
from minidl.kernels.cpu.threads import split
from minidl.kernels.portable import optim as portable


def _update(kernel, p, arrays, numbers, flags) -> bool:
    """Run over flat views; False if some array has no flat view, and the portable kernel must do it."""
    arrays = [p if a is None else a for a in arrays]
    if not all(a.flags.c_contiguous and a.flags.writeable for a in (p, *arrays)):
        return False
    flat = [a.reshape(-1) for a in (p, *arrays)]
    split(kernel, p.size, 4 * p.size, *flat, np.array(numbers, p.dtype), *flags)
    return True


def sgd_update(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov, first):
    """As the portable kernel."""
    numbers, flags = (lr, momentum, 1 - dampening, weight_decay), (buffer is not None, nesterov, first)
    if not _update(_sgd, p, (g, buffer), numbers, flags):
        portable.sgd_update(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov, first)


@jit
def _sgd(start, stop, p, g, buffer, numbers, has_buffer, nesterov, first):
    lr, momentum, keep, decay = numbers[0], numbers[1], numbers[2], numbers[3]
    if not has_buffer:
        for i in range(start, stop):
            p[i] -= lr * (g[i] + decay * p[i])
    elif first:
        for i in range(start, stop):
            change = g[i] + decay * p[i]
            buffer[i] = change
            p[i] -= lr * (change + momentum * change if nesterov else change)
    else:
        for i in range(start, stop):
            change = g[i] + decay * p[i]
            moved = momentum * buffer[i] + keep * change
            buffer[i] = moved
            p[i] -= lr * (change + momentum * moved if nesterov else moved)


def adam_update(p, g, mean, square, largest, lr, beta1, beta2, eps, weight_decay, decoupled, step):
    """As the portable kernel."""
    shrink = 1 - lr * weight_decay if decoupled else 1.0
    numbers = (lr / (1 - beta1**step), 1 - beta1, beta2, 1 - beta2, 1 / math.sqrt(1 - beta2**step), eps,
               0.0 if decoupled else weight_decay, shrink)
    if not _update(_adam, p, (g, mean, square, largest), numbers, (largest is not None,)):
        portable.adam_update(p, g, mean, square, largest, lr, beta1, beta2, eps, weight_decay, decoupled, step)


@jit
def _adam(start, stop, p, g, mean, square, largest, numbers, amsgrad):
    lr, new1, beta2, new2, correction, eps = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    decay, shrink = numbers[6], numbers[7]
    for i in range(start, stop):
        value = p[i] * shrink
        change = g[i] + decay * value
        m = mean[i] + new1 * (change - mean[i])
        v = beta2 * square[i] + new2 * change * change
        mean[i] = m
        square[i] = v
        if amsgrad:
            v = max(largest[i], v)
            largest[i] = v
        p[i] = value - lr * m / (np.sqrt(v) * correction + eps)


def rmsprop_update(p, g, square, mean, buffer, lr, alpha, eps, weight_decay, momentum):
    """As the portable kernel."""
    numbers, flags = (lr, alpha, 1 - alpha, eps, weight_decay, momentum), (mean is not None, buffer is not None)
    if not _update(_rmsprop, p, (g, square, mean, buffer), numbers, flags):
        portable.rmsprop_update(p, g, square, mean, buffer, lr, alpha, eps, weight_decay, momentum)


@jit
def _rmsprop(start, stop, p, g, square, mean, buffer, numbers, centered, has_buffer):
    lr, alpha, new, eps, decay, momentum = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5]
    for i in range(start, stop):
        change = g[i] + decay * p[i]
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


def adadelta_update(p, g, square, delta, lr, rho, eps, weight_decay):
    """As the portable kernel."""
    if not _update(_adadelta, p, (g, square, delta), (lr, rho, 1 - rho, eps, weight_decay), ()):
        portable.adadelta_update(p, g, square, delta, lr, rho, eps, weight_decay)


@jit
def _adadelta(start, stop, p, g, square, delta, numbers):
    lr, rho, new, eps, decay = numbers[0], numbers[1], numbers[2], numbers[3], numbers[4]
    for i in range(start, stop):
        change = g[i] + decay * p[i]
        v = rho * square[i] + new * change * change
        square[i] = v
        change *= np.sqrt(delta[i] + eps) / np.sqrt(v + eps)
        delta[i] = rho * delta[i] + new * change * change
        p[i] -= lr * change
