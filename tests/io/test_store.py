"""save and load: what goes in comes out, and strangers read it too."""

import json
import math
import os
from collections import OrderedDict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import minidl
from minidl import nn
from minidl.errors import CheckpointError, DeviceError
from minidl.io import safetensors
from minidl.tensor import Tensor

DTYPES = list(safetensors.NAMES)


def equal(a, b) -> bool:
    """Same types, keys in the same order, same bits."""
    if isinstance(a, (Tensor, np.ndarray)):
        x, y = (v.array if isinstance(v, Tensor) else v for v in (a, b))
        return type(a) is type(b) and x.dtype == y.dtype and x.shape == y.shape and x.tobytes() == y.tobytes()
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return type(a) is type(b) and (a == b or a != a and b != b)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 3), (4, 0, 5), (1, 2, 3, 4)])
def test_every_dtype_and_shape(tmp_path, dtype, shape):
    array = np.asarray(np.random.default_rng(0).integers(0, 2, shape) * 77).astype(dtype)
    minidl.save({"t": Tensor(array), "a": array}, tmp_path / "x")
    found = minidl.load(tmp_path / "x")
    assert equal(found, {"t": Tensor(array), "a": array})
    assert found["a"].flags.writeable and found["a"].flags.aligned


def test_structures(tmp_path):
    tensor = minidl.ones(2, 3)
    for value in (None, True, 0, 2**64 - 1, -1, 0.1, math.inf, -math.inf, math.nan, -0.0, "", "ä\0\n", [], (), {}, tensor,
                  {1: "int", "1": "string"}, {"a": {"b": tensor}, "a.b": tensor * 2}, {"__metadata__": tensor},
                  [(tensor, [None]), {"": tensor, "x": {}}], {"minidl": "key", "tensor": ["value"]}):
        minidl.save(value, tmp_path / "x")
        assert equal(minidl.load(tmp_path / "x"), value), value


leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.builds(np.arange, st.integers(0, 3))
nested = st.recursive(leaves, lambda inner: st.lists(inner) | st.builds(tuple, st.lists(inner))
                      | st.dictionaries(st.text() | st.integers(), inner), max_leaves=12)


@settings(max_examples=60, deadline=None)
@given(nested)
def test_any_structure(tmp_path_factory, value):
    path = tmp_path_factory.mktemp("any") / "x"
    minidl.save(value, path)
    assert equal(minidl.load(path), value)


def test_views_numbers_and_kinds(tmp_path):
    """Non-contiguous and recorded tensors, NumPy's numbers, an OrderedDict."""
    array = np.arange(12.0).reshape(3, 4)
    base = minidl.tensor(array, requires_grad=True)
    value = OrderedDict(turned=base.T, part=(base * 2)[:, 1:3], number=np.float32(0.5), count=np.int64(3))
    minidl.save(value, tmp_path / "x")
    found = minidl.load(tmp_path / "x")
    assert np.array_equal(found["turned"].array, array.T) and np.array_equal(found["part"].array, array[:, 1:3] * 2)
    assert not found["turned"].requires_grad and (found["number"], found["count"]) == (0.5, 3)
    assert type(found["number"]) is float and type(found["count"]) is int


def test_loaded_arrays_share_nothing(tmp_path):
    minidl.save({"a": minidl.zeros(3)}, tmp_path / "x")
    first, second = minidl.load(tmp_path / "x"), minidl.load(tmp_path / "x")
    first["a"].array[0] = 1
    assert second["a"].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("value", "message"), [
    ({1.5: 0}, "keys must be strings or ints"), ({(1, 2): 0}, "keys must be"), ({True: 0}, "keys must be"),
    ({"f": print}, "builtin_function_or_method cannot be stored"), (np.zeros(2, complex), "dtype complex128"),
    (np.array(["a"]), "dtype <U1"), (np.array([None]), "dtype object"), (b"bytes", "bytes cannot"),
])
def test_what_cannot_be_stored_leaves_the_old_file(tmp_path, value, message):
    minidl.save("old", tmp_path / "x")
    with pytest.raises(TypeError, match=message):
        minidl.save({"good": minidl.ones(3), "bad": value}, tmp_path / "x")
    assert minidl.load(tmp_path / "x") == "old" and os.listdir(tmp_path) == ["x"]


def test_a_structure_without_end(tmp_path):
    loop = []
    loop.append(loop)
    with pytest.raises(TypeError, match="nested deeper than 32"):
        minidl.save(loop, tmp_path / "x")
    with pytest.raises(ValueError, match="store long lists of numbers as arrays"):
        minidl.save([0] * 6_000_000, tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_a_state_dict_is_an_ordinary_file(tmp_path):
    """The reference implementation reads it under its own names, and what that writes is read here."""
    reference = pytest.importorskip("safetensors.numpy")
    state = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    minidl.save(state, tmp_path / "ours")
    theirs = reference.load_file(tmp_path / "ours")
    assert theirs.keys() == state.keys() and all(np.array_equal(theirs[key], state[key].numpy()) for key in state)
    reference.save_file(theirs, tmp_path / "theirs", metadata={"format": "np"})
    back = minidl.load(tmp_path / "theirs")
    assert back.keys() == state.keys() and all(equal(back[key], state[key].detach()) for key in state)


def test_missing_and_wrong_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"nowhere: cannot be read: No such file"):
        minidl.load(tmp_path / "nowhere")
    with pytest.raises(CheckpointError, match="cannot be read"):
        minidl.load(tmp_path)


def test_a_state_of_another_model(tmp_path):
    minidl.save(nn.Linear(3, 2).state_dict(), tmp_path / "x")
    with pytest.raises(CheckpointError, match=r"weight: expected \(2, 4\), got \(2, 3\)"):
        nn.Linear(4, 2).load_state_dict(minidl.load(tmp_path / "x"))


def test_layout(tmp_path):
    """Wide dtypes first, the header padded: every array lies aligned."""
    minidl.save({"b": minidl.ones(3, dtype="uint8"), "d": minidl.ones(2, dtype="float64")}, tmp_path / "x")
    content = (tmp_path / "x").read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    assert size % 8 == 0 and header["d"]["data_offsets"] == [0, 16] and header["b"]["data_offsets"] == [16, 19]
    assert list(minidl.load(tmp_path / "x")) == ["d", "b"]


def test_map_location(tmp_path):
    """A device that is not there is told before the file is read."""
    minidl.save({"a": [minidl.ones(2), np.ones(2), 3]}, tmp_path / "x")
    tensor, array, number = minidl.load(tmp_path / "x", map_location="cpu")["a"]
    assert tensor.device.type == "cpu" and tensor.tolist() == [1, 1] and type(array) is np.ndarray and number == 3
    with pytest.raises(DeviceError, match="unknown device 'disk'"):
        minidl.load(tmp_path / "not there", map_location="disk")
