"""What a run was made with."""

import importlib.metadata
import os
import platform
import shlex
import sys

from minidl import cuda

PACKAGES = ("numpy", "numba", "matplotlib", "pillow", "rich", "threadpoolctl")
CUPY = ("cupy-cuda12x", "cupy-cuda13x", "cupy")  # one package under several names, at most one of which should be there
DECIDE_BITS = ("minidl", "numpy", "numba", "machine", "threads", "blas", "gpu")  # what the last bits of a training depend on


def versions() -> dict:
    """Versions of Python and packages (None for missing ones), the machine, and BLAS kernels and threads; plain JSON."""
    import minidl
    from minidl.kernels.cpu.threads import get_num_threads

    return {"minidl": minidl.__version__, "python": platform.python_version(), "system": platform.platform(),
            "machine": platform.machine(), "cpus": os.cpu_count(), **{name: _version(name) for name in PACKAGES},
            "cupy": " ".join(f"{name} {_version(name)}" for name in CUPY if _version(name)) or None,
            "threads": get_num_threads(), "blas": blas(), "gpu": gpu()}


def gpu() -> str | None:
    """The current GPU and the CUDA that its driver knows; None in a process that has used none."""
    if "cupy" not in sys.modules or not cuda.is_available():
        return None
    driver, runtime = cuda.versions()
    return f"{cuda.get_device_name()}, driver for CUDA {driver}, CuPy for {runtime}"


def blas() -> list[str] | None:
    """The kernels and threads of NumPy's BLAS, such as ["openblas 0.3.31 Haswell, threads: 2"]; None without threadpoolctl."""
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        return None
    libraries = [library for library in threadpoolctl.threadpool_info() if library["user_api"] == "blas"]
    of_numpy = [library for library in libraries if "numpy" in library["filepath"]]  # SciPy's may be loaded beside it
    return [f"{each['internal_api']} {each['version']} {each.get('architecture', '')}, threads: {each['num_threads']}"
            for each in of_numpy or libraries]


def differences(then: dict) -> list[str]:
    """What has changed since ``versions`` gave ``then``, of that which decides the last bits of a training.

    >>> differences(versions() | {"numpy": "1.0"})[0].startswith("numpy was 1.0, is ")
    True
    """
    now = versions()
    return [f"{name} was {then.get(name)}, is {now[name]}" for name in DECIDE_BITS if then.get(name) != now[name]]


def command() -> str:
    """The command line of this process."""
    return shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]])


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
