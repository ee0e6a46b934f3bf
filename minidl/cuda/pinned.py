"""Pinned memory: host memory that stays in its place, so that a GPU copies from it by itself while Python goes on.

CuPy copies other memory to pinned memory first, and then to the GPU; so a single copy to the GPU gains nothing from pinning, and
what is sent from pinned memory is copied once less.
"""

import sys
from collections import deque

import numpy as np

from minidl.cuda.load import load_cupy
from minidl.device import Device, gpu_count

_under_way: deque = deque()  # (event at its end, array) of each copy: the memory must not be used for anything else before


def pin(array: np.ndarray) -> np.ndarray:
    """A copy in pinned memory; the array itself if it lies there, or is empty. Raises DeviceError where there is no GPU."""
    gpu_count()
    if is_pinned(array) or not array.size:
        return array
    pinned = np.ndarray(array.shape, array.dtype, load_cupy().cuda.alloc_pinned_memory(array.nbytes))
    pinned[...] = array
    return pinned


def is_pinned(array) -> bool:
    """Whether this is an array, or a view of one, that ``pin`` made."""
    while isinstance(array, np.ndarray):
        array = array.base
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.cuda.PinnedMemoryPointer)


def send(array: np.ndarray, device: Device):
    """A copy of a pinned array on a GPU. It may not have happened yet when this returns, so the array must not be written to
    before ``synchronize``; it may be let go of.
    """
    cupy = load_cupy()
    while _under_way and _under_way[0][0].done:
        _under_way.popleft()
    with cupy.cuda.Device(device.index):
        array, stream = np.require(array, requirements="C"), cupy.cuda.get_current_stream()
        sent = cupy.empty(array.shape, array.dtype)
        sent.set(array, stream)
        _under_way.append((stream.record(), array))
    return sent
