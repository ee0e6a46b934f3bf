"""Local response normalisation on the GPU: see lrn.cu."""

import math

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready


def local_response_norm(x, size, alpha, beta, k):
    """As the portable kernel."""
    x, y = ready(x), namespace(x).empty(x.shape, x.dtype)
    _launch("local_response_norm", x, (x, y), size, alpha, beta, k)
    return y


def local_response_norm_grad(gy, x, size, alpha, beta, k):
    """As the portable kernel."""
    gy, x = ready(gy, x)
    t, gx = (namespace(x).empty(x.shape, x.dtype) for _ in range(2))
    _launch("spread", x, (gy, x, t), size, alpha, beta, k)
    _launch("local_response_norm_grad", x, (gy, x, t, gx), size, alpha, beta, k)
    return gx


def _launch(name, x, arrays, size, *numbers):
    inner = np.int64(math.prod(x.shape[2:]))
    launch(f"lrn.{name}", x.size, *arrays, x.shape[1], inner, size, *map(float, numbers), dtype=x.dtype)
