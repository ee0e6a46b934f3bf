"""Random numbers on the GPU, a thread to a block of four words: see philox.cu."""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda.launch import launch, ready
from minidl.kernels.half import is_half
from minidl.kernels.portable import philox as portable


def philox(key, counter, n):
    """As the portable kernel."""
    return in_blocks("philox", key, counter, n, namespace(key).empty(n, np.uint32))


def philox_uniform(key, counter, n, dtype):
    """As the portable kernel, which does half precision."""
    return _numbers("philox_uniform", key, counter, n, np.dtype(dtype))


def philox_normal(key, counter, n, dtype):
    """As the portable kernel, which does half precision."""
    return _numbers("philox_normal", key, counter, n, np.dtype(dtype))


def _numbers(name, key, counter, n, dtype):
    if is_half(dtype):
        return getattr(portable, name)(key, counter, n, dtype)
    return in_blocks(name, key, counter, n, namespace(key).empty(n, dtype), per_block=16 // dtype.itemsize, dtype=dtype)


def in_blocks(name, key, counter, n, out, *args, per_block=4, dtype=np.float32):
    """Fill ``out`` with ``n`` things of which a block of words gives ``per_block``."""
    launch(f"philox.{name}", -(-n // per_block), *ready(key, counter), np.int64(n), *args, out, dtype=dtype)
    return out
