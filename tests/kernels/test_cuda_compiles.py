"""Every CUDA kernel compiles for GPUs, by NVRTC, which needs none: for Turing, Ampere and Hopper."""

import re

import pytest

from benchmarks.gpu.nvrtc import CUPY, FILES, REPORT, compiled, library, resources, variants
from minidl.kernels.cuda import launch

RESOURCES = re.compile(r"ptxas +(info|\.) ")  # lines that say what a kernel needs


@pytest.fixture(autouse=True)
def nvrtc():
    try:
        library()
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("architecture", ["sm_75", "sm_80", "sm_90a"])
@pytest.mark.parametrize("file, dtype", variants())
def test_compiles_without_a_word_and_spills_no_registers(file, dtype, architecture):
    options = *launch.NVRTC, *launch.options(dtype), *CUPY
    good, log, code = compiled(launch.code(file), *options, f"-arch={architecture}", REPORT)
    assert good and all(RESOURCES.match(line) for line in log.splitlines()), log
    found = resources(log)
    assert len(found) == launch.code(file).count("__global__") and not any(kernel.spills for kernel in found), log
    assert code.startswith(b"\x7fELF")


def test_an_error_is_found():
    good, log, _ = compiled('extern "C" __global__ void f(real *x) { y[0] = 1; }', "-Dreal=float", "-arch=sm_80")
    assert not good and '"y" is undefined' in log


def test_no_kernel_includes_a_header():
    """NVRTC's header paths differ from installation to installation."""
    assert FILES
    for file in FILES:
        assert "#include" not in launch.code(file)
