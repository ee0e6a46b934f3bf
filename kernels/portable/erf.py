"""The error function, which NumPy lacks."""

import numpy as np

from minidl.kernels import namespace


def erf(x):
    """2/sqrt(pi) times the integral of exp(-t^2) from 0 to x, to about 1e-15; NaN stays NaN.

    Source: the Maclaurin series sum (-1)^n x^(2n+1) / (n! (2n+1)) in its all-positive form exp(-x^2) sum 2^n x^(2n+1) / (2n+1)!!
    for |x| < 2.5, and the continued fraction of erfc beyond (Abramowitz and Stegun 1964, 7.1.6 and 7.1.14).
    """
    xp = namespace(x)
    z = abs(x.astype(np.float64))
    small = xp.minimum(z, 2.5)
    term = small
    series = small
    for n in range(1, 60):
        term = term * (2 * small * small / (2 * n + 1))
        series = series + term
    inner = series * xp.exp(-small * small) * (2 / np.sqrt(np.pi))
    large = xp.clip(z, 2.5, 30.0)
    fraction = large
    for k in range(60, 0, -1):
        fraction = large + (k / 2) / fraction
    outer = 1 - xp.exp(-large * large) / (fraction * np.sqrt(np.pi))
    return xp.copysign(xp.where(z < 2.5, inner, outer), x).astype(x.dtype)
