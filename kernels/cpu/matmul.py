"""Products of matrices by NumPy's BLAS, small ones on one thread.

OpenBLAS hands a product of a few thousand numbers to all its threads, which then wait for each other by spinning: on a busy
machine that made LeNet's layers ten times slower. Its thread count belongs to the whole process, so it is set for the call and
put back; with another BLAS nothing is set.
"""

import ctypes
import functools
import threading
from pathlib import Path

import numpy as np

SMALL = 1 << 24  # multiply-adds that one thread does in about 0.2 ms


def matmul(x, y):
    """As the portable kernel."""
    if x.size * y.shape[-1] > SMALL:
        return x @ y
    with _one_thread:
        return x @ y


class _OneThread:
    """Holds OpenBLAS to one thread while any Python thread is inside."""

    def __init__(self):
        self._lock, self._inside, self._before = threading.Lock(), 0, 0

    def __enter__(self):
        blas = _openblas()
        if blas is not None:
            with self._lock:
                if not self._inside:
                    self._before = blas[0]()
                    blas[1](1)
                self._inside += 1

    def __exit__(self, *_):
        blas = _openblas()
        if blas is not None:
            with self._lock:
                self._inside -= 1
                if not self._inside:
                    blas[1](self._before)


_one_thread = _OneThread()


@functools.cache
def _openblas():
    """(get, set) of the number of threads in the OpenBLAS that NumPy's wheel brings, or None."""
    for folder in (Path(np.__file__).parent.parent / "numpy.libs", Path(np.__file__).parent / ".dylibs"):
        for path in sorted(folder.glob("*openblas*")):
            library = ctypes.CDLL(str(path))
            for prefix, suffix in (("scipy_", "64_"), ("scipy_", ""), ("", "64_"), ("", "")):
                try:
                    return tuple(getattr(library, f"{prefix}openblas_{verb}_num_threads{suffix}") for verb in ("get", "set"))
                except AttributeError:
                    continue
    return None
