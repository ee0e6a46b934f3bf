"""The machine that runs CUDA kernels without a GPU: threads, barriers, exchanges, and what it refuses."""

from types import SimpleNamespace

import numpy as np
import pytest

from minidl.kernels import explain, kernel, use_backend
from minidl.kernels.cuda import host
from minidl.kernels.cuda import launch as launch_module
from minidl.kernels.cuda.launch import THREADS, launch
from minidl.kernels.cuda.signature import parameters
from tests.kernels.cuda import on_host

pytestmark = on_host

KERNELS = """
// Sums of blocks, by halves, through shared memory.
extern "C" __global__ void sum(long long items, const real *x, real *sums) {
    __shared__ real part[256];
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    part[threadIdx.x] = i < items ? x[i] : 0;
    __syncthreads();
    for (int half = 128; half; half /= 2) {
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}

// Each thread takes the number of another one in its warp; those of the last block that have none have left.
extern "C" __global__ void swap(long long items, const real *x, real *y, int distance) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= items) return;
    y[i] = __shfl_xor_sync(0xffffffff, x[i], distance);
}

// As ``sum``, without waiting for the others.
extern "C" __global__ void hasty_sum(long long items, const real *x, real *sums) {
    __shared__ real part[256];
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    part[threadIdx.x] = i < items ? x[i] : 0;
    for (int half = 128; half; half /= 2) {
        __syncwarp();
        if (threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
    }
    if (threadIdx.x == 0) sums[blockIdx.x] = part[0];
}

extern "C" __global__ void stuck(long long items, real *x) {
    if (threadIdx.x % 2)
        __syncthreads();
    else
        __shfl_xor_sync(0xffffffff, 1, 1);
}
"""

HALVES = """
extern "C" __global__ void triple(long long items, const real *x, const wide *factor, real *y) {
    long long i = (long long) blockIdx.x * blockDim.x + threadIdx.x;
    if (i < items) y[i] = x[i] * factor[0];
}
"""


@pytest.fixture(autouse=True)
def kernels(tmp_path, monkeypatch):
    path = tmp_path / "made_up.cu"
    path.write_text(KERNELS)
    monkeypatch.setattr(launch_module, "source", lambda file: path)
    host._compiled.cache_clear()
    yield path
    host._compiled.cache_clear()


def test_threads_share_memory_between_barriers():
    x = np.arange(3 * THREADS + 5, dtype=np.float32)
    sums = np.zeros(4, np.float32)
    launch("made_up.sum", x.size, x, sums)
    assert sums.tolist() == [x[i * THREADS : (i + 1) * THREADS].sum() for i in range(4)]


def test_a_missing_barrier_is_missed():
    """Warps wait for their own threads alone, and some are behind."""
    x = np.random.default_rng(0).integers(100, size=(9, THREADS)).astype(np.float32)
    sums = np.zeros(9, np.float32)
    launch("made_up.hasty_sum", x.size, x, sums)
    assert (sums != x.sum(axis=1)).any()


@pytest.mark.parametrize("distance", [1, 2, 16])
def test_threads_of_a_warp_exchange_numbers(distance):
    x = np.arange(320, dtype=np.float64)
    y = np.zeros_like(x)
    launch("made_up.swap", x.size, x, y, distance, dtype=np.float64)
    assert y.tolist() == [i ^ distance for i in range(320)]


def test_numbers_of_16_bits_are_computed_as_float_and_rounded_to_the_nearest(kernels):
    kernels.write_text(HALVES)
    with np.errstate(all="ignore"):
        x = np.arange(1 << 16).astype(np.uint16).view(np.float16)
        y, factor = np.zeros_like(x), np.array([3.001], np.float32)
        launch("made_up.triple", x.size, x, factor, y, dtype=np.float16)
        expected = (x.astype(np.float32) * factor).astype(np.float16)
    assert np.array_equal(y, expected, equal_nan=True)


def test_a_barrier_that_some_threads_never_reach():
    with pytest.raises(RuntimeError, match="barrier that others never reach"):
        launch("made_up.stuck", 64, np.zeros(64, np.float32))


FLOATS = np.zeros(4, np.float32)
of_another_type = pytest.mark.parametrize("kernel, args, message", [
    ("sum", (np.zeros(4), FLOATS), "sum of made_up.cu: x is an array of float32, got an array of float64"),
    ("sum", (FLOATS, 3), "sums is an array of float32, got int32 3"),
    ("sum", (FLOATS,), "sum of made_up.cu takes 3 arguments, got 2"),
    ("swap", (FLOATS, None, FLOATS), "distance is int32, got an array of float32"),
    ("swap", (FLOATS, FLOATS, 1.0), "distance is int32, got float64 1.0"),
    ("swap", (FLOATS, FLOATS, np.int64(1)), "distance is int32, got int64 1"),
])


@of_another_type
def test_arguments_of_another_type(kernel, args, message):
    with pytest.raises(TypeError, match=message):
        launch(f"made_up.{kernel}", 4, *args)


@of_another_type
def test_a_gpu_never_sees_arguments_of_another_type(kernel, args, message, cupy, monkeypatch):
    launched = []
    functions = SimpleNamespace(get_function=lambda name: lambda *_: launched.append(name))
    monkeypatch.setattr(launch_module, "_module", lambda file, dtype: functions)
    monkeypatch.setattr(launch_module, "_kernels", {})
    args = [cupy.asarray(arg) if isinstance(arg, np.ndarray) else arg for arg in args]
    with pytest.raises(TypeError, match=message):
        launch(f"made_up.{kernel}", 4, *args)
    assert not launched
    launch("made_up.swap", 4, cupy.asarray(FLOATS), cupy.asarray(FLOATS), 1)
    assert launched == ["swap"]


def test_kernels_declare_no_other_numbers_than_launch_makes(monkeypatch):
    monkeypatch.undo()
    for path in launch_module.source("").parent.glob("*.cu"):
        text = launch_module.code(path.stem)
        numbers = {"int", "long long", "double", "bool", *launch_module.structs(text)}
        kernels = parameters(text)
        assert len(kernels) == text.count("__global__") > 0
        for declared in kernels.values():
            assert declared[0] == ("long long", False, "items")
            assert {each.kind for each in declared if not each.pointer} <= numbers


def test_an_int_that_does_not_fit():
    with pytest.raises(OverflowError):
        launch("made_up.swap", 4, np.zeros(4, np.float32), np.zeros(4, np.float32), 1 << 40)


def test_errors_of_the_compiler_name_the_line_of_the_kernel(kernels):
    kernels.write_text(KERNELS.replace("return;", "returns;"))
    with pytest.raises(RuntimeError, match="made_up.cu:18"):
        launch("made_up.sum", 4, np.zeros(4, np.float32), np.zeros(4, np.float32))


def test_without_a_compiler(monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(ImportError, match="install g\\+\\+"):
        launch("made_up.sum", 4, np.zeros(4, np.float32), np.zeros(4, np.float32))


def test_explain_says_where_it_ran(monkeypatch):
    monkeypatch.undo()
    x = np.array([-1, 2], np.float32)
    with use_backend("cuda"):
        choices = explain(lambda: kernel("relu", x)(x))
        assert str(choices[0]) == "relu: cuda (numpy array, float32, compiled for the CPU)"
        assert kernel("matmul", x).__module__.endswith("cuda.matmul")
        assert kernel("matmul", x.astype(int)).__module__.endswith("portable.matmul")
    assert kernel("relu", x).__module__.endswith("cpu.activation")
