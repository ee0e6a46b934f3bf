"""Optimizer updates: one parameter, its gradient and its state in; parameter and state changed in place.

All follow PyTorch's arithmetic step by step. ``p``, ``g`` and the state arrays have one shape and dtype, except that
half-precision parameters have theirs in float32 and are computed in it, where squares of gradients neither overflow nor vanish.
``g`` is not changed; with ``maximize`` it is taken with the other sign.
"""

from minidl.kernels import kernel, namespace
from minidl.kernels.half import widened


def update_each(rule, arrays, numbers, found_inf=None):
    """Kernel ``rule`` for parameters of one dtype and device that share the arguments after their arrays: ``numbers()``.

    ``arrays`` has a tuple for each parameter: p, g and its states. On the GPU this is one launch. A recorded step
    (``minidl.capture``) calls ``numbers`` at each replay, and not while it is being recorded. Nothing changes if ``found_inf``, a
    0-d float32 array, is not 0: gradients that overflowed (``minidl.amp.GradScaler``).
    """
    update, values = kernel(rule, arrays[0][0]), numbers()
    if found_inf is None or not found_inf:
        for each in arrays:
            update(*each, *values)


def sgd_update(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    """g += weight_decay p;  buffer = momentum buffer + (1 - dampening) g (g itself at the ``first`` step);
    p -= lr (g + momentum buffer if nesterov else buffer). Without momentum ``buffer`` is None: p -= lr g.

    Source: Sutskever et al. 2013.
    """
    value, g = _widened(p, g, maximize)
    g = _decayed(g, value, weight_decay)
    if buffer is not None:
        buffer[...] = g if first else momentum * buffer + (1 - dampening) * g
        g = g + momentum * buffer if nesterov else buffer
    p[...] = value - lr * g


def adam_update(p, g, mean, square, largest, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step):
    """mean += (1 - beta1) (g - mean);  square = beta2 square + (1 - beta2) g²;
    p -= lr / (1 - beta1^t) mean / (sqrt(square / (1 - beta2^t)) + eps).

    Weight decay is added to g, or with ``decoupled`` taken off p first (AdamW). With ``largest`` (amsgrad) the largest square
    so far takes the place of square. Sources: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019; Reddi et al. 2018.
    """
    value, g = _widened(p, g, maximize)
    if decoupled:
        value = value * (1 - lr * weight_decay)
    else:
        g = _decayed(g, value, weight_decay)
    mean += (1 - beta1) * (g - mean)
    square *= beta2
    square += (1 - beta2) * g * g
    xp = namespace(p)
    if largest is not None:
        xp.maximum(largest, square, out=largest)
        square = largest
    denominator = xp.sqrt(square) / (1 - beta2**step) ** 0.5 + eps
    p[...] = value - lr / (1 - beta1**step) * mean / denominator


def rmsprop_update(p, g, square, mean, buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    """square = alpha square + (1 - alpha) g²;  buffer = momentum buffer + g / (sqrt(square) + eps);  p -= lr buffer.

    With ``mean`` (centered) its square is taken off first; without ``buffer``: p -= lr g / (sqrt(square) + eps).
    Sources: Tieleman and Hinton 2012, lecture 6.5; centered: Graves 2013, eq. 38-45.
    """
    value, g = _widened(p, g, maximize)
    g = _decayed(g, value, weight_decay)
    square *= alpha
    square += (1 - alpha) * g * g
    variance = square
    if mean is not None:
        mean += (1 - alpha) * (g - mean)
        variance = square - mean * mean
    change = g / (namespace(p).sqrt(variance) + eps)
    if buffer is not None:
        buffer *= momentum
        buffer += change
        change = buffer
    p[...] = value - lr * change


def adadelta_update(p, g, square, delta, lr, rho, eps, weight_decay, maximize):
    """square = rho square + (1 - rho) g²;  change = sqrt((delta + eps) / (square + eps)) g;
    delta = rho delta + (1 - rho) change²;  p -= lr change.

    Source: Zeiler 2012, algorithm 1.
    """
    value, g = _widened(p, g, maximize)
    g = _decayed(g, value, weight_decay)
    xp = namespace(p)
    square *= rho
    square += (1 - rho) * g * g
    change = xp.sqrt(delta + eps) / xp.sqrt(square + eps) * g
    delta *= rho
    delta += (1 - rho) * change * change
    p[...] = value - lr * change


def _widened(p, g, maximize):
    """Parameter and descent direction in the dtype that the arithmetic is done in."""
    g = widened(g)
    return widened(p), -g if maximize else g


def _decayed(g, p, weight_decay):
    return g + weight_decay * p if weight_decay else g
