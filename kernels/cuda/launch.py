"""From arrays to a kernel that runs on them.

A file *.cu is compiled once for each dtype of its numbers, which it calls ``real``; ``wide`` is what they are computed in, float
for numbers of 16 bits and ``real`` itself for the others. Its kernels take pointers to contiguous arrays and plain numbers:
Python's int is passed as ``int``, float as ``double``, bool as ``bool``, None as a null pointer, a record as a struct. How many
items there are is the first parameter, ``long long items``; thread i takes care of item i.
"""

import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.cuda import hopper

THREADS = 256  # in a block
C_TYPES = {"float32": ("float", "float"), "float64": ("double", "double"), "float16": ("float16", "float"),
           "bfloat16": ("bfloat16", "float")}  # real, wide
STANDARD = "-std=c++17"
NVRTC = ("-default-device",)  # functions of the GPU without saying so: lambdas with ``auto`` parameters can't say it
FLOAT32, NULL = np.dtype(np.float32), np.uint64(0)
_int32, _int64 = (functools.lru_cache(1 << 16)(kind) for kind in (np.int32, np.int64))  # NumPy takes 0.5 us to make one
PLAIN = {int: _int32, float: np.float64, bool: np.bool_, type(None): lambda none: NULL,  # OverflowError for an int too large
         np.void: np.asarray}  # CuPy takes a struct as an array of one
_kernels: dict[tuple, Callable] = {}  # those that were launched on a GPU, by name and dtype
STRUCT = re.compile(r"^struct (\w+) \{(.*?)^\};", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r'^#include "(\w+\.cuh)"\n', re.MULTILINE)


def ready(*arrays):
    """The arrays as kernels want them: contiguous, aligned; None stays None."""
    found = [array if array is None else _ready(array) for array in arrays]
    return found if len(found) > 1 else found[0]


def _ready(array):
    if isinstance(array, (np.ndarray, np.generic)):
        return np.require(array, requirements=("C", "A"))
    return array if array.flags.c_contiguous else namespace(array).ascontiguousarray(array)  # which gives 0-d arrays an axis


def launch(name: str, items: int, *args, dtype=np.float32, per_item: int = 1, per_thread: int = 1) -> None:
    """Run kernel ``name`` ("file.function") with ``per_item`` threads for each item, or a thread for each ``per_thread`` items.
    ``dtype``: what the file calls ``real``.

    Raises ValueError for arrays that are not on the current GPU: CuPy would pass an array of one element of NumPy's by value, and
    the address of another GPU's as it is. TypeError for arguments of other types than the kernel declares; on a GPU they are
    looked at when it is first launched, since they come from the same lines later.
    """
    if not items:
        return
    blocks = -(-items * per_item // (per_thread * THREADS))
    values, arrays = [_int64(items)], []
    for arg in args:  # for every launch: a loop without calls of ours
        plain = PLAIN.get(type(arg))
        if plain is not None:
            arg = plain(arg)
        elif not isinstance(arg, np.generic):
            arrays.append(arg)
        values.append(arg)
    if isinstance(arrays[0], np.ndarray):
        from minidl.kernels.cuda import host

        file, _, function = name.partition(".")
        host.run(file, function, np.dtype(dtype), blocks, THREADS, values)
        return
    current = sys.modules["cupy"].cuda.runtime.getDevice()
    for array in arrays:
        if isinstance(array, np.ndarray) or array.data.device_id != current:
            raise ValueError(f"{name}: an array of {array.dtype} {array.shape} is not on the current GPU, {current}")
    kernel = _kernels.get((name, dtype)) or _first(name, dtype, values)
    kernel((blocks,), (THREADS,), tuple(values))


def lanes(dtype) -> int:
    """How many numbers of ``dtype`` are 16 bytes: LANES of pack.cuh."""
    return 16 // dtype.itemsize


def wide(dtype) -> np.dtype:
    """The dtype that numbers of ``dtype`` are computed in."""
    return FLOAT32 if dtype.itemsize == 2 else dtype


def source(file: str) -> Path:
    """The path of ``file``.cu."""
    return Path(__file__).with_name(f"{file}.cu")


def code(file: str) -> str:
    """The text of ``file``.cu with the *.cuh files that it includes put in, since NVRTC's paths differ from machine to machine.

    half.cuh comes with all. Lines keep their names and numbers, for messages and debuggers.
    """
    texts = {}
    _include(Path(__file__).with_name("half.cuh"), texts)
    _include(source(file), texts)
    return "".join(f'#line 1 "{path}"\n{text}' for path, text in texts.items())


def _include(path: Path, texts: dict) -> None:
    """Add the text of ``path`` to ``texts``, after those of the files that it includes; each once."""
    text = path.read_text(encoding="utf-8")
    for name in INCLUDE.findall(text):
        if Path(__file__).with_name(name) not in texts:
            _include(Path(__file__).with_name(name), texts)
    texts[path] = INCLUDE.sub("\n", text).replace("#pragma once", "")


def structs(text: str) -> dict[str, np.dtype]:
    """The structs of ints in C++ as dtypes of records.

    >>> structs("struct Size {  // of an image\\n    int h, w;\\n};\\n")["Size"].names
    ('h', 'w')
    """
    members = {name: ", ".join(re.findall(r"^    int ([\w, ]+);", body, re.MULTILINE)) for name, body in STRUCT.findall(text)}
    return {name: np.dtype([(each, np.int32) for each in ints.split(", ")]) for name, ints in members.items() if ints}


def options(dtype: str) -> tuple[str, ...]:
    """For the compiler, where numbers are of the dtype of this name."""
    real, wide = C_TYPES[dtype]
    return STANDARD, f"-Dreal={real}", f"-Dwide={wide}"


def _first(name, dtype, values):
    """CuPy's kernel, which loads itself on each GPU that it is first launched on; these arguments are checked."""
    from minidl.kernels.cuda import signature

    file, _, function = name.partition(".")
    text, real = code(file), np.dtype(dtype)
    signature.check(f"{function} of {file}.cu", signature.parameters(text)[function], signature.kinds(text, real), values)
    kernel = _kernels[name, dtype] = _module(file, real).get_function(function)
    return kernel


@functools.cache
def _module(file, dtype):
    """The file, compiled for the GPU; the result is kept on disk."""
    import cupy

    text, wanted = code(file), NVRTC + options(dtype.name)
    if "wgmma.cuh" in text and hopper.everywhere(cupy) and (path := hopper.cubin(file, text, wanted)):
        return cupy.RawModule(path=str(path))
    return cupy.RawModule(code=text, options=wanted, backend="nvrtc")
