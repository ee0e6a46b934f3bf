"""Every CUDA kernel compiles for GPUs, by NVRTC, which needs none: for Turing, Ampere and Hopper."""

import ctypes
import importlib.util
import re
from pathlib import Path

import pytest

from minidl.kernels.cuda import launch

NO_HALF = {"optim", "philox"}  # left to the portable kernels
RESOURCES = re.compile(r"ptxas +(info|\.) ")  # lines that say what a kernel needs
FILES = sorted(path.stem for path in Path(launch.__file__).parent.glob("*.cu"))


@pytest.fixture(scope="module")
def nvrtc():
    found = importlib.util.find_spec("nvidia.cuda_nvrtc") if importlib.util.find_spec("nvidia") else None
    if found is None:
        pytest.skip("NVRTC is not installed: `pip install nvidia-cuda-nvrtc-cu12`")
    return ctypes.CDLL(str(next(Path(found.submodule_search_locations[0]).glob("lib/libnvrtc.so*"))))


def compiled(nvrtc, code: str, *options: str) -> tuple[bool, str, bytes]:
    """Whether it compiled, what the compiler said, and the machine code."""
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
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


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90a"])
@pytest.mark.parametrize("file, dtype", [(file, dtype) for file in FILES for dtype in launch.C_TYPES
                                         if file not in NO_HALF or "16" not in dtype])
def test_compiles_without_a_word_and_spills_no_registers(nvrtc, file, dtype, architecture):
    good, log, code = compiled(nvrtc, launch.code(file), *launch.NVRTC, *launch.options(dtype), f"-arch={architecture}",
                               "--ptxas-options=-v")
    assert good and all(RESOURCES.match(line) for line in log.splitlines()), log
    assert "spill stores" in log and not re.search(r"[1-9]\d* bytes spill", log), log
    assert code.startswith(b"\x7fELF")


def test_an_error_is_found(nvrtc):
    good, log, _ = compiled(nvrtc, 'extern "C" __global__ void f(real *x) { y[0] = 1; }', "-Dreal=float", "-arch=sm_80")
    assert not good and '"y" is undefined' in log


def test_no_kernel_includes_a_header():
    """NVRTC's header paths differ from installation to installation."""
    assert FILES
    for file in FILES:
        assert "#include" not in launch.code(file)
