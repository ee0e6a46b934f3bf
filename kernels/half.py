"""Half precision, float16 and bfloat16: stored in two bytes, computed in float32, rounded once.

bfloat16 is the upper half of a float32: 8 bits of exponent, so the same range, and 7 of fraction. NumPy has it from ml_dtypes,
with "V" as its kind. Two things it does differently: with a Python float it gives float32, and with integers float64.
"""

import numpy as np

REAL = "fV"  # the kinds of real floating-point dtypes


def is_half(dtype) -> bool:
    """Whether this dtype is float16 or bfloat16."""
    return dtype.itemsize == 2 and dtype.kind in REAL


def widened(array):
    """A float16 or bfloat16 array as float32, any other as it is.

    >>> widened(np.ones(2, np.float16)).dtype, widened(np.ones(2, np.int16)).dtype
    (dtype('float32'), dtype('int16'))
    """
    return array.astype(np.float32) if is_half(array.dtype) else array


def accumulator(dtype) -> np.dtype:
    """The dtype in which long sums are added up: float64 for floating-point numbers, else ``dtype``.

    >>> accumulator(np.dtype("float32")), accumulator(np.dtype("int64"))
    (dtype('float64'), dtype('int64'))
    """
    return np.dtype(np.float64) if dtype.kind in REAL else dtype
