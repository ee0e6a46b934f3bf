"""Recording: every op that runs inside a ``with`` block, with what went in, what came out, how, and at what cost.

While a recorder is on it stands in for ``Op.__call__``; while none is, nothing is asked and nothing is paid.
"""

import contextlib
import functools
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from minidl import kernels
from minidl.errors import GraphError
from minidl.kernels import Choice
from minidl.op import Op
from minidl.study.cost import kept_bytes, multiply_adds, owner
from minidl.study.display import record_html
from minidl.study.explain import Explanation, explain_gradient, explain_output
from minidl.tensor import Tensor, mode


class Call(NamedTuple):
    """One call of a module: its path in the model ("" is the model itself), the module, and the shape of its output."""

    path: str
    module: object
    output_shape: tuple[int, ...] | None


@dataclass(eq=False)
class OpRecord:
    """One op that ran.

    ``module`` is the path of the innermost module that was running ("" for the model itself or outside of it), ``inputs`` and
    ``outputs`` are arrays, ``kernels`` and ``backward_kernels`` name the kernels chosen and why, ``kept_bytes`` counts what is
    kept for backward and by no earlier op, ``seconds`` is the time forward. After a backward pass ``output_gradients`` and
    ``input_gradients`` hold what arrived at the op and what it handed on, and ``backward_seconds`` the time that took.
    """

    number: int
    module: str
    call: int | None
    op: Op
    inputs: list
    outputs: list
    kernels: list[Choice]
    kept_bytes: int
    multiply_adds: int
    seconds: float
    backward_kernels: list[Choice] = field(default_factory=list)
    output_gradients: list | None = None
    input_gradients: list | None = None
    backward_seconds: float | None = None

    @property
    def name(self) -> str:
        return self.op.name

    @property
    def columns(self):
        """The im2col matrix (N, C KH KW, OH OW) of a convolution that ran under ``use_backend("portable")``, else None."""
        return next((choice.array for choice in self.kernels if choice.kernel == "im2col" and choice.array is not None), None)

    def explain(self, index: tuple[int, ...], output: int = 0) -> Explanation:
        """The terms that made one element of an output, as of a convolution each pixel times its weight.

        Raises IndexError for an index outside the output, TypeError for an op that has no explanation.
        """
        return explain_output(self.op, self.inputs, self.outputs, output, tuple(index))

    def explain_gradient(self, index: tuple[int, ...], input: int = 0) -> Explanation:
        """The terms that flow back into one element of an input: each output it went into, times how much.

        Raises GraphError before the backward pass, IndexError for an index outside the input.
        """
        if self.output_gradients is None:
            raise GraphError(f"no gradient has come to op {self.number} ({self.name}): call backward() inside the recording")
        return explain_gradient(self.op, self.inputs, self.output_gradients, self.input_gradients, input, tuple(index))

    def __str__(self):
        shapes = " ".join(str(tuple(x.shape)) for x in self.inputs)
        return f"{self.number:3} {self.module or '-':16} {self.name:14} {shapes} -> {tuple(self.outputs[0].shape)}"

    __repr__ = __str__


class Record:
    """What ``record`` yields: ``ops`` of ``model`` in the order they ran, and the ``calls`` of its modules."""

    def __init__(self, model):
        self.model = model
        self.ops: list[OpRecord] = []
        self.calls: list[Call] = []
        self._names = {module: name for name, module in model.named_modules()}
        self._running: list[int] = []
        self._known = {id(owner(p.array)) for p in model.parameters()}
        self._backward: OpRecord | None = None

    def of(self, module: str) -> list[OpRecord]:
        """The ops of one module, by its path. Raises KeyError if none ran there."""
        found = [entry for entry in self.ops if entry.module == module]
        if not found:
            raise KeyError(f"no op ran in a module of path {module!r}; there are: {sorted({e.module for e in self.ops})}")
        return found

    def __len__(self):
        return len(self.ops)

    def __getitem__(self, number: int) -> OpRecord:
        return self.ops[number]

    def __iter__(self) -> Iterator[OpRecord]:
        return iter(self.ops)

    def __str__(self):
        return "\n".join(map(str, self.ops))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return record_html(self)

    # Called while recording

    def _apply(self, original, op, inputs):
        if mode.walking:
            return self._collect(self._backward, original, op, inputs)
        result, choices, seconds = _timed(original, op, *inputs)
        outputs = result if isinstance(result, tuple) else (result,)
        arrays = [x.array for x in inputs]
        tracked = any(y.tracked for y in outputs)
        entry = OpRecord(len(self.ops), *self._place(), op, arrays, [y.array for y in outputs], choices,
                         kept_bytes(op, self._known) if tracked else 0, multiply_adds(op, arrays, outputs[0].array), seconds)
        self.ops.append(entry)
        if tracked:
            op.backward = functools.partial(self._run_backward, weakref.ref(op), entry)
        return result

    def _place(self):
        if not self._running:
            return "", None
        return self.calls[self._running[-1]].path, self._running[-1]

    def _collect(self, entry, original, op, inputs):
        """An op that runs in a backward pass belongs to the op that is being differentiated."""
        if entry is None:
            return original(op, *inputs)
        result, choices, _ = _timed(original, op, *inputs)
        entry.backward_kernels += choices
        return result

    def _run_backward(self, op_ref, entry, *gys):
        op, before = op_ref(), self._backward
        self._backward = entry
        try:
            start = time.perf_counter()
            gxs = type(op).backward(op, *gys)
            entry.backward_seconds = time.perf_counter() - start
        finally:
            self._backward = before
        entry.output_gradients = [None if g is None else g.array for g in gys]
        entry.input_gradients = [None if g is None else g.array for g in (gxs if isinstance(gxs, tuple) else (gxs,))]
        return gxs

    def _enter(self, module, _inputs):
        self._running.append(len(self.calls))
        self.calls.append(Call(self._names[module], module, None))

    def _leave(self, _module, _inputs, output):
        number = self._running.pop()
        self.calls[number] = self.calls[number]._replace(output_shape=output.shape if isinstance(output, Tensor) else None)


class _Active(threading.local):
    record: Record | None = None


_active = _Active()
_plain_call = Op.__call__
_recorders = 0
_lock = threading.Lock()


@contextlib.contextmanager
def record(model) -> Iterator[Record]:
    """Record every op that this thread applies in the block, forward and backward, in ``model`` and around it.

    >>> import minidl
    >>> from minidl.models import LeNet5
    >>> model, x = LeNet5(), minidl.ones(2, 1, 28, 28)
    >>> with record(model) as seen:
    ...     minidl.nn.functional.cross_entropy(model(x), minidl.tensor([3, 8])).backward()
    >>> conv = seen.of("features.0")[0]
    >>> conv.name, conv.outputs[0].shape, conv.multiply_adds, conv.input_gradients[1].shape
    ('Conv2d', (2, 6, 28, 28), 235200, (6, 1, 5, 5))
    """
    seen, outer = Record(model), _active.record
    handles = [handle for module in model.modules() for handle in
               (module.register_forward_pre_hook(seen._enter), module.register_forward_hook(seen._leave))]
    _active.record = seen
    _install(1)
    try:
        yield seen
    finally:
        _install(-1)
        _active.record = outer
        for handle in handles:
            handle.remove()
        for entry in seen.ops:
            entry.op.__dict__.pop("backward", None)


def _install(change: int) -> None:
    """Stand in for Op.__call__ while any thread records."""
    global _recorders
    with _lock:
        _recorders += change
        Op.__call__ = _watched_call if _recorders else _plain_call


def _watched_call(op, *inputs):
    seen = _active.record
    return _plain_call(op, *inputs) if seen is None else seen._apply(_plain_call, op, inputs)


def _timed(function, *args):
    """Result, kernels chosen, seconds."""
    results = []
    start = time.perf_counter()
    choices = kernels.explain(lambda: results.append(function(*args)))
    return results[0], choices, time.perf_counter() - start
