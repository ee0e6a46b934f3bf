"""CUDA kernels on a machine without a GPU: the unchanged source compiled as C++, blocks in turn, threads as fibers.

Slow, and right where the kernel is: a barrier that not all threads reach is reported, and so is an argument of another type than
the kernel declares. ``MINIDL_CUDA_DEBUG=1`` compiles without optimisation and with symbols, for a debugger: see docs/cuda.md.
"""

import atexit
import ctypes
import functools
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from minidl.kernels.cuda.launch import C_TYPES, code, options, structs

HEADER = Path(__file__).with_name("host.h")
KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([\w, ]+\)\s)?(\w+)\(([^)]*)\)')
DTYPES = {"int": np.int32, "long long": np.int64, "unsigned": np.uint32, "bool": np.bool_, "float": np.float32,
          "double": np.float64}


def run(file: str, function: str, dtype, blocks: int, threads: int, args) -> None:
    """Run a kernel on NumPy arrays."""
    library, parameters, kinds = _compiled(file, dtype)
    declared = parameters[function]
    if len(args) != len(declared):
        raise TypeError(f"{function} of {file}.cu takes {len(declared)} arguments, got {len(args)}")
    args = [arg[()] if isinstance(arg, np.ndarray) and arg.dtype.names else arg for arg in args]  # structs, not arrays of them
    for parameter, arg in zip(declared, args, strict=True):
        _check(file, function, parameter, arg, kinds)
    values = [np.uint64(arg.ctypes.data) if isinstance(arg, np.ndarray) else arg for arg in args]
    values = [np.asarray(value) for value in values]  # numbers that have an address
    addresses = np.array([value.ctypes.data for value in values], np.uintp)
    where = ctypes.c_void_p(addresses.ctypes.data)
    if getattr(library, f"launch_{function}")(ctypes.c_longlong(blocks), ctypes.c_int(threads), where):
        raise RuntimeError(f"{function} of {file}.cu: some threads of a block wait at a barrier that others never reach")


def _check(file, function, parameter, arg, kinds):
    kind, pointer, name = parameter
    expected = np.dtype(kinds[kind])
    absent = pointer and arg.dtype == np.uint64 and arg == 0 if not isinstance(arg, np.ndarray) else False
    if absent or (arg.dtype == expected and isinstance(arg, np.ndarray) == pointer):
        return
    found = f"an array of {arg.dtype}" if isinstance(arg, np.ndarray) else f"{arg.dtype} {arg}"
    raise TypeError(f"{function} of {file}.cu: {name} is {'an array of ' if pointer else ''}{expected}, got {found}")


@functools.cache
def _compiled(file, dtype):
    """The library; of each kernel its parameters: C type, whether it is a pointer, name; and the dtypes of the C types."""
    compiler = shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        raise ImportError("CUDA kernels on the CPU need a C++ compiler: install g++ (`apt install g++`)")
    text = code(file)
    parameters = {name: [_parameter(each) for each in listed.split(",")] for name, listed in KERNEL.findall(text)}
    calls = "".join(_launcher(name, each) for name, each in parameters.items())
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
    kinds = {**DTYPES, **structs(text), "real": dtype, "wide": DTYPES[C_TYPES[dtype.name][1]]}
    return ctypes.CDLL(str(out)), parameters, kinds


@functools.cache
def _folder() -> Path:
    """Of this process alone, as a library from a shared one could be anybody's; gone with the process."""
    folder, owner = tempfile.mkdtemp(prefix="minidl-cuda-"), os.getpid()
    atexit.register(lambda: shutil.rmtree(folder, ignore_errors=True) if os.getpid() == owner else None)
    return Path(folder)


def _parameter(text: str) -> tuple[str, bool, str]:
    words = text.replace("*", " * ").replace("const", " ").replace("__restrict__", " ").split()
    return " ".join(word for word in words[:-1] if word != "*"), "*" in words, words[-1]


def _launcher(name, parameters) -> str:
    """C++ that unpacks the arguments and runs all blocks; 0 if all is well."""
    values = ", ".join(f"*({kind}{' *' * pointer} *) args[{i}]" for i, (kind, pointer, _) in enumerate(parameters))
    return (f'extern "C" int launch_{name}(long long blocks, int threads, void **args) {{\n'
            f"    return host::run(blocks, threads, [](void **args) {{ {name}({values}); }}, args);\n}}\n")
