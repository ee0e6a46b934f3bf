"""Gradients as functions: grad, gradcheck, gradgradcheck, and the switches of recording."""

from minidl.anomaly import detect_anomaly
from minidl.errors import GraphError
from minidl.tape import enable_grad, gradients, is_grad_enabled, no_grad, set_grad_enabled
from minidl.tensor import Tensor
from minidl.testing.gradcheck import gradcheck, gradgradcheck
from minidl.testing.report import GradcheckError

__all__ = ["GradcheckError", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck", "is_grad_enabled",
           "no_grad", "set_grad_enabled"]


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False) -> tuple:
    """The gradients of ``outputs`` for ``inputs``, as a tuple; ``.grad`` is left alone.

    ``grad_outputs`` weights the outputs (needed unless they have one element). With ``create_graph`` the gradients can be
    differentiated again. An input that the outputs do not depend on raises GraphError, or gives None with ``allow_unused``.

    >>> import minidl
    >>> x = minidl.tensor(3.0, requires_grad=True)
    >>> (dy,) = grad(x**3, x, create_graph=True)
    >>> (ddy,) = grad(dy, x)
    >>> dy.item(), ddy.item()
    (27.0, 18.0)
    """
    outputs, inputs = _listed(outputs), _listed(inputs)
    if grad_outputs is not None:
        grad_outputs = _listed(grad_outputs)
        if len(grad_outputs) != len(outputs):
            raise GraphError(f"expected {len(outputs)} grad_outputs, one for each output, got {len(grad_outputs)}")
    for i, x in enumerate(inputs):
        if not x.tracked:
            raise GraphError(f"input {i} of grad does not require a gradient")
    found = _apart(gradients(outputs, inputs, grad_outputs, retain_graph, create_graph), grad_outputs or ())
    if not allow_unused and any(g is None for g in found):
        unused = [i for i, g in enumerate(found) if g is None]
        raise GraphError(f"the outputs do not depend on input {unused[0]}: pass allow_unused=True to get None for it")
    return tuple(found)


def _apart(found: list, given) -> list:
    """The gradients, none of which shares memory with another or with what was given."""
    taken = {id(g.array) for g in given if g is not None}
    for i, g in enumerate(found):
        if g is not None:
            if id(g.array) in taken or g.array.base is not None:
                found[i] = g.clone() if g.tracked else Tensor(g.array.copy())
            taken.add(id(g.array))
    return found


def _listed(value) -> list:
    return [value] if isinstance(value, Tensor) or value is None else list(value)
