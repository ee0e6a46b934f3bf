"""Products of matrices on the GPU: see matmul.cu.

cuBLAS is faster, and multiplies CuPy arrays. But CuPy refuses it while a step is recorded (minidl.capture), multiplies batches of
16-bit matrices as float32 (CuPy 14, its pull request 10317), and rounds float32 to tf32 only by a switch of its own. Then, and
for NumPy arrays, our own kernels run: on tensor cores what they take (conv_tensor), the rest in plain arithmetic.
"""

import math

import numpy as np

from minidl.kernels import namespace, note
from minidl.kernels.cuda import conv_tensor
from minidl.kernels.cuda.gemm import LARGEST, launch_in_parts, plan
from minidl.kernels.cuda.launch import C_TYPES
from minidl.kernels.portable import matmul as portable
from minidl.kernels.recording import must_be_recordable


def matmul(x, y):
    """As the portable kernel."""
    if _ours(x, y) and x.dtype.name in C_TYPES and max(_extent(x), _extent(y), _products(x, y)) <= LARGEST:
        if x.size and y.size and (tensor := conv_tensor.takes(x)):
            note("matmul", "cuda", tensor)
            return conv_tensor.matmul(x, y)
        return product(x, y)
    if isinstance(x, np.ndarray):
        note("matmul", "portable", f"{x.dtype}, or too far apart to count in 32 bits")
        return portable.matmul(x, y)
    note("matmul", "cuda", "cuBLAS")
    return x @ y


def _ours(x, y):
    if isinstance(x, np.ndarray) or must_be_recordable():
        return True
    return x.itemsize == 2 and max(x.ndim, y.ndim) > 2 or x.dtype == np.float32 and conv_tensor.takes(x)


def product(x, y):
    """x (..., M, K) y (..., K, N) -> (..., M, N), batches broadcast; transposed matrices and slices are read where they lie."""
    batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
    x, y = _batched(x, batch), _batched(y, batch)
    (batches, m, k), n = x.shape, y.shape[2]
    z = namespace(x).empty((*batch, m, n), x.dtype)
    rows, *cut = plan(m, n, k, batches)
    launch_in_parts(f"matmul.matmul_{rows}", *cut, z, x, *_steps(x), y, *_steps(y), after=(batches, m, n, k))
    return z


def _batched(x, batch):
    """x (..., R, C) as (B, R, C): a view, unless several axes of a batch do not make one."""
    x = np.require(x, requirements="A") if isinstance(x, np.ndarray) else x
    x = namespace(x).broadcast_to(x, (*batch, *x.shape[-2:]))
    return x.reshape(math.prod(batch), *x.shape[-2:])


def _steps(x):
    """How many numbers neighbours along each axis are apart."""
    return [step // x.itemsize for step in x.strides]


def _products(x, y):
    """How many numbers the product has."""
    return math.prod(np.broadcast_shapes(x.shape[:-2], y.shape[:-2])) * x.shape[-2] * y.shape[-1]


def _extent(x):
    return sum((size - 1) * abs(step) for size, step in zip(x.shape, _steps(x), strict=True))
