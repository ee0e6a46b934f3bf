"""Adam and AdamW."""

from minidl.kernels import kernel
from minidl.optim.optimizer import Optimizer, check_range, zeros_like


class Adam(Optimizer):
    """Steps by the running mean of gradients over the root of the running mean of their squares.

    Source: Kingma and Ba 2015, algorithm 1. ``eps`` is added outside the root, after bias correction. ``amsgrad``: Reddi et
    al. 2018. ``weight_decay`` is added to the gradient; AdamW takes it off the parameter instead.

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * p).backward()
    >>> Adam([p], lr=0.1).step(); p
    tensor([0.9], requires_grad=True)
    """

    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, *, maximize=False):
        check_range("lr", lr)
        check_range("eps", eps)
        check_range("betas[0]", betas[0], high=1.0)
        check_range("betas[1]", betas[1], high=1.0)
        check_range("weight_decay", weight_decay)
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                                  "maximize": maximize})

    def update(self, p, g, group, state):
        if not state:
            state.update(step=0, exp_avg=zeros_like(p), exp_avg_sq=zeros_like(p))
            if group["amsgrad"]:
                state["max_exp_avg_sq"] = zeros_like(p)
        state["step"] += 1
        beta1, beta2 = group["betas"]
        kernel("adam_update", p)(p, -g if group["maximize"] else g, state["exp_avg"], state["exp_avg_sq"],
                                 state.get("max_exp_avg_sq"), group["lr"], beta1, beta2, group["eps"], group["weight_decay"],
                                 self.decoupled, state["step"])


class AdamW(Adam):
    """Adam with decoupled weight decay: p *= 1 - lr weight_decay before each step (0.01 by default).

    Source: Loshchilov and Hutter 2019, algorithm 2.

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * 0).backward()
    >>> AdamW([p], lr=0.1, weight_decay=0.1).step(); p
    tensor([0.99], requires_grad=True)
    """

    decoupled = True

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.01, amsgrad=False, *, maximize=False):
        super().__init__(params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize)
