"""CUDA kernels on a machine without a GPU: the unchanged source compiled as C++, blocks in turn, threads as fibers.

Slow, and right where the kernel is: a barrier that not all threads reach is reported, and so is an argument of another type than
the kernel declares. ``MINIDL_CUDA_DEBUG=1`` compiles without optimisation and with symbols, for a debugger: see docs/cuda.md.
"""

import atexit
import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from minidl.kernels.cuda.launch import code, options
from minidl.kernels.cuda.signature import check, kinds, parameters

HEADER = Path(__file__).with_name("host.h")


def run(file: str, function: str, dtype, blocks: int, threads: int, args) -> None:
    """Run a kernel on NumPy arrays."""
    library, declared, types = _compiled(file, dtype)
    check(f"{function} of {file}.cu", declared[function], types, args)
    args = [arg[()] if isinstance(arg, np.ndarray) and arg.dtype.names else arg for arg in args]  # structs, not arrays of them
    values = [np.uint64(arg.ctypes.data) if isinstance(arg, np.ndarray) else arg for arg in args]
    values = [np.asarray(value) for value in values]  # numbers that have an address
    addresses = np.array([value.ctypes.data for value in values], np.uintp)
    where = ctypes.c_void_p(addresses.ctypes.data)
    if getattr(library, f"launch_{function}")(ctypes.c_longlong(blocks), ctypes.c_int(threads), where):
        raise RuntimeError(f"{function} of {file}.cu: some threads of a block wait at a barrier that others never reach")


@functools.cache
def _compiled(file, dtype):
    """The library, what each kernel declares, and the dtypes of the C types."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise ImportError("CUDA kernels on the CPU need a C++ compiler: install g++ (`apt install g++`)")
    text = code(file)
    declared = parameters(text)
    calls = "".join(_launcher(name, each) for name, each in declared.items())
    folder = _folder()
    path, out = folder / f"{file}_{dtype}.cpp", folder / f"{file}_{dtype}.so"
    path.write_text(f'#include "{HEADER}"\n{text}\n{calls}')
    optimised = ("-O0", "-g") if os.environ.get("MINIDL_CUDA_DEBUG") == "1" else ("-O2",)
    barriers = int("__sync" in text or "_sync(" in text)
    command = [compiler, *options(dtype.name), f"-DBARRIERS={barriers}", *optimised, "-shared", "-fPIC", "-ffp-contract=off",
               str(path), "-o", str(out)]
    result = subprocess.run(command, capture_output=True, text=True)
    if result.returncode:
        raise RuntimeError(f"{file}.cu does not compile as C++:\n{result.stderr}")
    return ctypes.CDLL(str(out)), declared, kinds(text, dtype)


@functools.cache
def _folder() -> Path:
    """Of this process alone, as a library from a shared one could be anybody's; gone with the process."""
    folder, owner = tempfile.mkdtemp(prefix="minidl-cuda-"), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return Path(folder)


def _launcher(name, declared) -> str:
    """C++ that unpacks the arguments and runs all blocks; 0 if all is well."""
    values = ", ".join(f"*({kind}{' *' * pointer} *) args[{i}]" for i, (kind, pointer, _) in enumerate(declared))
    return (f'extern "C" int launch_{name}(long long blocks, int threads, void **args) {{\n'
            f"    return host::run(blocks, threads, [](void **args) {{ {name}({values}); }}, args);\n}}\n")
