"""glibc is told to keep freed pages, unless the user says no."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import resource, numpy as np
from minidl.kernels.cpu.memory import keep_freed_pages
keep_freed_pages()
for _ in range(3):
    np.ones(48 << 20, np.uint8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    np.ones(48 << 20, np.uint8)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a matter of glibc")
def test_pages_are_reused():
    """Four arrays of 48 MB, above any threshold of glibc's own, touch fresh pages each time, or hardly any."""

    def faults(keep: str) -> int:
        return int(subprocess.run([sys.executable, "-c", FAULTS], cwd=ROOT, env={"MINIDL_KEEP_PAGES": keep, "PATH": ""},
                                  capture_output=True, text=True, check=True).stdout)

    assert 10 * faults("1") < faults("0")
