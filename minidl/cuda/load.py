"""CuPy, loaded when a GPU is first asked for."""

import functools
import os
import sys
from pathlib import Path

from minidl.cuda.memory import explained
from minidl.errors import MissingDependencyError, require
from minidl.kernels.cache import is_private, private_folder

EXTRA = "cuda12"


def load_cupy():
    """The module cupy, which tells us when memory runs out.

    What it compiles it keeps in a folder that only this user can write into: in ``CUPY_CACHE_DIR`` if that is one, else in one of
    minidl's. (One that was imported before keeps its own.) Raises MissingDependencyError if it is missing or broken.
    """
    if "cupy" not in sys.modules:
        _choose_cache()
    try:
        cupy = require("cupy", EXTRA)
    except MissingDependencyError:
        raise
    except ImportError as error:
        raise MissingDependencyError(f'CuPy is installed, but cannot be loaded; try pip install -U "minidl[{EXTRA}]": '
                                     + str(error).strip(" =\n")) from None
    _explain_memory(cupy)
    return cupy


@functools.cache
def _explain_memory(cupy) -> None:
    cupy.cuda.set_allocator(explained(cupy, cupy.cuda.get_allocator()))


def kernel_cache() -> Path:
    """Where CuPy keeps what it compiles."""
    return Path(os.environ.get("CUPY_CACHE_DIR") or Path.home() / ".cupy" / "kernel_cache")


def _choose_cache() -> None:
    named = os.environ.get("CUPY_CACHE_DIR")
    if named is None or (os.path.isdir(named) and not is_private(named)):
        folder = private_folder("cupy")
        if folder is not None:
            os.environ["CUPY_CACHE_DIR"] = str(folder)
