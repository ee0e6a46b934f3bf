"""Products of matrices: large ones by our own kernel (``gemm``), the rest by NumPy's BLAS on one thread.

OpenBLAS keeps a pool of threads of its own, which go on spinning for milliseconds after a product and slow down whatever runs
next. Its thread count belongs to the whole process, so it is set to one for the call and put back; with another BLAS nothing is
set.
"""

import ctypes
import functools
import threading
from pathlib import Path

import numpy as np

from minidl.kernels.cpu.compile import ready
from minidl.kernels.cpu.gemm import multiply_blocks, pack, steps
from minidl.kernels.cpu.instructions import BYTES, LANES
from minidl.kernels.cpu.moves import aligned
from minidl.kernels.cpu.threads import split
from minidl.kernels.cpu.vector import VECTORS

SMALL = 1 << 21  # multiply-adds that one thread does in some 30 us
WIDTH = 2 * VECTORS * LANES  # of a block whose columns lie one behind the other in memory
LONG = 8 * WIDTH  # of one whose rows do: long runs of memory are read faster
BLOCKS = 8  # into at least so many blocks a product is cut, for as many threads


def matmul(x, y):
    """As the portable kernel."""
    if x.ndim == y.ndim == 2 and x.shape[1] == y.shape[0] and x.size * y.shape[1] > SMALL:
        return _product(x, y)
    with _one_thread:
        return x @ y


def _product(x, y):
    """x (M, K) y (K, N) -> (M, N)"""
    (rows, depth), columns = x.shape, y.shape[1]
    z = np.empty((rows, columns), x.dtype)
    flat, lane, step = _flat(x)
    lanes = BYTES // x.itemsize
    strips = -(-rows // lanes)
    packed = aligned(strips * depth * lanes, x)
    split(pack, strips, packed.size // 4, flat, 0, lane, step, rows, depth, packed, 0, depth)
    flat, step, lane = _flat(y)
    width = WIDTH if step == 1 else LONG
    across = -(-columns // width)
    height = -(-strips // max(1, min(strips, BLOCKS // across))) * lanes
    split(multiply_blocks, across * -(-rows // height), rows * columns * depth // LANES, packed, rows, flat, lane, step, columns,
          depth, height, width, steps(x.itemsize), z.reshape(-1))
    return z


def _flat(x):
    """The numbers of x in the order of memory, and the steps along its rows and columns."""
    if not x.flags.c_contiguous and x.flags.f_contiguous:
        return ready(x.T).reshape(-1), 1, len(x)
    return ready(x).reshape(-1), x.shape[1], 1


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
