"""The right kernels in NumPy's BLAS.

OpenBLAS picks its kernels by the name of the processor and falls back to older ones, at half the speed, for names that it does
not know, such as AVX-512 processors of AMD. Which ones it takes can be said before NumPy is loaded, and only then.
"""

import os
import sys
from pathlib import Path

NEEDED = {"avx512f", "avx512bw", "avx512dq", "avx512vl"}  # what OpenBLAS's SkylakeX kernels use
CORE_TYPE = "OPENBLAS_CORETYPE"


def load_numpy() -> None:
    """Import NumPy, and let its OpenBLAS use AVX-512 where the processor has it. Nothing is changed if NumPy is loaded already,
    if ``OPENBLAS_CORETYPE`` is set, or with ``MINIDL_CORETYPE=0``. The environment is left as it was.
    """
    helped = "numpy" not in sys.modules and CORE_TYPE not in os.environ and wanted() and os.environ.get("MINIDL_CORETYPE") != "0"
    if helped:
        os.environ[CORE_TYPE] = "SkylakeX"
    try:
        import numpy  # noqa: F401
    finally:
        if helped:
            del os.environ[CORE_TYPE]


def wanted() -> bool:
    """Whether this is a Linux machine whose processor has all that AVX-512 kernels need."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return False
    return NEEDED <= set(next((line for line in lines if line.startswith("flags")), "").split())


def advice(kernels: str) -> str | None:
    """What to do about the BLAS that ``kernels`` describes, in one line; None if it is the right one.

    >>> advice("openblas 0.3.31 SkylakeX, threads: 2")
    """
    if not wanted() or "openblas" not in kernels or any(name in kernels for name in ("SkylakeX", "Cooperlake", "Sapphire")):
        return None
    return f"this processor has AVX-512: set {CORE_TYPE}=SkylakeX, or import minidl before NumPy"
