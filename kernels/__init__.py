"""The registry: from a kernel's name and an array to the function that computes it.

A kernel takes plain arrays and returns plain arrays. Three rooms hold kernels under the same names and signatures:

- ``portable``: readable array code that NumPy and CuPy share. Its docstrings are the contract.
- ``cpu``: the same, compiled with Numba, blocked and threaded, for float32 and float64.
- ``cuda``: the same as CUDA C++, for CuPy arrays; for study and tests it takes NumPy arrays too.

A room is a package with a table ``KERNELS`` from kernel name to the module that holds it, and ``DTYPES``, the names of the dtypes
that they take; modules are imported when one of their kernels is first used, so that ``import minidl`` never loads Numba.

>>> import numpy as np
>>> from minidl.kernels.shapes import ConvGeometry
>>> x = np.zeros((1, 1, 3, 3), np.float32)
>>> kernel("im2col", x)(x, (1, 4, 4), (2, 2), ConvGeometry()).shape
(1, 4, 4)
"""

if __name__ == "kernels":
    raise ImportError("`kernels` is imported as `minidl.kernels`: write `from minidl import kernels`")

import functools
import importlib
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minidl.kernels.precision import float32_matmul_precision

BACKENDS = ("portable", "cpu", "cuda")
ALGORITHMS = ("depthwise", "direct", "pointwise", "winograd")


class Choice(NamedTuple):
    """One decision of the registry: which room supplied a kernel, and why. ``array`` is what a kernel shows of its inside, as
    the matrix of im2col.
    """

    kernel: str
    backend: str
    reason: str
    array: Any = None

    def __repr__(self):
        return f"{self.kernel}: {self.backend} ({self.reason})"


class _State(threading.local):
    forced: str | None = None
    algorithm: str | None = None
    log: list | None = None


_state = _State()
_chosen: dict[tuple, tuple[Callable, Choice]] = {}


def namespace(array: Any):
    """The module that owns an array's type: ``numpy``, or ``cupy`` for CuPy arrays.

    >>> namespace(np.ones(2)).__name__
    'numpy'
    """
    return np if isinstance(array, (np.ndarray, np.generic)) else sys.modules["cupy"]


def kernel(name: str, array: Any) -> Callable:
    """The implementation of kernel ``name`` for arrays like ``array`` (its type and dtype decide).

    Raises KeyError for a name that no room holds.
    """
    key = (name, type(array), array.dtype, _state.forced)
    found = _chosen.get(key)
    if found is None:
        found = _chosen[key] = _choose(name, array, _state.forced)
    if _state.log is not None:
        _state.log.append(found[1])
    return found[0]


def _choose(name: str, array: Any, forced: str | None) -> tuple[Callable, Choice]:
    on_host = isinstance(array, np.ndarray)
    compiled = "cpu" if on_host and forced != "cuda" else "cuda"
    if forced is not None and forced != compiled:
        reason = f"use_backend({forced!r})"
    else:
        function, reason = _load(compiled, name, array.dtype)
        if function is not None:
            where = ", compiled for the CPU" if on_host and compiled == "cuda" else ""
            return function, Choice(name, compiled, f"{type(array).__module__} array, {array.dtype}{where}")
    function, why = _load("portable", name, array.dtype)
    if function is None:
        raise KeyError(f"no kernel named {name!r}: {why}")
    return function, Choice(name, "portable", reason)


def _load(backend: str, name: str, dtype) -> tuple[Callable | None, str]:
    """The function, or None and the reason why this room cannot supply it."""
    try:
        room = importlib.import_module(f"{__name__}.{backend}")
        if room.DTYPES is not None and dtype.name not in room.DTYPES:
            return None, f"{backend} has no kernels for {dtype}"
        if name not in room.KERNELS:
            return None, f"{backend} has no kernel of this name"
        module = importlib.import_module(f"{room.__name__}.{room.KERNELS[name]}")
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("minidl.kernels") and error.name.count(".") > 2:
            raise
        return None, f"{error.name} is not installed"
    return getattr(module, name), ""


def note(name: str, backend: str, reason: str, array=None) -> None:
    """A kernel tells ``explain`` what it chose inside, such as the algorithm of a convolution, or shows an array."""
    if _state.log is not None:
        _state.log.append(Choice(name, backend, reason, array))


class _Use:
    """Set an attribute of the state at once; put it back where a ``with`` block ends, or around each call as a decorator."""

    attribute: str

    def __init__(self, value):
        self.value, self.previous = value, getattr(_state, self.attribute)
        setattr(_state, self.attribute, value)

    def __enter__(self):
        return self

    def __call__(self, function):
        setattr(_state, self.attribute, self.previous)

        @functools.wraps(function)
        def wrapped(*args, **kwargs):
            with type(self)(self.value):
                return function(*args, **kwargs)

        return wrapped

    def __exit__(self, *_):
        setattr(_state, self.attribute, self.previous)


class use_backend(_Use):
    """Take every kernel from one room: ``"portable"`` for study, ``None`` for the default choice by array type. Without a GPU,
    ``"cuda"`` runs the CUDA kernels on the CPU, slowly: see docs/cuda.md.

    Acts at once, and ends with the ``with`` block if used as one; as a decorator it acts during each call.

    >>> with use_backend("portable"):
    ...     x = np.ones((1, 1, 2, 2), np.float32)
    ...     [str(c) for c in explain(lambda: kernel("im2col", x))]
    ["im2col: portable (use_backend('portable'))"]
    """

    attribute = "forced"

    def __init__(self, backend: str | None):
        if backend is not None and backend not in BACKENDS:
            raise ValueError(f"unknown backend {backend!r}: choose one of {', '.join(BACKENDS)}, or None")
        super().__init__(backend)


class use_algorithm(_Use):
    """Compute convolutions on the CPU by one algorithm wherever it can: ``"depthwise"``, ``"direct"``, ``"pointwise"`` or
    ``"winograd"``; ``None`` for the default choice by shape. ``direct`` can do all; what another cannot do, it does.

    >>> import minidl
    >>> x, w = minidl.ones(1, 16, 8, 8), minidl.ones(16, 16, 3, 3)
    >>> with use_algorithm("direct"):
    ...     print(explain(minidl.ops.conv2d, x, w)[-1])
    conv2d: cpu (direct: a sum of shifted images)
    """

    attribute = "algorithm"

    def __init__(self, algorithm: str | None):
        if algorithm is not None and algorithm not in ALGORITHMS:
            raise ValueError(f"unknown algorithm {algorithm!r}: choose one of {', '.join(ALGORITHMS)}, or None")
        super().__init__(algorithm)


def forced_algorithm() -> str | None:
    """What ``use_algorithm`` asks for."""
    return _state.algorithm


def explain(function: Callable, *args, **kwargs) -> list[Choice]:
    """Run ``function(*args, **kwargs)`` and return the kernels that ran, each with the room it came from and the reason.

    >>> x = np.ones((1, 1, 2, 2), np.float16)
    >>> explain(lambda: kernel("im2col", x))[0].reason
    'cpu has no kernels for float16'
    """
    previous, _state.log = _state.log, []
    try:
        function(*args, **kwargs)
        return _state.log
    finally:
        _state.log = previous
