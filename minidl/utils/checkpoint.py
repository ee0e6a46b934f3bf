"""Gradient checkpointing: part of a network keeps only its inputs, and runs again when its gradient is needed.

Source: Chen, Xu, Zhang and Guestrin, "Training deep nets with sublinear memory cost" (2016).
"""

from collections.abc import Callable

from minidl import random
from minidl.errors import GraphError
from minidl.op import Op
from minidl.tape import enable_grad, gradients, no_grad
from minidl.tensor import Tensor, mode, wrap


class Checkpoint(Op):
    """y = function(x, ...), whose ops are forgotten after forward and run once more in backward."""

    def __init__(self, function: Callable, preserve_rng_state: bool, count: int):
        self.function, self.preserve, self.count = function, preserve_rng_state, count

    def forward(self, *arrays):
        self.state, self.autocast = random.get_rng_state() if self.preserve else None, mode.autocast
        self.save(*arrays[: self.count])
        with no_grad():
            outputs = self.function(*map(wrap, arrays[: self.count]))
        self.single = isinstance(outputs, Tensor)
        return outputs.array if self.single else tuple(y.array for y in outputs)

    def backward(self, *gys):
        if mode.recording:
            raise GraphError("a checkpointed part cannot be differentiated twice: leave the checkpoint out for create_graph=True")
        now, mode.autocast = random.get_rng_state(), self.autocast
        if self.state is not None:
            random.set_rng_state(self.state)
        try:
            with enable_grad():
                xs = [wrap(x.array) for x in self.saved]
                for x, need in zip(xs, self.needs, strict=False):
                    x.requires_grad = need
                outputs = self.function(*xs)
        finally:
            random.set_rng_state(now)
            mode.autocast = None  # as everywhere in a backward pass
        outputs = [outputs] if self.single else outputs
        pairs = [(y, gy) for y, gy in zip(outputs, gys, strict=True) if y.tracked and gy is not None]
        parameters = [edge[0] for edge in self.edges[self.count :] if edge is not None]
        wanted = [x for x in xs if x.tracked] + parameters
        found = iter(gradients([y for y, _ in pairs], wanted, [gy for _, gy in pairs]))
        return tuple(next(found) if need else None for need in self.needs)


def checkpoint(function: Callable, *inputs: Tensor, use_reentrant: bool = False, preserve_rng_state: bool = True):
    """``function(*inputs)``, keeping none of what its ops save: memory for time, one more forward pass in backward.

    ``function`` is a module, or any function of tensors that finds its parameters in modules it is a method of; it must give
    the same again, for which the random state is put back as it was unless ``preserve_rng_state`` is False. Gradients reach the
    inputs and, of a module, its parameters. ``use_reentrant`` is there for PyTorch's sake.

    Raises GraphError in a backward pass with ``create_graph=True``.

    >>> import minidl
    >>> from minidl import nn
    >>> block = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 4))
    >>> x = minidl.ones(2, 4, requires_grad=True)
    >>> checkpoint(block, x).sum().backward()
    >>> x.grad.shape, block[0].weight.grad.shape
    ((2, 4), (8, 4))
    """
    owner = function if hasattr(function, "parameters") else getattr(function, "__self__", None)
    parameters = list(dict.fromkeys(p for p in owner.parameters() if p.tracked)) if hasattr(owner, "parameters") else []
    return Checkpoint(function, preserve_rng_state, len(inputs))(*inputs, *parameters)


def checkpoint_sequential(functions, segments: int, input: Tensor) -> Tensor:
    """The modules of a Sequential in ``segments`` parts, each of them (but the last) checkpointed.

    Raises ValueError unless 1 <= segments <= the number of modules.

    >>> import minidl
    >>> from minidl import nn
    >>> checkpoint_sequential(nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1)), 2, minidl.ones(5, 2)).shape
    (5, 1)
    """
    from minidl.nn import Sequential

    modules = list(functions)
    if not 1 <= segments <= len(modules):
        raise ValueError(f"segments must be from 1 to the number of modules, {len(modules)}, got {segments}")
    size = len(modules) // segments
    for start in range(0, size * (segments - 1), size):
        input = checkpoint(Sequential(*modules[start : start + size]), input)
    return Sequential(*modules[size * (segments - 1) :])(input)
