"""Gradients and parameters of whole models."""

import contextlib
import math
from collections.abc import Iterable, Iterator

from minidl import random
from minidl.device import Device, get_default_device
from minidl.errors import GraphError, ShapeError
from minidl.ops.join import cat, stack
from minidl.tape import no_grad
from minidl.tensor import Tensor, tensor


def clip_grad_norm_(parameters, max_norm, norm_type=2.0, error_if_nonfinite=False) -> Tensor:
    """Scale all gradients together so that their common norm is at most ``max_norm``; returns the norm before.

    As PyTorch: gradients are multiplied by max_norm / (norm + 1e-6) where that is below 1. A norm that is NaN makes all
    gradients NaN, one that is inf makes finite ones 0 and infinite ones NaN; with ``error_if_nonfinite`` both raise
    GraphError instead and change nothing.

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
        total = stack([g.norm(norm_type) for g in gradients]).norm(norm_type)
        if error_if_nonfinite and not math.isfinite(total.item()):
            raise GraphError(f"the norm of the gradients is {total.item()}: some gradient is NaN or infinite")
        scale = (max_norm / (total + 1e-6)).clamp(max=1.0)
        for g in gradients:
            g.mul_(scale)
    return total


def clip_grad_value_(parameters, clip_value) -> None:
    """Clamp every element of every gradient to [-clip_value, clip_value].

    >>> import minidl
    >>> x = minidl.tensor([3.0, -0.5], requires_grad=True)
    >>> (x * x / 2).sum().backward()
    >>> clip_grad_value_(x, 1.0); x.grad
    tensor([ 1. , -0.5])
    """
    with no_grad():
        for g in _gradients(parameters):
            g.clamp_(-clip_value, clip_value)


def _gradients(parameters) -> list[Tensor]:
    parameters = [parameters] if isinstance(parameters, Tensor) else parameters
    return [p.grad for p in parameters if p.grad is not None]


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """All parameters, flattened, in one vector.

    >>> from minidl import nn
    >>> parameters_to_vector(nn.Linear(2, 3).parameters()).shape
    (9,)
    """
    return cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Write the parts of a vector into the parameters, in order. Raises ShapeError unless it has as many elements.

    >>> import minidl
    >>> x, y = minidl.zeros(1, requires_grad=True), minidl.zeros(1, 2, requires_grad=True)
    >>> vector_to_parameters(minidl.tensor([1.0, 2.0, 3.0]), [x, y]); y
    tensor([[2., 3.]], requires_grad=True)
    """
    parameters = list(parameters)
    expected = sum(p.numel() for p in parameters)
    if vec.shape != (expected,):
        raise ShapeError(f"the parameters need a vector of shape ({expected},), got {vec.shape}")
    with no_grad():
        for p, part in zip(parameters, vec.split([p.numel() for p in parameters]), strict=True):
            p.copy_(part.reshape(p.shape))


def device_of(model) -> Device:
    """Where a module is: the device of its first parameter; the default device for one without any.

    >>> from minidl import nn
    >>> device_of(nn.ReLU())
    Device(type='cpu', index=None)
    """
    first = next(model.parameters(), None)
    return get_default_device() if first is None else first.device


@contextlib.contextmanager
def preserved(model) -> Iterator[None]:
    """Whatever runs inside, the modes and buffers of ``model`` and the default generator are then what they were, bit for bit.

    >>> import minidl
    >>> norm = minidl.nn.BatchNorm1d(2)
    >>> with preserved(norm):
    ...     _ = norm(minidl.randn(4, 2) + 7.0)
    >>> norm.running_mean
    tensor([0., 0.])
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    state = random.get_rng_state()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        with no_grad():
            for buffer, before in buffers:
                buffer.copy_(before)
        random.set_rng_state(state)
