"""Anomaly mode: the op where a NaN was born, with the line of the user's code that applied it.

While it is on, every recorded op remembers where it was applied, its outputs and gradients are searched for NaN, and a
checksum of what it saved shows writes that minidl could not see (through ``.numpy()`` or the source array).
"""

import contextlib
import traceback
import zlib
from pathlib import Path

from minidl.errors import AnomalyError
from minidl.kernels import namespace
from minidl.kernels.half import REAL
from minidl.tensor import Tensor, mode

_PACKAGE = Path(__file__).resolve().parent
_OURS = (str(_PACKAGE), str(_PACKAGE.parent / "kernels"), str(_PACKAGE.parent / "models"))


class detect_anomaly(contextlib.ContextDecorator):
    """Find where NaNs are born, for a block or a function. Slow: for debugging.

    >>> import minidl
    >>> x = minidl.tensor([-1.0], requires_grad=True)
    >>> with minidl.autograd.detect_anomaly():
    ...     y = x.sqrt()
    Traceback (most recent call last):
    ...
    minidl.errors.AnomalyError: Sqrt made a NaN from inputs without any, applied at <doctest minidl.anomaly.detect_anomaly[2]>:2
    """

    def __enter__(self):
        self._before, mode.anomaly = (*getattr(self, "_before", ()), mode.anomaly), True

    def __exit__(self, *_):
        *self._before, mode.anomaly = self._before


def check_forward(op, inputs, result) -> None:
    """Called for every op outside a backward pass: remember the user's line, and raise if a NaN was born here."""
    op.trace = _user_line()
    op.checksums = [_checksum(entry) for entry in op._saved or ()]
    outputs = result if isinstance(result, tuple) else (result,)
    if any(_has_nan(y.array) for y in outputs) and not any(_has_nan(x.array) for x in inputs):
        raise AnomalyError(f"{op.name} made a NaN from inputs without any, applied at {op.trace}")


def check_backward(op, gys) -> None:
    """Called before an op's backward: raise if what it saved has changed, or if it makes a NaN from gradients without any.

    Runs the op's backward for this once more than the walk does.
    """
    trace = op.trace or "a line before anomaly mode began"
    if op.trace is not None and op._saved and op.checksums != [_checksum(entry) for entry in op._saved]:
        raise AnomalyError(f"an array that {op.name} saved was changed in place; the op was applied at {trace}")
    gxs = op.backward(*gys)
    made = any(gx is not None and _has_nan(gx.array) for gx in (gxs if isinstance(gxs, tuple) else (gxs,)))
    if made and not any(gy is not None and _has_nan(gy.array) for gy in gys):
        raise AnomalyError(f"the backward of {op.name} made a NaN; the op was applied at {trace}")


def _has_nan(array) -> bool:
    return array.dtype.kind in REAL and bool(namespace(array).isnan(array).any())


def _checksum(entry) -> int:
    if entry is None:
        return 0
    array = entry.array if isinstance(entry, Tensor) else entry[1]
    return zlib.crc32(array.tobytes())


def _user_line() -> str:
    """File and line of the innermost frame outside minidl, resolved to the file a link points to."""
    for frame in (traceback.StackSummary.extract(traceback.walk_stack(None), lookup_lines=False)):
        if not str(Path(frame.filename).resolve()).startswith(_OURS) or "/tests/" in frame.filename:
            return f"{frame.filename}:{frame.lineno}"
    return "an unknown line"
