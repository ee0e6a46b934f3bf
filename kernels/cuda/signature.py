"""What kernels take, as their source declares it. Nobody else asks: CuPy hands over as many bytes as an argument has, and the
kernel reads as many as it has declared.
"""

import re
from typing import NamedTuple

import numpy as np

from minidl.kernels.cuda.launch import C_TYPES, structs

KERNEL = re.compile(r'extern "C" __global__ void (?:__launch_bounds__\([\w, ]+\)\s)?(\w+)\(([^)]*)\)')
DTYPES = {"int": np.int32, "long long": np.int64, "unsigned": np.uint32, "bool": np.bool_, "float": np.float32,
          "double": np.float64}


class Parameter(NamedTuple):
    """Of a kernel: ``kind`` is its C type, or what it points to."""

    kind: str
    pointer: bool
    name: str


def parameters(text: str) -> dict[str, list[Parameter]]:
    """Those of each kernel of a file.

    >>> parameters('extern "C" __global__ void twice(long long items, const real *__restrict__ x, real *y) {}')["twice"][1]
    Parameter(kind='real', pointer=True, name='x')
    """
    return {name: [_parameter(each) for each in listed.split(",")] for name, listed in KERNEL.findall(text)}


def kinds(text: str, dtype) -> dict[str, np.dtype]:
    """The dtypes of the C types in a file whose numbers are of ``dtype``."""
    found = {**DTYPES, **structs(text), "real": dtype, "wide": DTYPES[C_TYPES[dtype.name][1]]}
    return {kind: np.dtype(each) for kind, each in found.items()}


def check(kernel: str, declared: list[Parameter], kinds: dict[str, np.dtype], args) -> None:
    """Raise TypeError if arguments, which are arrays and NumPy's numbers, are not what the kernel of this name declares."""
    if len(args) != len(declared):
        raise TypeError(f"{kernel} takes {len(declared)} arguments, got {len(args)}")
    for parameter, arg in zip(declared, args, strict=True):
        number = isinstance(arg, np.generic) or bool(arg.dtype.names and not arg.ndim)  # or a struct
        null = parameter.pointer and number and arg.dtype == np.uint64 and arg == 0
        expected = kinds[parameter.kind]
        if not null and (arg.dtype != expected or number == parameter.pointer):
            found = f"{arg.dtype} {arg}" if number else f"an array of {arg.dtype}"
            raise TypeError(f"{kernel}: {parameter.name} is {'an array of ' * parameter.pointer}{expected}, got {found}")


def _parameter(text: str) -> Parameter:
    words = text.replace("*", " * ").replace("const", " ").replace("__restrict__", " ").split()
    return Parameter(" ".join(word for word in words[:-1] if word != "*"), "*" in words, words[-1])
