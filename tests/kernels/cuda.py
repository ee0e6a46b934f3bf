"""CUDA kernels beside the other rooms: on the GPU where the tests run on one, else as C++ on the CPU."""

import ctypes
import functools
import inspect
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from minidl import kernels as registry
from minidl.cuda.load import load_cupy
from minidl.device import get_default_device
from minidl.nested import mapped

try:
    from ml_dtypes import bfloat16
except ImportError:
    bfloat16 = None

ALIGNMENT = 16  # bytes that kernels read at a time
STAY = {"divisors"}  # arguments that are NumPy's everywhere

LACKING = not (shutil.which("g++") or shutil.which("c++"))
on_host = pytest.mark.skipif(LACKING, reason="no C++ compiler to run CUDA kernels with")
cuda_runs = on_host if get_default_device().type == "cpu" else pytest.mark.skipif(False, reason="on the GPU")
with_bfloat16 = pytest.mark.skipif(bfloat16 is None, reason="bfloat16 comes from ml_dtypes, which is not installed")


def with_cuda(rooms, cuda, dtypes=(np.float32, np.float64, np.float16, bfloat16)):
    """``rooms``, a list of (room, dtype), and the CUDA room for each of ``dtypes``; named after both."""
    found = [pytest.param(room, dtype, id=f"{room.__name__.split('.')[2]}-{dtype.__name__}") for room, dtype in rooms]
    for dtype in dtypes:
        marks = [cuda_runs, with_bfloat16] if dtype is bfloat16 else cuda_runs
        found.append(pytest.param(cuda, dtype, marks=marks, id=f"cuda-{getattr(dtype, '__name__', 'bfloat16')}"))
    return found


def kernel(name, array):
    """The registry's kernel; one of CUDA as ``on_device`` makes it."""
    found = registry.kernel(name, array)
    return on_device(found) if found.__module__.startswith("minidl.kernels.cuda.") else found


def on_device(kernels):
    """A module of CUDA kernels, or one of them, to be called with NumPy arrays. With ``--device pretend`` or ``cuda`` they get
    arrays on the GPU, which lie in memory as NumPy's do, and what they write and return comes back.
    """
    if get_default_device().type == "cpu":
        return kernels
    if inspect.ismodule(kernels):
        functions = {name: on_device(thing) for name, thing in vars(kernels).items() if inspect.isfunction(thing)}
        return SimpleNamespace(__name__=kernels.__name__, **functions)

    @functools.wraps(kernels)
    def run(*args, **kwargs):
        sent, call = [], inspect.signature(kernels).bind(*args, **kwargs)
        for name, value in call.arguments.items():
            if name not in STAY:
                call.arguments[name] = mapped(lambda array: _send(array, sent), value, np.ndarray)
        result = kernels(*call.args, **call.kwargs)
        for bring_back in sent:
            bring_back()
        return mapped(lambda array: array.get(), result, load_cupy().ndarray)

    return run


def _send(array, sent):
    """The array on the GPU, with the strides that it has here; ``sent`` gets a function that brings back all memory from its
    first element to its last, also what lies between them, which nothing should write to.
    """
    cupy = load_cupy()
    if not array.size:
        return cupy.asarray(array)
    spans = [(size - 1) * step for size, step in zip(array.shape, array.strides, strict=True)]
    start = array.ctypes.data + sum(min(span, 0) for span in spans)
    stop = array.ctypes.data + sum(max(span, 0) for span in spans) + array.itemsize
    ahead = start % ALIGNMENT // array.itemsize  # so that it begins where it does here
    elements = np.zeros(ahead + (stop - start) // array.itemsize, array.dtype)
    ctypes.memmove(elements[ahead:].ctypes.data, start, stop - start)
    memory = cupy.asarray(elements)

    def bring_back():
        back = memory.get()
        ctypes.memmove(start, back[ahead:].ctypes.data, stop - start)

    sent.append(bring_back)
    there = cupy.lib.stride_tricks.as_strided(memory[ahead:], array.shape, [abs(step) for step in array.strides])
    return there[tuple(slice(None, None, -1 if step < 0 else 1) for step in array.strides)]
