"""Numeric derivatives: of what, in which direction, and where there is none.

A central difference (f(x + h) - f(x - h)) / 2h tells the derivative of a smooth function to within h^2. Where a maximum changes
its winner or a ReLU its sign between x - h and x + h, there is a kink: the slopes to the right and to the left differ, and a
derivative may lie anywhere between them. Curvature makes the two slopes differ too, but in proportion to h: two smaller steps
tell one from the other.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from minidl.kernels import namespace

COMPLEX_STEP = 1e-100  # no difference is taken, so a step can be as small as numbers get without rounding anything


class Function:
    """A function of several arrays, to be differentiated at one point, and its gradient.

    ``values(arrays)`` gives the outputs as a list of arrays, ``pullback(gys)`` the gradients of sum(gy * output) for each array,
    all of NumPy. ``arrays`` are the point: buffers that are changed in place while differences are taken, and restored to the
    bit; they may lie on a GPU.
    """

    def __init__(self, values: Callable, pullback: Callable, arrays: list[np.ndarray]):
        self.values, self.pullback, self.arrays = values, pullback, arrays
        self.outputs = [y.copy() for y in values(arrays)]

    def flat(self) -> np.ndarray:
        """All outputs here, one behind the other."""
        return join(self.values(self.arrays))

    def moved(self, directions: dict[int, np.ndarray], step: float) -> np.ndarray:
        """All outputs at x + step * direction, for each input in ``directions``."""
        before = {i: self.arrays[i].copy() for i in directions}
        try:
            for i, direction in directions.items():
                self.arrays[i] += _beside(self.arrays[i], step * direction)
            return self.flat()
        finally:
            for i, array in before.items():
                self.arrays[i][...] = array

    def turned(self, directions: dict[int, np.ndarray]) -> np.ndarray:
        """The imaginary parts of all outputs at x + i step * direction, over step."""
        arrays = [x + _beside(x, 1j * COMPLEX_STEP * directions.get(i, 0)) for i, x in enumerate(self.arrays)]
        values = join(self.values(arrays))
        if values.dtype.kind != "c":
            raise TypeError("complex_step needs a function that takes complex numbers: this one gave real values for complex "
                            "inputs")
        return values.imag / COMPLEX_STEP


def _beside(array, numbers):
    """Numbers on the device of an array."""
    return namespace(array).asarray(numbers)


class Slopes(NamedTuple):
    """For each element of all outputs: the derivative, bounds that hold it where it has a kink, and where that is."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    kink: np.ndarray

    def only(self, chosen) -> "Slopes":
        """The same, with the derivatives of all but the chosen elements unknown (NaN)."""
        return self._replace(value=np.where(chosen, self.value, np.nan))


def slopes(function: Function, directions: dict[int, np.ndarray], eps, atol, rtol, complex_step=False) -> Slopes:
    """The derivative along ``directions`` (input -> array of its shape), by central differences of step ``eps``.

    >>> x = np.array([0.0, 2.0])
    >>> found = slopes(Function(lambda xs: [abs(xs[0])], None, [x]), {0: np.ones(2)}, 1e-6, 1e-5, 1e-3)
    >>> found.value.round(6).tolist(), found.kink.tolist()
    ([0.0, 1.0], [True, False])
    """
    if complex_step:
        exact = function.turned(directions)
        return Slopes(exact, exact, exact, np.zeros(exact.shape, bool))
    here = function.flat()
    left, right = _sides(function, directions, here, eps)
    gap, middle = abs(right - left), (right + left) / 2
    bent = gap > atol + rtol * np.maximum(abs(left), abs(right))
    if bent.any():
        bent &= ~_curved(function, directions, here, eps, gap)
    return Slopes(middle, np.minimum(left, right), np.maximum(left, right), bent)


def _sides(function, directions, here, step) -> tuple[np.ndarray, np.ndarray]:
    """The slopes to the left and to the right."""
    return (here - function.moved(directions, -step)) / step, (function.moved(directions, step) - here) / step


def _curved(function, directions, here, eps, gap) -> np.ndarray:
    """Where the gap between both slopes shrinks with the step, as that of a parabola does."""
    curved = np.ones(gap.shape, bool)
    for part in (3, 10):
        left, right = _sides(function, directions, here, eps / part)
        rounding = 4 * np.finfo(float).eps * abs(here) * part / eps
        curved &= abs(abs(right - left) - gap / part) <= 0.2 * gap / part + rounding
    return curved


def join(arrays) -> np.ndarray:
    """All elements of several arrays as one vector (a copy)."""
    return np.concatenate([np.ravel(a) for a in arrays]) if arrays else np.zeros(0)
