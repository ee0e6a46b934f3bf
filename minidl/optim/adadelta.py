"""Adadelta."""

from minidl.errors import UsageError
from minidl.kernels import kernel
from minidl.optim.optimizer import Optimizer, check_not_negative, zero_state


class Adadelta(Optimizer):
    """Steps by the gradient times the ratio of the running roots of past steps and past gradients.

    Source: Zeiler 2012, algorithm 1; ``lr`` scales the step and is 1 in the paper. Raises UsageError for negative options
    and for ``rho`` above 1.

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * p).backward()
    >>> Adadelta([p]).step(); f"{p.item():.4f}"
    '0.9968'
    """

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, *, maximize=False):
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def check(self, group):
        check_not_negative(group, "lr", "rho", "eps", "weight_decay")
        if group["rho"] > 1:
            raise UsageError(f"rho must be at most 1, got {group['rho']}")

    def initial_state(self, p, group):
        return {"square_avg": zero_state(p), "acc_delta": zero_state(p)}

    def update_alike(self, params, grads, states, group):
        arrays = [(p, g, state["square_avg"], state["acc_delta"]) for p, g, state in zip(params, grads, states, strict=True)]

        def numbers():
            return group["lr"], group["rho"], group["eps"], group["weight_decay"], group["maximize"]

        kernel("update_each", params[0])("adadelta_update", arrays, numbers, self.found_inf)
