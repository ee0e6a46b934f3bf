"""Machines without a GPU, CuPy or driver, and how CuPy is loaded where there is one."""

import itertools
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

import minidl
from minidl import cuda
from minidl.cuda import load
from minidl.cuda.load import load_cupy
from minidl.device import gpu_count
from minidl.errors import DeviceError, MissingDependencyError

ROOT = Path(__file__).resolve().parents[2]


class CUDARuntimeError(RuntimeError):
    status = 100


class Runtime(types.SimpleNamespace):
    CUDARuntimeError = CUDARuntimeError

    def getDeviceCount(self):
        raise CUDARuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")

    def driverGetVersion(self):
        return 12080

    runtimeGetVersion = driverGetVersion


@pytest.fixture
def machine(monkeypatch):
    """Put something in the place of the module cupy; None is a machine without it."""
    def become(cupy):
        monkeypatch.setitem(sys.modules, "cupy", cupy)
        gpu_count.cache_clear()

    yield become
    monkeypatch.undo()
    gpu_count.cache_clear()


def without_gpu():
    """CuPy on a machine without one: it can be imported, and nothing else."""
    cupy = types.ModuleType("cupy")
    cupy.cuda = types.SimpleNamespace(
        runtime=Runtime(), get_allocator=lambda: None, set_allocator=lambda allocator: None, PinnedMemoryPointer=bytearray)
    return cupy


@pytest.mark.parametrize("cupy", [None, without_gpu()])
def test_without_a_gpu(machine, cupy):
    machine(cupy)
    assert cuda.is_available() is False and cuda.device_count() == 0
    figures = (cuda.memory_allocated, cuda.memory_reserved, cuda.max_memory_reserved, cuda.max_memory_allocated)
    assert [figure() for figure in figures] == [0] * 4
    for figure, wrong in itertools.product(figures, ("gpu", "cpu", -1)):
        with pytest.raises(DeviceError, match="unknown device|expected a GPU, got the device cpu"):
            figure(wrong)
    cuda.empty_cache()
    functions = (cuda.synchronize, cuda.current_device, cuda.get_device_name, cuda.memory_summary, cuda.mem_get_info,
                 cuda.reset_peak_memory_stats, lambda: cuda.set_device(0), lambda: cuda.device(0).__enter__(),
                 lambda: minidl.ones(1, device="cpu").pin_memory(), lambda: minidl.ones(1, device="cpu").cuda())
    for function in functions:
        with pytest.raises(MissingDependencyError if cupy is None else DeviceError):
            function()
    assert not minidl.ones(1, device="cpu").is_pinned()


def test_broken_cupy(machine, monkeypatch):
    """As where its libraries are missing: an ImportError, with what to do."""
    def broken(module, extra):
        raise ImportError("\n====\nlibcudart.so.12: cannot open shared object file\n====\n")

    machine(None)
    monkeypatch.setattr(load, "require", broken)
    assert not cuda.is_available()
    with pytest.raises(MissingDependencyError, match=r"minidl\[cuda12\].*libcudart.so.12: cannot open shared object file$"):
        load_cupy()


def test_nothing_is_loaded_unless_asked():
    code = "import sys, minidl; minidl.ones(2).sum(); minidl.cuda.memory_allocated(); minidl.cuda.empty_cache()"
    subprocess.run([sys.executable, "-c", f"{code}; assert 'cupy' not in sys.modules"], cwd=ROOT, check=True)


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no such modes")
@pytest.mark.parametrize(("mode", "kept"), [(None, True), (0o700, True), (0o755, True), (0o775, False), (0o777, False)])
def test_compiled_kernels_are_private(tmp_path, monkeypatch, mode, kept):
    """A folder that is named is taken if only its owner can write into it, or if CuPy will make it."""
    folder = tmp_path / "named"
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(folder))
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path / "ours"))
    load._choose_cache()
    chosen = Path(os.environ["CUPY_CACHE_DIR"])
    assert chosen == (folder if kept else tmp_path / "ours" / "minidl" / "cupy")
    assert kept or chosen.stat().st_mode & 0o777 == 0o700


def test_cache_without_a_wish(tmp_path, monkeypatch):
    monkeypatch.delenv("CUPY_CACHE_DIR", raising=False)
    monkeypatch.setenv("MINIDL_CACHE", str(tmp_path))
    load._choose_cache()
    assert os.environ["CUPY_CACHE_DIR"] == str(tmp_path / "minidl" / "cupy")
