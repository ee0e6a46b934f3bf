"""Memory of a GPU, real or pretended: figures, peaks, what happens when it runs out; pinned memory; batches ahead of time."""

import gc
import threading

import numpy as np
import pytest

import minidl
from minidl import cuda
from minidl.cuda import pinned
from minidl.cuda.load import load_cupy
from minidl.data import DataLoader, TensorDataset, prefetch
from minidl.errors import DeviceError, MinidlError, OutOfMemoryError, ShapeError
from minidl.kernels import streams
from minidl.kernels.recording import uploaded

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="run with --device pretend, or cuda")
KILOBYTE = 1024  # two of the pieces in which CuPy gives out memory


def test_figures():
    gc.collect()
    before = cuda.memory_allocated()
    x = minidl.ones(KILOBYTE // 4, device="cuda")
    assert cuda.memory_allocated() == cuda.memory_allocated(0) == before + KILOBYTE
    assert cuda.memory_reserved() >= cuda.memory_allocated() and cuda.max_memory_reserved() == cuda.memory_reserved()
    view = x[1:]
    assert cuda.memory_allocated() == before + KILOBYTE
    del x, view
    assert cuda.memory_allocated() == before
    cuda.empty_cache()
    free, total = cuda.mem_get_info()
    assert 0 < free <= total and cuda.get_device_name() in cuda.memory_summary()


def test_peak():
    gc.collect()
    kept = minidl.ones(KILOBYTE // 4, device="cuda")
    cuda.reset_peak_memory_stats()
    start = cuda.memory_allocated()
    assert cuda.max_memory_allocated() == start
    for _ in range(3):
        a = minidl.zeros(KILOBYTE // 4, device="cuda")
        b = minidl.zeros(KILOBYTE // 2, device="cuda")
        del a, b
    assert cuda.memory_allocated() == start and cuda.max_memory_allocated() == start + 3 * KILOBYTE
    del kept
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == start - KILOBYTE


def test_out_of_memory():
    """What is left, what was asked for, and what to do; afterwards all is as before."""
    gc.collect()
    pool, before = load_cupy().get_default_memory_pool(), cuda.memory_allocated()
    pool.free_all_blocks()
    pool.set_limit(before + 3 * 2**20)
    try:
        kept = minidl.ones(2**18, device="cuda")  # a megabyte
        with pytest.raises(OutOfMemoryError, match=r"cuda:0 is out of memory: 4.0 MiB were asked for.*pool may take.*smaller"):
            minidl.ones(2**20, device="cuda")
        assert cuda.memory_allocated() == before + 2**20 and kept.sum().item() == 2**18
    finally:
        pool.set_limit(0)
    assert issubclass(OutOfMemoryError, MemoryError) and issubclass(OutOfMemoryError, MinidlError)


def test_what_the_pool_keeps_is_given_back_first():
    """Once: an allocator that works at the second call is enough."""
    from minidl.cuda.memory import explained

    cupy, calls = load_cupy(), []

    def allocate(size):
        calls.append(size)
        if len(calls) == 1:
            raise cupy.cuda.memory.OutOfMemoryError(size, 0)
        return "memory"

    assert explained(cupy, allocate)(5) == "memory" and calls == [5, 5]


def test_current_device():
    assert cuda.current_device() == 0
    with cuda.device("cuda:0"):
        assert cuda.current_device() == 0
    cuda.set_device(minidl.device("cuda", 0))
    cuda.synchronize()
    assert cuda.get_device_capability() == cuda.get_device_properties(0)[1:3]
    for wrong in ("cpu", cuda.device_count(), -1, f"cuda:{cuda.device_count()}"):
        with pytest.raises(DeviceError):
            cuda.get_device_name(wrong)


@pytest.mark.skipif(cuda.device_count() < 2, reason="there is one GPU")
def test_another_device():
    with pytest.raises(ZeroDivisionError), cuda.device(1):
        assert cuda.current_device() == 1 and minidl.ones(2, device="cuda").device.index == 1
        before = cuda.memory_allocated(0), cuda.memory_allocated()
        x = minidl.ones(KILOBYTE // 4, device="cuda")
        assert (cuda.memory_allocated(0), cuda.memory_allocated(1)) == (before[0], before[1] + KILOBYTE)
        del x
        raise ZeroDivisionError
    assert cuda.current_device() == 0


def test_one_generator_for_all_devices():
    cuda.manual_seed_all(3)
    here = minidl.rand(5, 7, device="cpu"), minidl.nn.functional.dropout(minidl.ones(31, device="cpu"))
    cuda.manual_seed(3)
    there = minidl.rand(5, 7, device="cuda"), minidl.nn.functional.dropout(minidl.ones(31, device="cuda"))
    for ours, its in zip(here, there, strict=True):
        assert its.device.type == "cuda" and np.array_equal(ours.numpy(), its.numpy())


@pytest.mark.parametrize("shape", [(), (3, 5), (0, 4)])
def test_pinned(shape):
    x = minidl.rand(*shape, device="cpu")
    y = x.pin_memory()
    assert y.is_pinned() or not y.numel()
    assert not x.is_pinned() and y.pin_memory().array is y.array and y.device.type == "cpu"
    moved = y.to("cuda", non_blocking=True)
    assert moved.device.type == "cuda" and moved.shape == shape and np.array_equal(moved.numpy(), x.numpy())
    with pytest.raises(DeviceError, match="cuda:0"):
        moved.pin_memory()
    assert not moved.is_pinned()


def test_views_of_pinned_memory():
    x = minidl.arange(12, device="cpu").reshape(3, 4).pin_memory()
    for view in (x[1:], x[:, ::2], x.T):
        assert view.is_pinned() and view.to("cuda", non_blocking=True).tolist() == view.tolist()


def test_pinned_memory_under_way_is_kept():
    """Until the copy is done nobody else gets the memory, which the next call finds out."""
    pinned._under_way.clear()
    array = pinned.pin(np.arange(6.0))
    pinned.send(array, minidl.device("cuda", 0))
    assert pinned._under_way[0][1] is array
    cuda.synchronize()
    pinned.send(pinned.pin(np.ones(2)), minidl.device("cuda", 0))
    assert len(pinned._under_way) == 1 and pinned._under_way[0][1] is not array


@pytest.mark.parametrize(("source", "target"), [("cpu", "cuda"), ("cuda", "cpu"), ("cuda", "cuda")])
def test_copy_between_devices(source, target):
    """Broadcast and cast on the way, as on one device."""
    y = minidl.zeros(2, 3, device=target)
    y.copy_(minidl.arange(3, device=source))
    assert y.device.type == target and y.dtype == minidl.float32 and y.tolist() == [[0, 1, 2]] * 2
    with pytest.raises(ShapeError):
        y.copy_(minidl.ones(4, device=source))


def test_gradients_come_back_from_the_gpu():
    x = minidl.ones(2, 3, device="cpu").requires_grad_()
    (x.to("cuda", non_blocking=True) * 3).sum().backward()
    assert x.grad.device.type == "cpu" and x.grad.tolist() == [[3.0] * 3] * 2


@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("pin", [False, True])
def test_batches_come_in_order_to_the_gpu(count, pin):
    data = TensorDataset(minidl.arange(10 * count, device="cpu").reshape(5 * count, 2), minidl.arange(5 * count, device="cpu"))
    loader = DataLoader(data, 5, pin_memory=pin)
    assert all(x.is_pinned() == y.is_pinned() == pin for x, y in loader)
    found = list(prefetch(loader, "cuda"))
    assert len(found) == count
    for number, (x, y) in enumerate(found):
        assert x.device.type == y.device.type == "cuda"
        assert y.tolist() == list(range(5 * number, 5 * number + 5)) and x.tolist() == [[2 * i, 2 * i + 1] for i in y.tolist()]


def test_one_batch_ahead():
    taken = []
    batches = prefetch((taken.append(i) or {"x": minidl.full((2,), i, device="cpu"), "name": [str(i)]} for i in range(4)), "cuda")
    first = next(batches)
    assert taken == [0, 1] and first["x"].device.type == "cuda" and first["name"] == ["0"]
    assert next(batches)["x"].tolist() == [1, 1] and taken == [0, 1, 2]
    batches.close()


def test_a_thread_has_one_stream_beside(monkeypatch):
    """CuPy keeps memory for each, for ever."""
    made, stream = [], load_cupy().cuda.Stream
    monkeypatch.setattr(load_cupy().cuda, "Stream", lambda **options: made.append(stream(**options)) or made[-1])
    streams._stream.cache_clear()

    def use():
        for _ in range(3):
            assert [x.item() for x in prefetch([minidl.ones((), device="cpu")], "cuda")] == [1]

    use()
    assert len(made) == 1
    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(made) == 2


def test_constants_are_uploaded_for_each_stream():
    """Another one would not wait for the copy."""
    cupy = load_cupy()
    constant, like = np.arange(7), cupy.zeros(1)
    found = uploaded(constant, like)
    assert uploaded(constant.copy(), like) is found
    with cupy.cuda.Stream(non_blocking=True):
        other = uploaded(constant, like)
        assert other is not found and other.get().tolist() == found.get().tolist() == constant.tolist()


def test_an_error_comes_after_the_batches_before_it():
    def batches():
        yield minidl.ones(1, device="cpu")
        yield minidl.zeros(1, device="cpu")
        raise ZeroDivisionError

    found = prefetch(batches(), "cuda")
    assert next(found).item() == 1
    with pytest.raises(ZeroDivisionError):
        next(found)
