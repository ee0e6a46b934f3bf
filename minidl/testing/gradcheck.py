"""gradcheck, gradgradcheck and check_vjp: is a gradient right?"""

from collections.abc import Callable, Sequence

import numpy as np

from minidl.dtypes import float64
from minidl.kernels import namespace
from minidl.tape import gradients
from minidl.tensor import Tensor, tensor, wrap
from minidl.testing.check import Check
from minidl.testing.report import GradcheckError, Report
from minidl.testing.slopes import Function


def gradcheck(func: Callable, inputs: Tensor | Sequence, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0,
              fast_mode=False, complex_step=False) -> bool:
    """Compare gradients with differences of ``func``, which takes the inputs and returns a tensor or several.

    Inputs that require a gradient must be float64. Their buffers are moved in place and restored, so that ``func`` may also
    reach them otherwise, as the parameters of a module; inputs that share memory are checked as independent copies.

    Parameters
        eps: step of the differences.
        atol, rtol: an entry of the Jacobian is right if ``|analytic - numeric| <= atol + rtol |numeric|``.
        raise_exception: False returns False instead of raising.
        nondet_tol: how much results may differ from call to call.
        fast_mode: compare random products with the Jacobian instead of each of its entries: a few calls, whatever the size.
        complex_step: differentiate as Im f(x + ih) / h, exact to rounding, for functions that take complex numbers.

    Where ``func`` has a kink (a maximum that changes its winner, the sign of a ReLU), the analytic value must lie between the
    slopes to both sides; the report counts these. PyTorch's other switches are not needed: dtypes and shapes of gradients are
    always checked, and outputs one at a time.

    Raises GradcheckError that names input, element, analytic and numeric value, and carries the ``report``; ValueError for
    inputs that are not float64.

    >>> import minidl
    >>> x = minidl.tensor([0.1, 0.2], dtype=minidl.float64, requires_grad=True)
    >>> gradcheck(lambda x: x.exp().sum(), x)
    True
    """
    report = examine(func, inputs, eps=eps, atol=atol, rtol=rtol, nondet_tol=nondet_tol, fast_mode=fast_mode,
                     complex_step=complex_step)
    if raise_exception and not report:
        raise GradcheckError(report)
    return report.passed


def gradgradcheck(func: Callable, inputs, grad_outputs=None, **options) -> bool:
    """Check second derivatives: ``gradcheck`` of the gradient of ``func``, in its inputs and in ``grad_outputs``.

    ``grad_outputs`` are drawn at random (from a fixed seed) if not given; ``options`` are those of ``gradcheck``.

    >>> import minidl
    >>> gradgradcheck(lambda x: x**3, minidl.tensor([0.5, 2.0], dtype=minidl.float64, requires_grad=True))
    True
    """
    return gradcheck(*gradient_of(func, inputs, grad_outputs), **options)


def gradient_of(func: Callable, inputs, grad_outputs=None) -> tuple[Callable, tuple]:
    """The gradient of ``func`` as a function of its inputs and the gradients of its outputs, and values for all of these."""
    inputs = tuple(listed(inputs))
    if grad_outputs is None:
        random = np.random.default_rng(0)
        grad_outputs = [tensor(random.standard_normal(y.shape), device=y.device, requires_grad=True)
                        for y in _differentiable(func(*inputs))]
    else:
        grad_outputs = [g.detach().requires_grad_() for g in listed(grad_outputs)]
    checked = _checked(inputs)

    def gradient(*arguments):
        xs, gys = arguments[: len(inputs)], arguments[len(inputs):]
        found = gradients(_differentiable(func(*xs)), [xs[i] for i in checked], gys, create_graph=True)
        return tuple(g for g in found if g is not None and g.tracked)

    return gradient, (*inputs, *grad_outputs)


def examine(func: Callable, inputs, *, eps=1e-6, atol=1e-5, rtol=1e-3, nondet_tol=0.0, fast_mode=False,
            complex_step=False) -> Report:
    """As ``gradcheck``, but returns the whole report, whether it passed or not.

    >>> import minidl
    >>> x = minidl.tensor([-1.0, 0.0, 2.0], dtype=minidl.float64, requires_grad=True)
    >>> print(examine(lambda x: x.relu(), x))
    passed: 9 derivatives checked, 0 wrong, largest error 2.9e-11
      kinks, where no derivative exists: input 0[1]
    """
    inputs = listed(inputs)
    checked = _checked(inputs)
    if not checked:
        raise ValueError("gradcheck needs at least one input that requires a gradient")
    for i in checked:
        if inputs[i].dtype != float64:
            raise ValueError(f"gradcheck needs float64, input {i} is {inputs[i].dtype}: finite differences drown in rounding")
    if _overlap([inputs[i].array for i in checked]):
        inputs = [wrap(x.array.copy()).requires_grad_() if i in checked else x for i, x in enumerate(inputs)]
    leaves = [inputs[i] for i in checked]
    buffers = [x.array for x in leaves]

    def outputs(arrays):
        if arrays is buffers:
            return _differentiable(func(*inputs))
        arguments = list(inputs)
        for i, array in zip(checked, arrays, strict=True):
            arguments[i] = _variable(array)
        return _differentiable(func(*arguments))

    recorded = outputs(buffers)

    def pullback(gys):  # of one graph, which other calls of func must not disturb
        found = _sum_of_gradients(recorded, leaves, gys)
        return [np.zeros(x.shape) if g is None else g.detach().numpy() for g, x in zip(found, leaves, strict=True)]

    function = Function(lambda arrays: [y.detach().numpy() for y in outputs(arrays)], pullback, buffers)
    return Check(function, eps, atol, rtol, nondet_tol, complex_step).run(fast_mode)


def check_vjp(forward: Callable, vjp: Callable, arrays, *, eps=1e-6, atol=1e-5, rtol=1e-3, raise_exception=True, nondet_tol=0.0,
              fast_mode=False, complex_step=False) -> Report:
    """Check a gradient written by hand, in NumPy alone: no tensor in sight.

    ``forward(*arrays)`` returns an array or a tuple of arrays; ``vjp(gy, *arrays)`` (one gradient for each output comes first)
    returns the gradient of ``sum(gy * y)`` for each array, or None for those without one. ``forward`` has always just been
    called on the same arrays when ``vjp`` is, so a layer that keeps its input in ``self`` can be checked too. Computes in
    float64; the options are those of ``gradcheck``.

    Returns the report; raises GradcheckError if it failed, unless ``raise_exception`` is False.

    >>> import numpy as np
    >>> x, w = np.arange(6.0).reshape(2, 3), np.ones((3, 4))
    >>> bool(check_vjp(lambda x, w: x @ w, lambda gy, x, w: (gy @ w.T, x.T @ gy), (x, w)))
    True
    >>> print(check_vjp(lambda x: x**2, lambda gy, x: gy * x, [x[1]], raise_exception=False))
    FAILED: 9 derivatives checked, 3 wrong, largest error 5
      d output 0[0] / d input 0[0]: analytic 3, numeric 6
      d output 0[1] / d input 0[1]: analytic 4, numeric 8
      d output 0[2] / d input 0[2]: analytic 5, numeric 10
    """
    arrays = [np.array(x, float64) for x in (arrays if isinstance(arrays, (list, tuple)) else [arrays])]

    def values(xs):
        return [np.asarray(y) for y in listed(forward(*xs))]

    def pullback(gys):
        values(arrays)
        found = listed(vjp(*gys, *arrays))
        if len(found) != len(arrays):
            raise ValueError(f"vjp must return one gradient for each array: {len(arrays)} expected, got {len(found)}")
        return [np.zeros(x.shape) if g is None else np.array(g, float64) for g, x in zip(found, arrays, strict=True)]

    report = Check(Function(values, pullback, arrays), eps, atol, rtol, nondet_tol, complex_step).run(fast_mode)
    if raise_exception and not report:
        raise GradcheckError(report)
    return report


def listed(value) -> list:
    """One or several as a list."""
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _checked(inputs) -> list[int]:
    return [i for i, x in enumerate(inputs) if isinstance(x, Tensor) and x.tracked]


def _differentiable(result) -> list[Tensor]:
    """The outputs that carry a gradient."""
    return [y for y in listed(result) if isinstance(y, Tensor) and y.tracked]


def _variable(array) -> Tensor:
    """A leaf, which may be complex: only values are taken from what it leads to."""
    x = wrap(array)
    x.tracked = True
    return x


def _sum_of_gradients(outputs, leaves, gys):
    """Outputs whose gradient is all zeros are left out, as if nobody had used them."""
    used = [(y, wrap(namespace(y.array).asarray(gy))) for y, gy in zip(outputs, gys, strict=True) if gy.any()]
    if not used:
        return [None] * len(leaves)
    return gradients([y for y, _ in used], leaves, [gy for _, gy in used], retain_graph=True)


def _overlap(arrays) -> bool:
    """Whether moving one element would move another: arrays that share memory, within themselves or with each other."""
    seen: set[int] = set()
    for array in arrays:
        if not getattr(array.flags, "writeable", True):
            return True
        addresses = set(_addresses(array).tolist())
        if len(addresses) < array.size or addresses & seen:
            return True
        seen |= addresses
    return False


def _addresses(array) -> np.ndarray:
    offsets = np.zeros((), np.int64)
    for size, stride in zip(array.shape, array.strides, strict=True):
        offsets = offsets[..., None] + np.arange(size) * stride
    start = array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
    return start + offsets.reshape(-1)
