"""NVIDIA's runtime compiler, which needs no GPU, and what it reports."""

import ctypes
import functools
import importlib.util
import re
from pathlib import Path
from typing import NamedTuple

from minidl.kernels.cuda import launch

REPORT = "--ptxas-options=-v"
FILES = sorted(path.stem for path in Path(launch.__file__).parent.glob("*.cu"))
NOT_FOR = {"philox": ("float16", "bfloat16"), "channels_last": ("float64",), "conv_tensor": ("float64",)}  # left to other kernels
CUPY = "-ftz=true", "--device-as-default-execution-space"  # what CuPy adds to the options of every module


class Resources(NamedTuple):
    """What a kernel takes: registers of a thread; bytes of shared memory of a block; bytes that a thread spills to memory."""

    kernel: str
    registers: int
    shared: int
    spills: int


def variants() -> list[tuple[str, str]]:
    """Every file with every dtype that it is compiled for."""
    return [(file, dtype) for file in FILES for dtype in launch.C_TYPES if dtype not in NOT_FOR.get(file, ())]


@functools.cache
def library():
    """Raises ImportError where it is not installed."""
    found = importlib.util.find_spec("nvidia.cuda_nvrtc") if importlib.util.find_spec("nvidia") else None
    if found is None:
        raise ImportError("NVRTC is not installed: `pip install nvidia-cuda-nvrtc-cu12`")
    return ctypes.CDLL(str(next(Path(found.submodule_search_locations[0]).glob("lib/libnvrtc.so*"))))


def compiled(code: str, *options: str) -> tuple[bool, str, bytes]:
    """Whether it compiled, what the compiler said, and the machine code."""
    nvrtc, program, size = library(), ctypes.c_void_p(), ctypes.c_size_t()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), code.encode(), b"kernel.cu", 0, None, None) == 0
    arguments = (ctypes.c_char_p * len(options))(*(option.encode() for option in options))
    failed = nvrtc.nvrtcCompileProgram(program, len(options), arguments)
    texts = []
    for what in ("ProgramLog", "CUBIN"):
        getattr(nvrtc, f"nvrtcGet{what}Size")(program, ctypes.byref(size))
        text = ctypes.create_string_buffer(size.value)
        getattr(nvrtc, f"nvrtcGet{what}")(program, text)
        texts.append(text.raw)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    return not failed, texts[0].rstrip(b"\0").decode(), texts[1]


def resources(log: str) -> list[Resources]:
    """Of each kernel, from what the compiler says when asked to ``REPORT``.

    >>> resources('''ptxas info    : Compiling entry function 'f' for 'sm_80'
    ... ptxas         .     8 bytes stack frame, 4 bytes spill stores, 4 bytes spill loads
    ... ptxas info    : Used 32 registers, used 1 barriers, 512 bytes smem, 360 bytes cmem[0]''')
    [Resources(kernel='f', registers=32, shared=512, spills=4)]
    """
    found = []
    for text in log.split("Compiling entry function")[1:]:
        kernel, registers = re.search(r"'(\w+)'", text)[1], re.search(r"Used (\d+) registers", text)[1]
        shared, spills = re.search(r"(\d+) bytes smem", text), re.search(r"(\d+) bytes spill stores", text)[1]
        found.append(Resources(kernel, int(registers), int(shared[1]) if shared else 0, int(spills)))
    return found
