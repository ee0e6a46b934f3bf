"""BLAS kernels are chosen where that is still possible, and nowhere else."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from minidl import blas

ROOT = Path(__file__).resolve().parents[1]

def asked(code: str, **variables: str) -> str:
    """What ``code`` prints in a process of its own, on a processor with AVX-512."""
    environment = {key: value for key, value in os.environ.items() if key != blas.CORE_TYPE}
    script = f"import importlib.util, os, sys\nsys.path.insert(0, {str(ROOT)!r})\n" \
             f"spec = importlib.util.spec_from_file_location('blas', {str(ROOT / 'minidl/blas.py')!r})\n" \
             f"blas = importlib.util.module_from_spec(spec); spec.loader.exec_module(blas)\n" \
             f"blas.wanted = lambda: True\n{code}"
    result = subprocess.run([sys.executable, "-c", script], env=environment | variables, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


SEE = """
import builtins
load, seen = builtins.__import__, []
def watch(name, *args, **kwargs):
    if name == "numpy" and not seen:
        seen.append(os.environ.get("OPENBLAS_CORETYPE"))
    return load(name, *args, **kwargs)
builtins.__import__ = watch
blas.load_numpy()
print(seen[0], os.environ.get("OPENBLAS_CORETYPE"))
"""


def test_numpy_loads_with_the_kernels_and_the_environment_is_left_alone():
    assert asked(SEE) == "SkylakeX None"


def test_the_user_decides():
    assert asked(SEE, OPENBLAS_CORETYPE="Haswell") == "Haswell Haswell"
    assert asked(SEE, MINIDL_CORETYPE="0") == "None None"


def test_too_late_once_numpy_is_loaded():
    assert asked("import numpy\n" + SEE) == "None None"


def test_other_processors_are_left_alone():
    assert asked("blas.wanted = lambda: False\n" + SEE) == "None None"


@pytest.mark.parametrize("flags, wanted", [("fpu avx2 avx512f avx512bw avx512dq avx512vl", True), ("fpu avx2 avx512f", False),
                                           (None, False)])
def test_what_the_processor_has(flags, wanted, monkeypatch):
    def read(self, errors):
        if flags is None:
            raise FileNotFoundError
        return f"processor : 0\nflags\t\t: {flags}\n\nprocessor : 1\n"

    monkeypatch.setattr(Path, "read_text", read)
    assert blas.wanted() == wanted


def test_advice(monkeypatch):
    monkeypatch.setattr(blas, "wanted", lambda: True)
    assert "OPENBLAS_CORETYPE=SkylakeX" in blas.advice("openblas 0.3.31 Haswell, threads: 2")
    assert blas.advice("openblas 0.3.31 SkylakeX, threads: 2") is None
    assert blas.advice("mkl 2026") is None
