"""Arrays as the tensor cores' kernels read them: channels last, in whole chunks. See channels_last.cu."""

import math

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.constants import derived
from minidl.kernels.cuda.launch import THREADS, launch, source, structs

CHUNK = 16  # bytes
PIXELS, CHUNKS = 64, 8  # of a tile
WEIGHTS = structs(source("channels_last").read_text())["Weights"]


def chunks_of(channels: int, dtype) -> int:
    """How many hold that many channels; one at least.

    >>> chunks_of(3, np.dtype(np.float16)), chunks_of(64, np.dtype(np.float16)), chunks_of(3, np.dtype(np.float32))
    (1, 8, 1)
    """
    return max(1, -(-channels * dtype.itemsize // CHUNK))


def images_last(x, groups: int):
    """x (N, C, ...) -> (groups, N, pixels, channels of a group and zeros)."""
    return derived(x, ("images_last", groups), lambda: _images_last(x, groups))


def _images_last(x, groups):
    channels, pixels, chunks = x.shape[1] // groups, math.prod(x.shape[2:]), chunks_of(x.shape[1] // groups, x.dtype)
    y = namespace(x).empty((groups, len(x), pixels, chunks * CHUNK // x.itemsize), x.dtype)
    tiles = groups * len(x) * -(-pixels // PIXELS) * -(-chunks // CHUNKS)
    launch("channels_last.images_last", tiles, x, y, len(x), groups, channels, pixels, chunks, dtype=x.dtype, per_item=THREADS)
    return y


def weights_last(w):
    """w (groups, rows, height, width, channels), which may be a view of any other order, with zeros behind its channels."""
    channels, padded = w.shape[-1], chunks_of(w.shape[-1], w.dtype) * CHUNK // w.itemsize
    if w.itemsize == 2 and channels == padded and w.flags.c_contiguous and address(w) % CHUNK == 0:
        return w
    y = namespace(w).empty((*w.shape[:-1], padded), w.dtype)
    steps = (step // w.itemsize for step in w.strides)
    launch("channels_last.weights_last", y.size, w, y, np.array((*w.shape[1:], padded, *steps), WEIGHTS)[()], dtype=w.dtype)
    return y


def rows_last(matrices):
    """(groups, rows, columns), with zeros behind its columns. What is a transposed array is transposed tile by tile."""
    turned = matrices.swapaxes(1, 2)
    if turned.flags.c_contiguous and not matrices.flags.c_contiguous:
        groups, columns, rows = turned.shape
        return images_last(turned.reshape(1, groups * columns, rows), groups)
    return weights_last(matrices[:, :, None, None, :])


def address(array) -> int:
    """Of its first number."""
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
