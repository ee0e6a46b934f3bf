"""Gradients as functions: grad, gradcheck, gradgradcheck, and the switches of recording."""

from collections.abc import Callable, Sequence

import numpy as np

from minidl.anomaly import detect_anomaly
from minidl.dtypes import float64
from minidl.errors import GraphError, MinidlError
from minidl.tape import enable_grad, gradients, is_grad_enabled, no_grad, set_grad_enabled
from minidl.tensor import Tensor, tensor, wrap

__all__ = ["GradcheckError", "detect_anomaly", "enable_grad", "grad", "gradcheck", "gradgradcheck", "is_grad_enabled",
           "no_grad", "set_grad_enabled"]


class GradcheckError(MinidlError, AssertionError):
    """An analytic gradient differs from the numeric one."""


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
    found = gradients(outputs, inputs, grad_outputs, retain_graph, create_graph)
    if not allow_unused and any(g is None for g in found):
        unused = [i for i, g in enumerate(found) if g is None]
        raise GraphError(f"the outputs do not depend on input {unused[0]}: pass allow_unused=True to get None for it")
    return tuple(found)


def _listed(value) -> list:
    return [value] if isinstance(value, Tensor) or value is None else list(value)


def gradcheck(func: Callable, inputs: Tensor | Sequence, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True) -> bool:
    """Compare the analytic Jacobian of ``func`` with central differences (f(x + eps) - f(x - eps)) / (2 eps).

    ``func`` takes the inputs and returns a tensor or several; inputs that require a gradient must be float64. Raises
    GradcheckError naming input, element, analytic and numeric value (returns False without ``raise_exception``).

    >>> import minidl
    >>> gradcheck(lambda x: x.exp().sum(), minidl.tensor([0.1, 0.2], dtype=minidl.float64, requires_grad=True))
    True
    """
    inputs = tuple(_listed(inputs))
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.tracked]
    if not checked:
        raise ValueError("gradcheck needs at least one input that requires a gradient")
    for i in checked:
        if inputs[i].dtype != float64:
            raise ValueError(f"gradcheck needs float64, input {i} is {inputs[i].dtype}: finite differences drown in rounding")
    try:
        numeric = {i: _numeric(func, inputs, i, eps) for i in checked}
        outputs = _outputs(func(*inputs))
        for o, output in enumerate(outputs):
            analytic = _analytic(output, [inputs[i] for i in checked])
            for i, jacobian in zip(checked, analytic, strict=True):
                _compare(jacobian, numeric[i][o], atol, rtol, i, o, inputs[i].shape, output.shape)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(func: Callable, inputs, grad_outputs=None, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True) -> bool:
    """Check second derivatives: ``gradcheck`` of the gradient of ``func``, in its inputs and in ``grad_outputs``.

    ``grad_outputs`` are drawn at random (from a fixed seed) if not given.

    >>> import minidl
    >>> gradgradcheck(lambda x: x**3, minidl.tensor([0.5, 2.0], dtype=minidl.float64, requires_grad=True))
    True
    """
    inputs = tuple(_listed(inputs))
    outputs = _outputs(func(*inputs))
    if grad_outputs is None:
        random = np.random.default_rng(0)
        grad_outputs = [tensor(random.standard_normal(y.shape), requires_grad=True) for y in outputs]
    else:
        grad_outputs = [g.detach().requires_grad_() for g in _listed(grad_outputs)]
    checked = [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.tracked]

    def gradient(*arguments):
        xs, gys = arguments[: len(inputs)], arguments[len(inputs):]
        ys = _outputs(func(*xs))
        found = gradients(ys, [xs[i] for i in checked], gys, create_graph=True)
        return tuple(g for g in found if g is not None and g.tracked)

    return gradcheck(gradient, (*inputs, *grad_outputs), eps=eps, atol=atol, rtol=rtol, raise_exception=raise_exception)


def _outputs(result) -> list[Tensor]:
    """The float outputs that can be differentiated."""
    return [y for y in _listed(result) if isinstance(y, Tensor) and y.tracked]


def _numeric(func, inputs, i, eps) -> list[np.ndarray]:
    """For each output the Jacobian by central differences, shape (elements of input i, elements of the output)."""
    base = np.array(inputs[i].array)
    columns: list[list] = []
    for k in range(base.size):
        sides = []
        for step in (eps, -eps):
            moved = base.copy()
            moved.reshape(-1)[k] += step
            arguments = [wrap(moved).requires_grad_() if j == i else x for j, x in enumerate(inputs)]
            sides.append([y.array.reshape(-1) for y in _outputs(func(*arguments))])
        columns.append([(high - low) / (2 * eps) for high, low in zip(*sides, strict=True)])
    if not columns:
        return [np.zeros((0, y.array.size)) for y in _outputs(func(*inputs))]
    return [np.stack(rows) for rows in zip(*columns, strict=True)]


def _analytic(output: Tensor, inputs: list[Tensor]) -> list[np.ndarray]:
    """The Jacobian of one output for each input, one backward pass for each element of the output."""
    jacobians = [np.zeros((x.array.size, output.array.size)) for x in inputs]
    for k in range(output.array.size):
        seed = np.zeros(output.shape)
        seed.reshape(-1)[k] = 1
        for jacobian, g in zip(jacobians, gradients([output], inputs, [wrap(seed)], retain_graph=True), strict=True):
            if g is not None:
                jacobian[:, k] = g.array.reshape(-1)
    return jacobians


def _compare(analytic, numeric, atol, rtol, i, o, in_shape, out_shape) -> None:
    wrong = ~np.isclose(analytic, numeric, rtol=rtol, atol=atol, equal_nan=True)
    if wrong.any():
        x, y = np.argwhere(wrong)[0]
        raise GradcheckError(
            f"output {o}, element {_position(y, out_shape)}, for input {i}, element {_position(x, in_shape)}: "
            f"analytic {analytic[x, y]:.8g}, numeric {numeric[x, y]:.8g}; {wrong.sum()} of {wrong.size} entries differ")


def _position(flat, shape) -> tuple:
    return tuple(int(n) for n in np.unravel_index(flat, shape))
