"""Embedding."""

import numpy as np
import pytest

import minidl
from minidl import nn


def test_rows_and_gradients():
    table = nn.Embedding(5, 3, dtype="float64")
    index = minidl.tensor([[1, 2, 2, 0]])
    y = table(index)
    assert y.shape == (1, 4, 3) and np.array_equal(np.asarray(y)[0, 1], np.asarray(table.weight)[2])
    y.sum().backward()
    assert np.asarray(table.weight.grad).tolist() == [[1] * 3, [1] * 3, [2] * 3, [0] * 3, [0] * 3]
    assert table(minidl.zeros(0, 2, dtype="int64")).shape == (0, 2, 3)


@pytest.mark.parametrize("padding_idx", [1, -4])
def test_padding_is_zero_and_learns_nothing(padding_idx):
    table = nn.Embedding(5, 3, padding_idx=padding_idx)
    assert table.padding_idx == 1 and not np.asarray(table.weight)[1].any() and np.asarray(table.weight)[[0, 2, 3, 4]].all()
    table(minidl.tensor([1, 2, 2])).sum().backward()
    assert np.asarray(table.weight.grad)[:, 0].tolist() == [0, 0, 2, 0, 0]
    table.reset_parameters()
    assert not np.asarray(table.weight)[1].any() and repr(table) == "Embedding(5, 3, padding_idx=1)"


def test_rows_start_normal():
    minidl.manual_seed(0)
    weight = np.asarray(nn.Embedding(100, 50).weight)
    assert weight.dtype == np.float32 and weight.std() == pytest.approx(1, rel=0.05) and abs(weight.mean()) < 0.05


def test_numbers_out_of_range():
    table = nn.Embedding(5, 3)
    for wrong in (5, -1):
        with pytest.raises(IndexError, match="size 5"):
            table(minidl.tensor([wrong]))
    for wrong in (5, -6):
        with pytest.raises(IndexError, match=f"padding_idx={wrong} is out of range for 5"):
            nn.Embedding(5, 3, padding_idx=wrong)
