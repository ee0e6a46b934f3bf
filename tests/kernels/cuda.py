"""CUDA kernels beside the other rooms: on a machine without a GPU they run as C++ on the CPU."""

import shutil

import numpy as np
import pytest

on_host = pytest.mark.skipif(not (shutil.which("g++") or shutil.which("c++")), reason="no C++ compiler to run CUDA kernels with")


def with_cuda(rooms, cuda, dtypes=(np.float32, np.float64)):
    """``rooms``, a list of (room, dtype), and the CUDA room for each of ``dtypes``."""
    return [*rooms, *(pytest.param(cuda, dtype, marks=on_host) for dtype in dtypes)]
