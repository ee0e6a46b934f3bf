"""Stochastic gradient descent."""

from minidl.errors import UsageError
from minidl.kernels import kernel
from minidl.optim.optimizer import Optimizer, check_range, zeros_like


class SGD(Optimizer):
    """p -= lr v with v = momentum v + (1 - dampening) (g + weight_decay p); Nesterov: p -= lr (g + momentum v).

    Source: Sutskever et al. 2013, in PyTorch's form, where the learning rate multiplies the velocity.

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * p).backward()
    >>> SGD([p], lr=0.1).step(); p
    tensor([0.8], requires_grad=True)
    """

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, maximize=False):
        check_range("lr", lr)
        check_range("momentum", momentum)
        check_range("weight_decay", weight_decay)
        if nesterov and (momentum <= 0 or dampening):
            raise UsageError("nesterov needs a momentum above 0 and a dampening of 0")
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize})

    def update(self, p, g, group, state):
        buffer, first = state.get("momentum_buffer"), False
        if group["momentum"] and buffer is None:
            buffer = state["momentum_buffer"] = zeros_like(p)
            first = True
        kernel("sgd_update", p)(p, -g if group["maximize"] else g, buffer, group["lr"], group["momentum"],
                                group["dampening"], group["weight_decay"], group["nesterov"], first)
