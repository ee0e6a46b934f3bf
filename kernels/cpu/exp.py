"""exp for the loops of other kernels: in float32 a short polynomial that the compiler vectorizes, in float64 libm's."""

import math

import numpy as np
from numba import types
from numba.extending import overload

from minidl.kernels.cpu.compile import FASTMATH

LOG2_E = 1 / math.log(2)
TAYLOR = tuple(np.float32(math.log(2) ** k / math.factorial(k)) for k in range(8))  # of 2^f


def exp(x):
    """e^x of a number, in compiled kernels. float32: within 1 ulp for -87 < x < 88, 0 below, inf above, NaN kept."""
    raise NotImplementedError("this exp exists in compiled kernels only")


@overload(exp, jit_options={"fastmath": FASTMATH})
def _compiled(x):
    return _exp32 if x == types.float32 else _exp64


def _exp64(x):
    return math.exp(x)


def _exp32(x):
    """2^n 2^f, where x log2(e) = n + f and |f| <= 1/2: the first written into the exponent's bits, the second a Taylor
    polynomial of degree 7. Splitting in float64 keeps f exact to float32.
    """
    t = np.float64(x) * LOG2_E
    t = -127.0 if t < -127.0 else t
    t = 128.0 if t > 128.0 else t
    n = np.floor(t + 0.5)
    f = np.float32(t - n)
    y = TAYLOR[7] * f + TAYLOR[6]
    y = y * f + TAYLOR[5]
    y = y * f + TAYLOR[4]
    y = y * f + TAYLOR[3]
    y = y * f + TAYLOR[2]
    y = y * f + TAYLOR[1]
    y = y * f + TAYLOR[0]
    return y * np.int32((np.int32(n) + 127) << 23).view(np.float32)
