"""Local response normalisation on the GPU: see lrn.cu."""

import math

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready

CHUNK, GRAD_CHUNK = 16, 64  # channels to a thread, as in lrn.cu


def local_response_norm(x, size, alpha, beta, k):
    """As the portable kernel."""
    return _launch("local_response_norm", CHUNK, (x,), size, alpha / size, beta, k)


def local_response_norm_grad(gy, x, size, alpha, beta, k):
    """As the portable kernel."""
    return _launch("local_response_norm_grad", GRAD_CHUNK, (gy, x), size, alpha / size, beta, k)


def _launch(name, chunk, arrays, size, *numbers):
    x = arrays[-1]
    out, channels, inner = namespace(x).empty(x.shape, x.dtype), x.shape[1], math.prod(x.shape[2:])
    chunks = -(-channels // chunk)
    launch(f"lrn.{name}", len(x) * chunks * inner, *map(ready, arrays), out, channels, chunks, inner, size, *map(float, numbers),
           dtype=x.dtype)
    return out
