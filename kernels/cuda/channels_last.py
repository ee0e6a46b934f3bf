"""Arrays as the tensor cores' kernels read them: channels last, in whole chunks. See channels_last.cu."""

import functools
import math
from typing import NamedTuple

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.constants import derived
from minidl.kernels.cuda.launch import THREADS, lanes, launch, source, structs

CHUNK = 16  # bytes
PIXELS, CHUNKS = 64, 8  # of a tile
FEW = 4  # chunks that need no tile
IMAGES, WEIGHTS = (structs(source("channels_last").read_text(encoding="utf-8"))[name] for name in ("Images", "Weights"))


def chunks_of(channels: int, dtype) -> int:
    """How many hold that many channels; one at least.

    >>> chunks_of(3, np.dtype(np.float16)), chunks_of(64, np.dtype(np.float16)), chunks_of(3, np.dtype(np.float32))
    (1, 8, 1)
    """
    return max(1, -(-channels * dtype.itemsize // CHUNK))


class Copy(NamedTuple):
    """A launch that puts channels last, which follows from sizes."""

    kernel: str
    items: int
    per_item: int
    shape: tuple[int, ...]  # of the result
    sizes: np.void


def images_last(x, groups: int):
    """x (N, C, ...) -> (groups, N, pixels, channels of a group and zeros)."""
    return derived(x, ("images_last", groups), lambda: _copied(x, _of_images(x.shape, groups, x.dtype)))


def weights_last(w):
    """w (groups, rows, height, width, channels), which may be a view of any other order, with zeros behind its channels."""
    copy = _of_weights(w.shape, w.strides, w.dtype)
    return _rounded(w) if copy is None else _copied(w, copy)


def _copied(x, copy):
    y = namespace(x).empty(copy.shape, x.dtype)
    launch(copy.kernel, copy.items, x, y, copy.sizes, dtype=x.dtype, per_item=copy.per_item)
    return y


@functools.lru_cache(4096)
def _of_images(shape, groups, dtype) -> Copy:
    images, channels, pixels = shape[0], shape[1] // groups, math.prod(shape[2:])
    chunks = chunks_of(channels, dtype)
    result, sizes = (groups, images, pixels, chunks * CHUNK // dtype.itemsize), (images, groups, channels, pixels, chunks)
    sizes = np.array(sizes, IMAGES)[()]
    if chunks <= FEW:
        return Copy("channels_last.few_last", groups * -(-images * pixels // 2) * chunks, 1, result, sizes)
    tiles = groups * -(-images * pixels // PIXELS) * -(-chunks // CHUNKS)
    return Copy("channels_last.images_last", tiles, THREADS, result, sizes)


@functools.lru_cache(4096)
def _of_weights(shape, strides, dtype) -> Copy | None:
    """None where they lie as they should."""
    groups, rows, height, width, channels = shape
    chunks, steps = chunks_of(channels, dtype), [step // dtype.itemsize for step in strides]
    result = (*shape[:-1], chunks * CHUNK // dtype.itemsize)
    if _dense(shape, steps, (0, 1, 2, 3, 4)):
        if result == shape:
            return None
    elif _dense(shape, steps, (0, 1, 4, 2, 3)):  # the taps of a row are like the pixels of an image
        return _of_images((groups * rows, channels, height * width), 1, dtype)._replace(shape=result)
    elif _dense(shape, steps, (0, 4, 1, 2, 3)):  # and so are the rows and taps of a group
        return _of_images((1, groups * channels, rows * height * width), groups, dtype)._replace(shape=result)
    sizes = np.array((*shape[1:], chunks, *steps), WEIGHTS)[()]
    return Copy("channels_last.weights_last", math.prod(shape[:-1]) * chunks, 1, result, sizes)


def _dense(shape, steps, order) -> bool:
    """Whether numbers lie one behind the other where axes are in this order."""
    step = 1
    for axis in reversed(order):
        if shape[axis] != 1 and steps[axis] != step:
            return False
        step *= shape[axis]
    return True


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
