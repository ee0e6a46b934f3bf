"""RMSprop."""

from minidl.kernels import kernel
from minidl.optim.optimizer import Optimizer, check_not_negative, zero_state


class RMSprop(Optimizer):
    """Steps by the gradient over the root of the running mean of its square.

    Source: Tieleman and Hinton 2012, lecture 6.5; ``centered``: Graves 2013, eq. 38-45. Raises UsageError for negative
    options.

    >>> import minidl
    >>> p = minidl.tensor([1.0], requires_grad=True)
    >>> (p * p).backward()
    >>> RMSprop([p], lr=0.01).step(); p
    tensor([0.9], requires_grad=True)
    """

    def __init__(self, params, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False, *,
                 maximize=False):
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay, "momentum": momentum,
                                  "centered": centered, "maximize": maximize})

    def check(self, group):
        check_not_negative(group, "lr", "alpha", "eps", "weight_decay", "momentum")

    def initial_state(self, p, group):
        wanted = {"square_avg": True, "grad_avg": group["centered"], "momentum_buffer": group["momentum"]}
        return {name: zero_state(p) for name, want in wanted.items() if want}

    def update_alike(self, params, grads, states, group):
        arrays = [(p, g, state["square_avg"], state["grad_avg"] if group["centered"] else None,
                   state["momentum_buffer"] if group["momentum"] else None)
                  for p, g, state in zip(params, grads, states, strict=True)]

        def numbers():
            return group["lr"], group["alpha"], group["eps"], group["weight_decay"], group["momentum"], group["maximize"]

        kernel("update_each", params[0])("rmsprop_update", arrays, numbers, self.found_inf)
