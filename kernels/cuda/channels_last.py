"""Arrays as the tensor cores' kernels read them: channels last, in whole chunks. See channels_last.cu."""

import math

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.constants import derived
from minidl.kernels.cuda.launch import THREADS, lanes, launch, source, structs

CHUNK = 16  # bytes
PIXELS, CHUNKS = 64, 8  # of a tile
FEW = 4  # chunks that need no tile
IMAGES, WEIGHTS = (structs(source("channels_last").read_text())[name] for name in ("Images", "Weights"))


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
    images = np.array((len(x), groups, channels, pixels, chunks), IMAGES)[()]
    if chunks <= FEW:
        launch("channels_last.few_last", groups * -(-len(x) * pixels // 2) * chunks, x, y, images, dtype=x.dtype)
    else:
        tiles = groups * -(-len(x) * pixels // PIXELS) * -(-chunks // CHUNKS)
        launch("channels_last.images_last", tiles, x, y, images, dtype=x.dtype, per_item=THREADS)
    return y


def weights_last(w):
    """w (groups, rows, height, width, channels), which may be a view of any other order, with zeros behind its channels."""
    groups, rows, height, width, channels = w.shape
    chunks = chunks_of(channels, w.dtype)
    shape = (*w.shape[:-1], chunks * CHUNK // w.itemsize)
    if w.flags.c_contiguous:
        if shape == w.shape:
            return _rounded(w)
    elif (each := w.transpose(0, 1, 4, 2, 3)).flags.c_contiguous:  # the taps of a row are like the pixels of an image
        return _images_last(each.reshape(groups * rows, channels, height * width), 1).reshape(shape)
    elif (each := w.transpose(0, 4, 1, 2, 3)).flags.c_contiguous:  # and so are the rows and taps of a group
        return _images_last(each.reshape(1, groups * channels, rows * height * width), groups).reshape(shape)
    y = namespace(w).empty(shape, w.dtype)
    steps = (step // w.itemsize for step in w.strides)
    weights = np.array((*w.shape[1:], chunks, *steps), WEIGHTS)[()]
    launch("channels_last.weights_last", math.prod(w.shape[:-1]) * chunks, w, y, weights, dtype=w.dtype)
    return y


def rows_last(matrices):
    """(groups, rows, columns), which may be transposed arrays, with zeros behind its columns."""
    return weights_last(matrices[:, :, None, None, :])


def _rounded(w):
    """With numbers as the tensor cores take them, at an address that is a multiple of a chunk."""
    if w.itemsize == 2 and address(w) % CHUNK == 0:
        return w
    y = namespace(w).empty(w.shape, w.dtype)
    launch("channels_last.rounded", w.size, w, y, dtype=w.dtype, per_thread=lanes(w.dtype))
    return y


def address(array) -> int:
    """Of its first number."""
    return array.ctypes.data if isinstance(array, np.ndarray) else array.data.ptr
