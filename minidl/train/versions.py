"""What a run was made with."""

import importlib.metadata
import os
import platform
import sys

PACKAGES = ("numpy", "numba", "cupy", "safetensors", "matplotlib", "pillow", "rich", "threadpoolctl")


def versions() -> dict:
    """Versions of Python and packages, the BLAS kernels and threads in use, and the machine; plain JSON."""
    import minidl

    found = {"minidl": minidl.__version__, "python": platform.python_version(), "system": platform.platform(),
             "machine": platform.machine(), "cpus": os.cpu_count()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found | {"blas": blas()}


def blas() -> list[dict] | None:
    """The BLAS libraries loaded, with the kernels they chose and their threads; None without threadpoolctl."""
    try:
        import threadpoolctl
    except ModuleNotFoundError:
        return None
    kept = ("internal_api", "version", "architecture", "num_threads", "threading_layer")
    return [{key: library[key] for key in kept if key in library} for library in threadpoolctl.threadpool_info()
            if library.get("user_api") == "blas"]


def command() -> str:
    """The command line of this process."""
    return " ".join([os.path.basename(sys.argv[0]), *sys.argv[1:]])
