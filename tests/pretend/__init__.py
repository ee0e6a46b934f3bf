"""A stand-in for CuPy where there is no GPU, so that all that runs on one is tested: ``pytest --device pretend``.

It is as strict as CuPy 14: what passes here does not mix arrays of the CPU and the GPU, calls no function and passes no
argument that CuPy lacks, and goes through the launch of CUDA kernels, which run on the CPU. It says nothing about speed, nor
about what threads do at the same time.
"""

import sys
import types


def install() -> types.ModuleType:
    """Put the stand-in in the place of ``cupy``."""
    from tests.pretend import array, cuda, graph, memory

    for module, package in ((array, "cupy"), (cuda, "cupy"), (memory, "cupy"), (graph, "cupy_backends")):
        module.__name__ = f"{package}.{module.__name__.rpartition('.')[2]}"  # for those who look at tracebacks
    cupy, cupyx = types.ModuleType("cupy"), types.ModuleType("cupyx")
    vars(cupy).update({name: thing for name, thing in array.FUNCTIONS.items() if "." not in name})
    cupy.linalg = types.ModuleType("cupy.linalg")
    vars(cupy.linalg).update({name[7:]: thing for name, thing in array.FUNCTIONS.items() if name.startswith("linalg.")})
    cupy.lib = types.SimpleNamespace(stride_tricks=types.SimpleNamespace(as_strided=array.as_strided))
    cupy.cuda, cupy.RawModule, cupy.__version__ = cuda, cuda.RawModule, "14.2.0"
    cupy.get_default_memory_pool = cuda.get_default_memory_pool
    cupy.get_default_pinned_memory_pool = cuda.get_default_pinned_memory_pool
    cupyx.empty_pinned = cuda.empty_pinned
    sys.modules.update({"cupy": cupy, "cupy.cuda": cuda, "cupyx": cupyx})
    return cupy
