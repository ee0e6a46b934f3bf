"""Adam and AdamW."""

from minidl.errors import UsageError
from minidl.kernels import kernel
from minidl.optim.optimizer import Optimizer, check_not_negative, zero_state


class Adam(Optimizer):
    """Steps by the running mean of gradients over the root of the running mean of their squares.

    Source: Kingma and Ba 2015, algorithm 1. ``eps`` is added outside the root, after bias correction. ``amsgrad``: Reddi et
    al. 2018. ``weight_decay`` is added to the gradient; AdamW takes it off the parameter instead. Raises UsageError for
    negative options and for betas outside [0, 1).

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * p).backward()
    >>> Adam([p], lr=0.1).step(); p
    tensor([0.9], requires_grad=True)
    """

    decoupled = False

    def __init__(self, params, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False, *, maximize=False):
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay, "amsgrad": amsgrad,
                                  "maximize": maximize})

    def check(self, group):
        check_not_negative(group, "lr", "eps", "weight_decay")
        betas = group["betas"]
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UsageError(f"betas must be two numbers in [0, 1), got {betas}")

    def initial_state(self, p, group):
        state = {"step": 0, "exp_avg": zero_state(p), "exp_avg_sq": zero_state(p)}
        return state | {"max_exp_avg_sq": zero_state(p)} if group["amsgrad"] else state

    def update_alike(self, params, grads, states, group):
        arrays = [(p, g, state["exp_avg"], state["exp_avg_sq"], state["max_exp_avg_sq"] if group["amsgrad"] else None)
                  for p, g, state in zip(params, grads, states, strict=True)]

        def numbers():
            for state in states:
                state["step"] += 1
            return (group["lr"], *group["betas"], group["eps"], group["weight_decay"], self.decoupled, group["maximize"],
                    states[0]["step"])

        kernel("update_each", params[0])("adam_update", arrays, numbers, self.found_inf)


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
