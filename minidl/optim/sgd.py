"""Stochastic gradient descent."""

from minidl.errors import UsageError
from minidl.kernels import kernel
from minidl.optim.optimizer import Optimizer, check_not_negative, zero_state


class SGD(Optimizer):
    """p -= lr v with v = momentum v + (1 - dampening) (g + weight_decay p); Nesterov: p -= lr (g + momentum v).

    Source: Sutskever et al. 2013, in PyTorch's form, where the learning rate multiplies the velocity. Raises UsageError for
    negative options, and for ``nesterov`` without momentum or with dampening.

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * p).backward()
    >>> SGD([p], lr=0.1).step(); p
    tensor([0.8], requires_grad=True)
    """

    def __init__(self, params, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, maximize=False):
        super().__init__(params, {"lr": lr, "momentum": momentum, "dampening": dampening, "weight_decay": weight_decay,
                                  "nesterov": nesterov, "maximize": maximize})

    def check(self, group):
        check_not_negative(group, "lr", "momentum", "weight_decay")
        if group["nesterov"] and (not group["momentum"] or group["dampening"]):
            raise UsageError("nesterov needs a momentum above 0 and a dampening of 0")

    def update_alike(self, params, grads, states, group):
        first = bool(group["momentum"]) and "momentum_buffer" not in states[0]  # also where momentum was set after some steps
        if first:
            for p, state in zip(params, states, strict=True):
                state["momentum_buffer"] = zero_state(p)
        buffers = [state["momentum_buffer"] if group["momentum"] else None for state in states]

        def numbers():
            return (group["lr"], group["momentum"], group["dampening"], group["weight_decay"], group["nesterov"],
                    group["maximize"], first)

        kernel("update_each", params[0])("sgd_update", list(zip(params, grads, buffers, strict=True)), numbers, self.found_inf)
