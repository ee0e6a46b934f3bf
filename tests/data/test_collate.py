"""From samples to a batch."""

from collections import namedtuple

import numpy as np
import pytest

import minidl
from minidl.data import default_collate
from minidl.data.collate import tensors
from minidl.errors import DtypeError, ShapeError

Pair = namedtuple("Pair", "image label")


@pytest.mark.parametrize(("samples", "dtype"), [
    ([3, 5], np.int64), ([0.5, 2], np.float64), ([True, False], np.bool_), ([np.float32(1), np.float32(2)], np.float32),
    ([np.uint8(1), np.uint8(2)], np.uint8), ([np.zeros(2, np.float32)] * 2, np.float32),
    ([minidl.zeros(2, dtype=minidl.float16)] * 2, np.float16),
    ([1, 2.75], np.float64), ([True, 2], np.int64), ([np.float32(0.5), np.float64(0.1)], np.float64), ([2**63 - 1, 0], np.int64)])
def test_dtypes(samples, dtype):
    batch = default_collate(samples)
    assert isinstance(batch, minidl.Tensor) and batch.dtype == dtype
    assert batch.tolist() == [s.tolist() if hasattr(s, "tolist") else s for s in samples]


def test_nested():
    samples = [{"image": np.full((2, 3), i, np.float32), "boxes": [i, (i + 0.5, str(i))]} for i in range(4)]
    batch = default_collate(samples)
    assert batch["image"].shape == (4, 2, 3)
    numbers, (halves, names) = batch["boxes"]
    assert isinstance(batch["boxes"], list) and numbers.tolist() == [0, 1, 2, 3]
    assert halves.tolist() == [0.5, 1.5, 2.5, 3.5] and names == ["0", "1", "2", "3"]


def test_named_tuples_keep_their_names():
    batch = default_collate([Pair(np.zeros(2), 1), Pair(np.ones(2), 2)])
    assert isinstance(batch, Pair) and batch.label.tolist() == [1, 2]


@pytest.mark.parametrize(("samples", "error", "message"), [
    ([np.zeros(2), np.zeros(3)], ShapeError, r"one shape, got \[\(2,\), \(3,\)\]"),
    ([(1, 2), (1,)], ShapeError, r"as many items each, got \[2, 1\]"),
    ([None, None], DtypeError, "holds a NoneType"),
    ([object()], DtypeError, "holds a object"),
    ([np.array(["a"])], DtypeError, "arrays of dtype <U1"),
    ([1, None], DtypeError, "arrays of dtype object"), ([1, "two"], DtypeError, "arrays of dtype <U"),
    ([2**70], DtypeError, "arrays of dtype object")])
def test_what_cannot_be_collated(samples, error, message):
    with pytest.raises(error, match=message):
        default_collate(samples)


def test_tensors_of_nested_arrays():
    batch = tensors({"x": (np.zeros(2), [np.ones(1), "name"]), "n": 3})
    assert batch["x"][0].tolist() == [0, 0] and isinstance(batch["x"][1], list)
    assert batch["x"][1][0].tolist() == [1] and batch["x"][1][1] == "name" and batch["n"] == 3
