"""Dropout: a random mask, and the linear map at that mask."""

import numpy as np

from minidl.kernels import kernel
from minidl.kernels.portable.philox import philox
from minidl.kernels.recording import number


def dropout_mask(key, counter, shape, p):
    """A bool array, True with probability 1 - p (to 2^-32): where a word of the Philox stream is below (1 - p) 2^32."""
    words = philox(key, counter, int(np.prod(shape, dtype=np.int64)))
    return (words.astype(np.uint64) < keep_below(p)).reshape(shape)


def dropout(key, counter, x, p, scale):
    """The mask of ``dropout_mask`` in the shape of x, and x with it applied. On the GPU this is one pass."""
    mask = kernel("dropout_mask", key)(key, counter, x.shape, p)
    return mask, kernel("apply_mask", x)(x, mask, scale)


def keep_below(p: float) -> int:
    """The threshold for 32-bit words, 0 to 2^32, that keeps an element with probability 1 - p."""
    return round((1 - p) * 2**32)


def apply_mask(x, mask, scale):
    """y = x mask scale, in the dtype of x; the mask broadcasts. NaN and inf become NaN where they are dropped."""
    wide = np.promote_types(x.dtype, np.float32)
    return (x * (mask * number(scale, wide, x))).astype(x.dtype, copy=False)
