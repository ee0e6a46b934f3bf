"""Gradients and parameters of whole models."""

import math
from collections.abc import Iterable

from minidl.errors import GraphError, ShapeError
from minidl.ops.join import cat
from minidl.tape import no_grad
from minidl.tensor import Tensor, tensor, written


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False) -> Tensor:
    """Scale all gradients together so that their common norm is at most ``max_norm``; returns the norm before.

    As PyTorch: gradients are multiplied by max_norm / (norm + 1e-6) where that is below 1. A norm that is NaN or inf makes
    them NaN or 0, or raises GraphError with ``error_if_nonfinite``.

    >>> import minidl
    >>> x = minidl.tensor([3.0, 4.0], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> clip_grad_norm_([x], 1.0)
    tensor(5.)
    >>> x.grad
    tensor([0.6, 0.8])
    """
    gradients = _gradients(parameters)
    if not gradients:
        return tensor(0.0)
    with no_grad():
        norms = [g.norm(norm_type) for g in gradients]
        total = cat([n.reshape(1) for n in norms]).norm(norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise GraphError(f"the norm of the gradients is {total.item()}: some gradient is NaN or infinite")
        scale = max_norm / (total + 1e-6)
        for g in gradients:
            g.mul_(scale.clamp(max=1.0))
    return total


def clip_grad_value_(parameters, clip_value) -> None:
    """Clamp every element of every gradient to [-clip_value, clip_value]."""
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-clip_value, clip_value)


def _gradients(parameters) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened, in one vector."""
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the parts of a vector into the parameters, in order."""
    parameters, start = list(parameters), 0
    if sum(p.numel() for p in parameters) != vec.numel():
        raise ShapeError(f"the vector has {vec.numel()} elements, the parameters {sum(p.numel() for p in parameters)}")
    for p in parameters:
        p.array[...] = vec.array[start : start + p.numel()].reshape(p.shape)
        written(p.array)
        start += p.numel()
