"""Kernels compiled for sm_90a: the instructions that Hopper has alone (wgmma.cuh). CuPy compiles for sm_90, without them."""

import hashlib
import os
import tempfile
from pathlib import Path

from minidl.kernels.cache import private_folder

CAPABILITY = "90"


def everywhere(cupy) -> bool:
    """Whether all GPUs of this machine are Hoppers."""
    count = cupy.cuda.runtime.getDeviceCount()
    return all(cupy.cuda.Device(i).compute_capability == CAPABILITY for i in range(count))


def cubin(name: str, code: str, options: tuple[str, ...]) -> Path | None:
    """The file of the machine code, compiled if it is not kept from before; None where nothing can be kept.

    Raises RuntimeError with what the compiler says.
    """
    from cupy.cuda import nvrtc

    folder = private_folder("sm_90a")
    if folder is None:
        return None
    options = (*options, "-arch=sm_90a", "-ftz=true")  # as CuPy compiles the others
    key = hashlib.sha256(repr((code, options, nvrtc.getVersion())).encode()).hexdigest()
    path = folder / f"{name}-{key[:32]}.cubin"
    if not path.exists():
        _write(path, _compiled(nvrtc, name, code, options))
    return path


def _compiled(nvrtc, name, code, options) -> bytes:
    program = nvrtc.createProgram(code, f"{name}.cu", (), ())
    try:
        nvrtc.compileProgram(program, options)
        return nvrtc.getCUBIN(program)
    except nvrtc.NVRTCError as error:
        raise RuntimeError(f"{name}.cu does not compile for sm_90a: {nvrtc.getProgramLog(program)}") from error
    finally:
        nvrtc.destroyProgram(program)


def _write(path: Path, data: bytes) -> None:
    """Beside it first: another process may be at the same."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        beside = Path(folder) / path.name
        beside.write_bytes(data)
        os.replace(beside, path)
