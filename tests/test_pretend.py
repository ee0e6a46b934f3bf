"""The stand-in for CuPy is as strict as CuPy, and offers nothing that CuPy lacks."""

import sys
import weakref

import numpy as np
import pytest

from tests.pretend import api


@pytest.mark.skipif("cupy" in sys.modules, reason="needs the real CuPy")
def test_the_list_is_what_cupy_offers():
    cupy = pytest.importorskip("cupy")
    listed = [line for line in api.LIST.read_text().splitlines() if not line.startswith("#") and in_numpy(line.split()[0])]
    assert listed == api.describe(cupy)


def in_numpy(name):
    """Newer versions of NumPy have dropped some names."""
    folder, dot, last = name.rpartition(".")
    return hasattr(api.FOLDERS[folder + dot], last)


@pytest.mark.parametrize("mixed", [
    lambda cp, x, y: x + y, lambda cp, x, y: y + x, lambda cp, x, y: x @ y, lambda cp, x, y: cp.where(x > 0, x, y),
    lambda cp, x, y: np.add(x, y), lambda cp, x, y: cp.maximum(x, y), lambda cp, x, y: cp.concatenate([x, y]),
    lambda cp, x, y: np.asarray(x), lambda cp, x, y: y.__setitem__(..., x), lambda cp, x, y: cp.add.at(x, 0, y),
    lambda cp, x, y: cp.take_along_axis(x, y.astype(int), 0), lambda cp, x, y: x < y])
def test_arrays_of_cpu_and_gpu_do_not_mix(cupy, mixed):
    x, y = cupy.ones((2, 2)), np.ones((2, 2))
    with pytest.raises(TypeError):
        mixed(cupy, x, y)
    assert x.get().tolist() == y.tolist()


def test_of_several_values_for_one_place_not_the_last_one_stays(cupy):
    x = cupy.zeros((3, 2))
    x[[0, 2, 0]] = cupy.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    assert x.get().tolist() == [[1, 2], [0, 0], [3, 4]]


def test_keys_of_other_types_are_made_integers(cupy):
    x = cupy.ones((2, 3))
    assert x[1.0].shape == (3,)
    with pytest.raises(ValueError, match="invalid literal"):
        x["a"]


def test_gaps_in_bfloat16(cupy):
    x = cupy.ones(3, pytest.importorskip("ml_dtypes").bfloat16)
    assert (x + x).dtype == x.dtype and cupy.where(x > 0, x, x).dtype == np.float32
    for function in (cupy.cumprod, cupy.sort, cupy.argsort, lambda x: cupy.partition(x, 1)):
        with pytest.raises(RuntimeError, match="bfloat16"):
            function(x)


def test_types_in_c_do_not_change_nor_have_weak_references(cupy):
    with pytest.raises(TypeError, match="immutable"):
        cupy.RawModule.get_function = None
    with pytest.raises(TypeError, match="weak reference"):
        weakref.ref(cupy.cuda.MemoryPool())


def test_products_of_matrices_keep_their_dtype(cupy):
    bfloat16 = pytest.importorskip("ml_dtypes").bfloat16
    for dtype in (bfloat16, np.float16, np.float32):
        x = cupy.ones((2, 3), dtype)
        assert (x @ x.T).dtype == dtype and (x @ x.T).get().tolist() == [[3, 3], [3, 3]]


def test_numpy_numbers_copies_and_indices_do(cupy):
    host = np.arange(6.0).reshape(2, 3)
    x = cupy.asarray(host)
    host[...] = 0
    assert (x * np.float64(2) + 1).get().tolist() == [[1, 3, 5], [7, 9, 11]] and (np.float32(2) * x).dtype == np.float64
    assert x[np.array([1])].get().tolist() == [[3, 4, 5]] and x[np.array([True, False])].shape == (1, 3)
    x[np.array([0])] = np.full(3, 7.0)
    assert x[0].get().tolist() == [7, 7, 7] and type(x.sum()) is cupy.ndarray and x.sum().shape == ()
    with pytest.raises(ValueError, match="cannot be used for fill"):
        x[...] = host


@pytest.mark.parametrize("call", [
    lambda cp, x: cp.errstate, lambda cp, x: cp.add(x, x, where=True), lambda cp, x: cp.sum(x, initial=1),
    lambda cp, x: x.max(initial=0), lambda cp, x: cp.multiply.at(x, 0, x), lambda cp, x: cp.maximum.reduce(x),
    lambda cp, x: cp.add.at(cp.ones(2, bool), 0, True), lambda cp, x: x.flags.writeable, lambda cp, x: range(x[0]),
    lambda cp, x: np.einsum_path("i->", x), lambda cp, x: hash(x), lambda cp, x: cp.asarray([object()])])
def test_what_cupy_lacks(cupy, call):
    with pytest.raises((TypeError, AttributeError, ValueError, NotImplementedError)):
        call(cupy, cupy.ones(2))


def test_views_share_memory_and_their_owner(cupy):
    x = cupy.zeros((2, 3))
    for view in (x[0], x.T, x.reshape(-1), x[1, 2], x[0][1:], cupy.broadcast_to(x, (4, 2, 3)), x.diagonal()):
        assert view.base is x and x.base is None
        view[...] = 5
        assert 5 in x.get()
        x[...] = 0
    for copy in (x[[0]], x.T.reshape(-1), x.copy(), x.astype(float), x + 0):
        assert copy.base is None
    assert x.astype(float, copy=False) is x and cupy.asarray(x) is x and cupy.ascontiguousarray(x) is x


def test_memory_is_counted(cupy):
    pool = cupy.get_default_memory_pool()
    before = pool.used_bytes()
    x = cupy.zeros(1000)
    view = x[1:]
    assert pool.used_bytes() == before + 8192
    del x
    assert pool.used_bytes() == before + 8192
    del view
    assert pool.used_bytes() == before


def test_a_pool_keeps_what_it_has_until_it_is_told_even_when_it_is_gone(cupy):
    pool, (before, total) = cupy.cuda.MemoryPool(), cupy.cuda.Device().mem_info
    memory = pool.malloc(1000)
    assert pool.used_bytes() == pool.total_bytes() == 1024 and cupy.cuda.Device().mem_info == (before - 1024, total)
    del memory
    assert (pool.used_bytes(), pool.free_bytes()) == (0, 1024)
    pool.malloc(1)  # from that
    assert cupy.cuda.Device().mem_info[0] == before - 1024
    pool.free_all_blocks()
    assert cupy.cuda.Device().mem_info[0] == before and pool.total_bytes() == 0
    pool.malloc(1)
    del pool
    assert cupy.cuda.Device().mem_info[0] == before - 512


def test_devices_do_not_read_each_other(cupy):
    x = cupy.ones(3)
    with cupy.cuda.Device(1):
        y = cupy.ones(3)
        assert y.device.id == 1 and x.copy().device.id == 1 and cupy.array(x).data.device_id == 1
        with pytest.raises(ValueError, match="different from the current device"):
            x + y
    assert (x + 1).device.id == cupy.cuda.runtime.getDevice() == 0
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError):
        cupy.cuda.Device(2).use()


def recorded(cupy, function, pool=None):
    """The graph of what the function does, its arrays from the pool, and what it returns."""
    stream = cupy.cuda.Stream(non_blocking=True)
    with stream, cupy.cuda.using_allocator(pool.malloc if pool else cupy.cuda.get_allocator()):
        stream.begin_capture()
        try:
            found = function()
        finally:
            graph = stream.end_capture()
    return graph, found


def test_a_recorded_stream_works_at_each_launch(cupy):
    x, z = cupy.ones((2, 3)), cupy.zeros(2)

    def function():
        y = (x * 2).sum(axis=1)
        y += 1
        z[1:] = y[0]
        return y

    pool = cupy.cuda.MemoryPool()
    graph, y = recorded(cupy, function, pool)
    assert np.isnan(y.get()).all() and not z.get().any()
    for value in (1, 5):
        x[...] = value
        graph.launch()
        assert y.get().tolist() == [6 * value + 1] * 2 and z.get().tolist() == [0, 6 * value + 1]


@pytest.mark.parametrize("call", [
    lambda cp, x: x.get(), lambda cp, x: x.sum().item(), lambda cp, x: bool(x.all()), lambda cp, x: x.tolist(),
    lambda cp, x: cp.asarray(np.ones(2)), lambda cp, x: cp.asarray(1.0), lambda cp, x: x.set(np.ones((2, 2))),
    lambda cp, x: x[x > 0], lambda cp, x: x[np.array([0])], lambda cp, x: cp.nonzero(x),
    lambda cp, x: x.data.copy_from_host_async(0, 8)])
def test_a_recorded_stream_does_not_copy_from_the_cpu_nor_to_it(cupy, call):
    x = cupy.ones((2, 2))
    with pytest.raises(RuntimeError, match="the current stream is capturing, so (H2D|D2H) transfers are disallowed") as error:
        recorded(cupy, lambda: call(cupy, x))
    assert type(error.value) is RuntimeError and x.sum().item() == 4


def test_a_recorded_stream_cannot_be_waited_for_which_spoils_the_recording(cupy):
    x, seen = cupy.ones(2), []

    def wait_and_read():
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="StreamCaptureUnsupported"):
            cupy.cuda.get_current_stream().synchronize()
        with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="STREAM_CAPTURE_INVALIDATED") as error:
            x + 1
        seen.append(error.value.status)
        with pytest.raises(RuntimeError) as error:
            x.get()
        seen.append(str(error.value))

    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="StreamCaptureInvalidated"):
        recorded(cupy, wait_and_read)
    assert seen == [901, "the stream was capturing, but an error has invalidated the capture sequence"]


def test_a_recorded_stream_has_no_cublas_and_is_not_the_default_one(cupy):
    x = cupy.ones((2, 2))
    with pytest.raises(NotImplementedError, match="cuBLAS"):
        recorded(cupy, lambda: x @ x)
    recorded(cupy, lambda: x[0] @ x[0])  # a sum, which is not cuBLAS's
    with pytest.raises(RuntimeError, match="default"):
        cupy.cuda.Stream.null.begin_capture()


def test_a_graph_does_not_keep_the_memory_that_it_touches(cupy):
    x = cupy.ones(3)
    graph, y = recorded(cupy, lambda: (x + 1) * 2)
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="given back"):
        graph.launch()  # the sum between
    pool = cupy.cuda.MemoryPool()
    graph, y = recorded(cupy, lambda: (x + 1) * 2, pool)
    graph.launch()
    assert y.get().tolist() == [4, 4, 4]
    del pool, y
    with pytest.raises(cupy.cuda.runtime.CUDARuntimeError, match="given back"):
        graph.launch()
