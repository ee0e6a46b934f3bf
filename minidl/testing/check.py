"""The comparison of a pullback with differences: every entry of the Jacobian, or random products with it."""

import numpy as np

from minidl.testing.report import Entry, Report
from minidl.testing.slopes import Function, Slopes, join, slopes

DRAWS = 3  # random directions of the fast mode


class Check:
    """Compare ``function.pullback`` with numeric derivatives. The result is ``report``."""

    def __init__(self, function: Function, eps=1e-6, atol=1e-5, rtol=1e-3, nondet_tol=0.0, complex_step=False):
        self.function, self.eps, self.atol, self.rtol = function, eps, atol, rtol
        self.nondet_tol, self.complex_step = nondet_tol, complex_step
        self.random = np.random.default_rng(0)
        self.report = Report([x.shape for x in function.arrays])

    def run(self, fast=False) -> Report:
        with np.errstate(all="ignore"):  # NaN and inf are results to be compared
            if self._repeats() and self._shapes_fit():
                (self._fast if fast else self._full)()
        return self.report

    # Before any comparison

    def _repeats(self) -> bool:
        """Two calls at one point give one result, forward and backward."""
        function = self.function
        gys = [self.random.standard_normal(y.shape) for y in function.outputs]
        first = function.pullback(gys)
        self._slopes({i: np.ones(x.shape) for i, x in enumerate(function.arrays)})  # a buffer shared between calls changes here
        second = function.pullback(gys)
        values = [(f"output {o}", a, b) for o, (a, b) in
                  enumerate(zip(function.outputs, function.values(function.arrays), strict=True))]
        found = [(f"the gradient of input {i}", a, b) for i, (a, b) in enumerate(zip(first, second, strict=True))]
        for name, a, b in values + found:
            difference = _largest_difference(a, b) if a.shape == b.shape else 0.0
            if difference > self.nondet_tol:
                self.report.problems.append(f"  {name} changes from call to call by {difference:.2g}, more than "
                                            f"nondet_tol = {self.nondet_tol:g}: seed what is random in the function")
        return not self.report.problems

    def _shapes_fit(self) -> bool:
        gxs = self.function.pullback([np.ones_like(y) for y in self.function.outputs])
        for i, (gx, x) in enumerate(zip(gxs, self.function.arrays, strict=True)):
            if gx.shape != x.shape:
                self.report.problems.append(f"  the gradient of input {i} has shape {gx.shape}, the input {x.shape}")
        return not self.report.problems

    # Every entry

    def _full(self):
        analytic = self._jacobians()
        kinked = []
        for i, jacobian in enumerate(analytic):
            self._compare_input(i, jacobian, kinked)
        self.report.kinks = [(i, self._element(i, k)) for i, k in kinked]
        if len(kinked) > 1:
            self._compare_tied(analytic, kinked)

    def _jacobians(self) -> list[np.ndarray]:
        """For each input (its elements, elements of all outputs), by one pullback for each element of the outputs."""
        size = sum(y.size for y in self.function.outputs)
        jacobians = [np.zeros((x.size, size)) for x in self.function.arrays]
        for column in range(size):
            seed = np.zeros(size)
            seed[column] = 1
            for jacobian, gx in zip(jacobians, self._pull(seed), strict=True):
                jacobian[:, column] = gx
        return jacobians

    def _compare_input(self, i, jacobian, kinked):
        for k in range(len(jacobian)):
            numeric = self._slopes_for(jacobian[k], {i: self._unit(i, k)})
            self._judge(jacobian[k], numeric, i, self._element(i, k))
            if numeric.kink.any():
                kinked.append((i, k))

    def _compare_tied(self, analytic, kinked):
        """Tied elements moved together stay tied, and the function may be smooth again: a gradient given to all winners of a
        maximum, say, lies between the slopes of each, but their sum is wrong.
        """
        directions = {i: np.zeros(x.shape) for i, x in enumerate(self.function.arrays)}
        together = 0
        for i, k in kinked:
            directions[i].reshape(-1)[k] = 1
            together = together + analytic[i][k]
        numeric = self._slopes(directions)
        self._judge(np.where(numeric.kink, np.nan, together), numeric.only(~numeric.kink), None, None)

    # Random products

    def _fast(self):
        """v' J u for random u and v, input by input; then for all inputs moved by the same step, which keeps ties tied."""
        size = sum(y.size for y in self.function.outputs)
        for draw in range(DRAWS):
            v = self._signed(size)
            for i, x in enumerate(self.function.arrays):
                u = self._signed(x.size) if draw else self.random.uniform(0.5, 1.5, x.size)
                if not self._product_fits({i: u.reshape(x.shape)}, v):
                    self._locate(i, u, v)
                    return
        ones = {i: np.ones(x.shape) for i, x in enumerate(self.function.arrays)}
        if not self._product_fits(ones, self._signed(size)):
            self._full()

    def _signed(self, size):
        return self.random.uniform(0.5, 1.5, size) * self.random.choice([-1.0, 1.0], size)

    def _product_fits(self, directions, v) -> bool:
        numeric, pulled = self._slopes(directions), self._pull(v)
        terms = np.concatenate([pulled[i] * u.reshape(-1) for i, u in directions.items()])
        analytic, typical = terms.sum(), np.sqrt((terms**2).sum() / max(1, terms.size))
        sides = np.where(numeric.kink, (numeric.low, numeric.high), numeric.value) * v
        low, high = np.minimum(*sides).sum(), np.maximum(*sides).sum()
        if np.isnan(analytic) and np.isnan(low):
            return True
        rounding = 4 * np.finfo(float).eps * abs(v * join(self.function.outputs)).sum() / (1 if self.complex_step else self.eps)
        slack = self.atol + self.rtol * typical + rounding
        self.report.checked += 1
        self._note_error(max(low - analytic, analytic - high))
        return bool(low - slack <= analytic <= high + slack)

    def _locate(self, i, u, v):
        """One wrong entry behind a wrong product, by halving the input, then the outputs; or all, where halves do not show it."""
        pulled, shape = self._pull(v)[i], self.function.arrays[i].shape
        k = _halve(u.size, lambda part: abs(pulled @ (part * u) - self._slopes({i: (part * u).reshape(shape)}).value @ v))
        direction = {i: self._unit(i, k)}
        numeric = self._slopes(direction)
        column = _halve(v.size, lambda part: abs(self._pull(part * v)[i][k] - numeric.value @ (part * v)))
        row = np.full(v.size, np.nan)
        row[column] = self._pull(np.eye(1, v.size, column)[0])[i][k]
        self._judge(row, self._slopes_for(row, direction).only(np.arange(v.size) == column), i, self._element(i, k))
        if self.report.passed:
            self._full()
        if self.report.passed and not self.report.kinks:
            self.report.problems.append(f"  random products with the Jacobian of input {i} do not fit, though each entry does: "
                                        "the pullback is not linear")

    # What both need

    def _slopes(self, directions, part=1) -> Slopes:
        return slopes(self.function, directions, self.eps / part, self.atol, self.rtol, self.complex_step)

    def _slopes_for(self, analytic, directions) -> Slopes:
        """Slopes, where a smaller step decides about what seems wrong: kinks to both sides of x can give equal slopes."""
        numeric = self._slopes(directions)
        wrong = ~self._right(analytic, numeric)
        if not wrong.any() or self.complex_step:
            return numeric
        closer = self._slopes(directions, 10)
        mended = wrong & self._right(analytic, closer)
        value, low, high, kink = (np.where(mended, b, a) for a, b in zip(numeric, closer, strict=True))
        return Slopes(value, low, high, kink | mended)

    def _right(self, analytic, numeric: Slopes) -> np.ndarray:
        """Which derivatives fit, or lie between the slopes to both sides of a kink."""
        slack = self.atol + self.rtol * abs(numeric.value)
        between = numeric.kink & (analytic >= numeric.low - slack) & (analytic <= numeric.high + slack)
        return between | np.isclose(analytic, numeric.value, rtol=self.rtol, atol=self.atol, equal_nan=True)

    def _pull(self, seed) -> list[np.ndarray]:
        """The pullback of a vector of all outputs, as a flat vector for each input."""
        gys, start = [], 0
        for y in self.function.outputs:
            gys.append(seed[start : start + y.size].reshape(y.shape))
            start += y.size
        return [gx.reshape(-1) for gx in self.function.pullback(gys)]

    def _judge(self, analytic, numeric: Slopes, i, element):
        """Note the wrong ones among the derivatives of all outputs for one element."""
        right = self._right(analytic, numeric)
        self.report.checked += len(analytic)
        self._note_error(_largest_difference(np.where(numeric.kink, numeric.value, analytic), numeric.value))
        for column in np.flatnonzero(~right):
            output, at = self._output(column)
            self.report.failures.append(Entry(i, element, output, at, float(analytic[column]), float(numeric.value[column])))

    def _note_error(self, error):
        self.report.largest_error = max(self.report.largest_error, float(error))

    def _unit(self, i, k):
        unit = np.zeros(self.function.arrays[i].shape)
        unit.reshape(-1)[k] = 1
        return unit

    def _element(self, i, k):
        return tuple(map(int, np.unravel_index(k, self.function.arrays[i].shape)))

    def _output(self, column):
        for o, y in enumerate(self.function.outputs):
            if column < y.size:
                return o, tuple(map(int, np.unravel_index(column, y.shape)))
            column -= y.size
        raise IndexError(column)


def _largest_difference(a, b) -> float:
    """Of two arrays; elements that are NaN or infinite in both do not count."""
    return float(np.nanmax(abs(a - b), initial=0))


def _halve(size, mismatch) -> int:
    """The element behind the largest mismatch, which takes a mask of elements."""
    everything = np.arange(size)
    elements = everything
    while len(elements) > 1:
        elements = max(np.array_split(elements, 2), key=lambda half: mismatch(np.isin(everything, half)))
    return int(elements[0])
