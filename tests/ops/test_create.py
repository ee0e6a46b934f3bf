"""Creation: shapes, dtypes and values."""

import numpy as np
import pytest

import minidl
from minidl.errors import DeviceError, DtypeError, ShapeError
from tests.checks import check_gradients, leaf, share_memory


@pytest.mark.parametrize("name, value", [("zeros", 0), ("ones", 1), ("empty", None)])
def test_filled(name, value):
    make = getattr(minidl, name)
    for x in (make(2, 3), make((2, 3)), make([2, 3]), make(np.int64(2), 3)):
        assert x.shape == (2, 3) and x.dtype == minidl.float32 and not x.requires_grad
        assert value is None or np.all(np.asarray(x) == value)
    assert make(()).shape == () and make(0).shape == (0,) and make(2).shape == (2,)
    assert make(2, dtype="int64").dtype == minidl.int64 and make(2, dtype=bool).dtype == minidl.bool
    assert make(2, device="cpu", requires_grad=True).requires_grad


def test_full():
    assert minidl.full((2, 1), 7).tolist() == [[7], [7]] and minidl.full(2, 0.5).tolist() == [0.5, 0.5]
    assert [minidl.full((), v).dtype for v in (True, 3, 0.5, np.float64(1), np.int8(1), minidl.tensor(2))] == [
        minidl.bool, minidl.int64, minidl.float32, minidl.float32, minidl.int64, minidl.int64]
    assert minidl.full((2,), 3, dtype="float64").dtype == minidl.float64
    assert np.isnan(np.asarray(minidl.full((2,), float("nan")))).all()


@pytest.mark.parametrize("name", ["zeros", "ones", "empty", "full"])
def test_like_and_new(name):
    value = (7,) if name == "full" else ()
    x = minidl.ones(2, 3, dtype="float16", requires_grad=True)
    like = getattr(minidl, f"{name}_like")
    y = like(x, *value)
    assert y.shape == (2, 3) and y.dtype == minidl.float16 and not y.requires_grad and not share_memory(x.array, y.array)
    assert like(x, *value, dtype="int32").dtype == minidl.int32 and like(x, *value, requires_grad=True).requires_grad
    assert like(x, *value, device="cpu").device.type == "cpu"
    z = getattr(x, f"new_{name}")((4,), *value)
    assert z.shape == (4,) and z.dtype == minidl.float16
    assert getattr(x, f"new_{name}")((4,), *value, dtype="int32").dtype == minidl.int32
    if name != "empty":
        expected = {"zeros": 0, "ones": 1, "full": 7}[name]
        assert np.all(np.asarray(y) == expected) and np.all(np.asarray(z) == expected)
    like(minidl.ones(1).expand(3), *value).zero_()  # is not read-only


@pytest.mark.parametrize("arguments", [
    (5,), (2, 7), (7, 2, -2), (0,), (3, 3), (0, 1, 0.3), (1, 0, -0.25), (2.5,), (-2, 2, 0.1), (0, 10, 3)])
def test_arange(arguments):
    x = minidl.arange(*arguments)
    expected = np.arange(*arguments)
    whole = all(isinstance(n, int) for n in arguments)
    assert x.dtype == (minidl.int64 if whole else minidl.float32) and x.shape == expected.shape
    assert np.allclose(x, expected, rtol=1e-6, atol=1e-7)
    assert minidl.arange(*arguments, dtype="float64").dtype == minidl.float64


def test_arange_of_tensors_and_numpy_numbers():
    assert minidl.arange(minidl.tensor(3)).tolist() == [0, 1, 2] and minidl.arange(np.int32(3)).dtype == minidl.int64
    assert minidl.arange(np.float64(2)).dtype == minidl.float32


def test_linspace_and_eye():
    assert minidl.linspace(0, 1, 5).tolist() == [0, 0.25, 0.5, 0.75, 1] and minidl.linspace(3, 4, 1).tolist() == [3]
    assert minidl.linspace(0, 1, 0).shape == (0,) and minidl.linspace(0, 4, 5, dtype="int64").tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(minidl.eye(2, 3), np.eye(2, 3)) and minidl.eye(2).dtype == minidl.float32
    assert minidl.eye(3, dtype="bool").dtype == minidl.bool and minidl.eye(0).shape == (0, 0)


@pytest.mark.parametrize("indexing", ["ij", "xy"])
@pytest.mark.parametrize("sizes", [(2,), (2, 3), (2, 3, 4)])
def test_meshgrid(sizes, indexing):
    xs = [leaf(n) for n in sizes]
    grids = minidl.meshgrid(*xs, indexing=indexing)
    for grid, expected in zip(grids, np.meshgrid(*(np.asarray(x) for x in xs), indexing=indexing), strict=True):
        assert np.array_equal(grid, expected)
    assert [g.shape for g in minidl.meshgrid(xs, indexing=indexing)] == [g.shape for g in grids]
    check_gradients(lambda *xs: minidl.meshgrid(*xs, indexing=indexing), *xs)


def test_the_default_dtype():
    minidl.set_default_dtype("float64")
    try:
        for x in (minidl.zeros(2), minidl.full((2,), 0.5), minidl.arange(0, 1, 0.5), minidl.linspace(0, 1, 2), minidl.eye(2)):
            assert x.dtype == minidl.float64
        assert minidl.arange(3).dtype == minidl.int64
    finally:
        minidl.set_default_dtype("float32")


@pytest.mark.parametrize("call, error, message", [
    (lambda: minidl.zeros(2, -1), ShapeError, r"none negative, got \(2, -1\)"),
    (lambda: minidl.ones(2.5), ShapeError, "list of integers"),
    (lambda: minidl.full((-1,), 0), ShapeError, "none negative"),
    (lambda: minidl.eye(-1), ShapeError, "none negative"),
    (lambda: minidl.zeros(2, dtype="complex64"), DtypeError, "unknown dtype"),
    (lambda: minidl.zeros(2, dtype="int64", requires_grad=True), DtypeError, "floating-point"),
    (lambda: minidl.zeros(2, device="tpu"), DeviceError, "unknown device"),
    (lambda: minidl.arange(0, 3, 0), ValueError, "no steps of 0 lead from 0 to 3"),
    (lambda: minidl.arange(3, 0), ValueError, "no steps of 1 lead from 3 to 0"),
    (lambda: minidl.linspace(0, 1, -1), ValueError, "non-negative"),
    (lambda: minidl.meshgrid(minidl.ones(2, 3)), ShapeError, r"vectors, got shapes \(2, 3\)"),
    (lambda: minidl.meshgrid(minidl.ones(2), indexing="yx"), ValueError, "'ij' or 'xy'"),
])
def test_mistakes(call, error, message):
    with pytest.raises(error, match=message):
        call()
