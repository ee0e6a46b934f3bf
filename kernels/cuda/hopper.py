"""Kernels compiled for sm_90a: the instructions that Hopper has alone (wgmma.cuh). CuPy compiles for sm_90, without them, and so
it stays where sm_90a cannot be had.
"""

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

from minidl.kernels.cache import private_folder

CAPABILITY = "90"


def everywhere(cupy) -> bool:
    """Whether all GPUs of this machine are Hoppers."""
    count = cupy.cuda.runtime.getDeviceCount()
    return all(cupy.cuda.Device(i).compute_capability == CAPABILITY for i in range(count))


def cubin(name: str, code: str, options: tuple[str, ...]) -> Path | None:
    """The file of the machine code, compiled if it is not kept from before; None where nothing can be kept, or where the compiler
    refuses, as one that is older than sm_90a does (before CUDA 12): a warning says so.
    """
    from cupy.cuda import nvrtc

    folder = private_folder("sm_90a")
    if folder is None:
        return None
    options = (*options, "-arch=sm_90a", "-ftz=true")  # as CuPy compiles the others
    key = hashlib.sha256(repr((code, options, nvrtc.getVersion())).encode()).hexdigest()
    path = folder / f"{name}-{key[:32]}.cubin"
    if not path.exists():
        if (found := _compiled(nvrtc, name, code, options)) is None:
            return None
        _write(path, found)
    return path


def _compiled(nvrtc, name, code, options) -> bytes | None:
    program = nvrtc.createProgram(code, f"{name}.cu", (), ())
    try:
        nvrtc.compileProgram(program, options)
        return nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError:
        version, log = ".".join(map(str, nvrtc.getVersion())), nvrtc.getProgramLog(program).strip()
        warnings.warn(f"{name}.cu does without Hopper's own instructions and is slower: the compiler, NVRTC {version}, refuses "
                      f"sm_90a ({log}). A CuPy for a newer CUDA brings a newer one.", stacklevel=2)
        return None
    finally:
        nvrtc.destroyProgram(program)


def _write(path: Path, data: bytes) -> None:
    """Beside it first: another process may be at the same."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        beside = Path(folder) / path.name
        beside.write_bytes(data)
        os.replace(beside, path)
