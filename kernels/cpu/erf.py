"""The error function, from the C library."""

import math

import numpy as np

from minidl.kernels.cpu.compile import jit, ready
from minidl.kernels.cpu.threads import split


def erf(x):
    """As the portable kernel."""
    source = ready(x)
    y = np.empty_like(source)
    split(_erf, x.size, 20 * x.size, source.reshape(-1), y.reshape(-1))
    return y


@jit
def _erf(start, stop, x, y):
    for i in range(start, stop):
        y[i] = math.erf(x[i])
