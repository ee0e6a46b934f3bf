"""Adadelta."""

from minidl.kernels import kernel
from minidl.optim.optimizer import Optimizer, check_range, zeros_like


class Adadelta(Optimizer):
    """Steps by the gradient times the ratio of the running roots of past steps and past gradients.

    Source: Zeiler 2012, algorithm 1; ``lr`` scales the step and is 1 in the paper.

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * p).backward()
    >>> Adadelta([p]).step(); f"{p.item():.4f}"
    '0.9968'
    """

    def __init__(self, params, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0, *, maximize=False):
        check_range("lr", lr)
        check_range("rho", rho, high=1.0 + 1e-12)
        check_range("eps", eps)
        check_range("weight_decay", weight_decay)
        super().__init__(params, {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize})

    def update(self, p, g, group, state):
        if not state:
            state.update(square_avg=zeros_like(p), acc_delta=zeros_like(p))
        kernel("adadelta_update", p)(p, -g if group["maximize"] else g, state["square_avg"], state["acc_delta"], group["lr"],
                                     group["rho"], group["eps"], group["weight_decay"])
