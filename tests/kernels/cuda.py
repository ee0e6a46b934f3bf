"""CUDA kernels beside the other rooms: on a machine without a GPU they run as C++ on the CPU."""

import shutil

import numpy as np
import pytest

try:
    from ml_dtypes import bfloat16
except ImportError:
    bfloat16 = None

on_host = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="no C++ compiler to run CUDA kernels with")
with_bfloat16 = pytest.mark.skipif(bfloat16 is None, reason="bfloat16 comes from ml_dtypes, which is not installed")


def with_cuda(rooms, cuda, dtypes=(np.float32, np.float64, np.float16, bfloat16)):
    """``rooms``, a list of (room, dtype), and the CUDA room for each of ``dtypes``; named after both."""
    found = [pytest.param(room, dtype, id=f"{room.__name__.split('.')[2]}-{dtype.__name__}") for room, dtype in rooms]
    for dtype in dtypes:
        marks = [on_host, with_bfloat16] if dtype is bfloat16 else on_host
        found.append(pytest.param(cuda, dtype, marks=marks, id=f"cuda-{getattr(dtype, '__name__', 'bfloat16')}"))
    return found
