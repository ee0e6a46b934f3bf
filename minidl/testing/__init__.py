"""Tools to check gradients: of tensors, of any two NumPy functions, and hypothesis strategies to draw hard inputs.

>>> import numpy as np
>>> from minidl.testing import check_vjp
>>> bool(check_vjp(np.sin, lambda gy, x: gy * np.cos(x), np.linspace(0, 1, 5)))
True
"""

from minidl.testing.gradcheck import check_vjp, examine, gradcheck, gradgradcheck
from minidl.testing.report import Entry, GradcheckError, Report

__all__ = ["Entry", "GradcheckError", "Report", "check_vjp", "examine", "gradcheck", "gradgradcheck"]
