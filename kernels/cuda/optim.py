"""Optimizer updates on the GPU: see optim.cu."""

from minidl.kernels.cuda.launch import launch, ready


def sgd_update(p, g, buffer, lr, momentum, dampening, weight_decay, nesterov, maximize, first):
    """As the portable kernel."""
    _update("sgd_update", p, g, (buffer,), (lr, momentum, dampening, weight_decay), nesterov, maximize, first)


def adam_update(p, g, mean, square, largest, lr, beta1, beta2, eps, weight_decay, decoupled, maximize, step):
    """As the portable kernel."""
    _update("adam_update", p, g, (mean, square, largest), (lr, beta1, beta2, eps, weight_decay), decoupled, maximize, step)


def rmsprop_update(p, g, square, mean, buffer, lr, alpha, eps, weight_decay, momentum, maximize):
    """As the portable kernel."""
    _update("rmsprop_update", p, g, (square, mean, buffer), (lr, alpha, eps, weight_decay, momentum), maximize)


def adadelta_update(p, g, square, delta, lr, rho, eps, weight_decay, maximize):
    """As the portable kernel."""
    _update("adadelta_update", p, g, (square, delta), (lr, rho, eps, weight_decay), maximize)


def _update(name, p, g, states, numbers, *flags):
    """States are contiguous; a parameter of another layout is copied and written back."""
    value = ready(p)
    launch(f"optim.{name}", p.size, value, ready(g), *states, *map(float, numbers), *flags, dtype=p.dtype)
    if value is not p:
        p[...] = value
