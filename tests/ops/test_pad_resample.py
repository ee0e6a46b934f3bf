"""Padding and resampling against naive loops, finite differences, and mistakes."""

import math

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from tests.checks import check_gradients, leaf

NUMPY = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


@pytest.mark.parametrize("mode", NUMPY)
@pytest.mark.parametrize("pads", [(1, 2), (0, 1, 2, 0), (2, 1, 1, 0, 1, 1)])
def test_pad(mode, pads):
    x = leaf(2, 3, 4, strided=True)
    widths = [(0, 0)] * (3 - len(pads) // 2) + [(pads[i], pads[i + 1]) for i in range(0, len(pads), 2)][::-1]
    assert np.array_equal(minidl.pad(x, pads, mode), np.pad(np.asarray(x), widths, mode=NUMPY[mode]))
    check_gradients(lambda x: minidl.pad(x, pads, mode), x)


def test_constant_pad_cuts_and_fills():
    x = leaf(2, 5)
    y = minidl.pad(x, (-1, 2, 1, -1), value=7.0)
    assert y.shape == (2, 6) and np.asarray(y)[0].tolist() == [7] * 6 and np.asarray(y)[1, 4:].tolist() == [7, 7]
    assert np.array_equal(np.asarray(y)[1, :4], np.asarray(x)[0, 1:])
    check_gradients(lambda x: minidl.pad(x, (-1, 2, 1, -1), value=7.0), x)
    assert minidl.pad(minidl.tensor([1, 2]), (1, 0)).dtype == minidl.int64
    assert minidl.pad(minidl.zeros(0, 3), (1, 1)).shape == (0, 5)
    assert math.isnan(minidl.pad(minidl.tensor([math.nan]), (1, 0)).tolist()[1])


@pytest.mark.parametrize("call, error", [
    (lambda: minidl.pad(minidl.ones(3), (1,)), ShapeError), (lambda: minidl.pad(minidl.ones(3), (1, 1, 1, 1)), ShapeError),
    (lambda: minidl.pad(minidl.ones(3), (-2, -2)), ShapeError),
    (lambda: minidl.pad(minidl.ones(3), (3, 0), "reflect"), ShapeError),
    (lambda: minidl.pad(minidl.ones(3), (4, 0), "circular"), ShapeError),
    (lambda: minidl.pad(minidl.ones(3), (1, 1), "zero"), ValueError),
    (lambda: minidl.pad(minidl.ones(3), (1, 1), "reflect", 2.0), ValueError),
    (lambda: minidl.interpolate(minidl.ones(3, 4), 2), ShapeError),
    (lambda: minidl.interpolate(minidl.ones(1, 1, 3, 4)), ValueError),
    (lambda: minidl.interpolate(minidl.ones(1, 1, 3, 4), 2, 2), ValueError),
    (lambda: minidl.interpolate(minidl.ones(1, 1, 3, 4), 2, align_corners=True), ValueError),
    (lambda: minidl.interpolate(minidl.ones(1, 1, 3, 4), 2, mode="cubic"), ValueError),
    (lambda: minidl.interpolate(minidl.ones(1, 1, 3, 4), 0), ShapeError),
    (lambda: minidl.interpolate(minidl.ones(1, 1, 3, 4).long(), 2, mode="bilinear"), DtypeError),
])
def test_mistakes(call, error):
    with pytest.raises(error):
        call()


def naive(x, size, mode, align_corners):
    """Element by element."""
    n, c, height, width = x.shape
    y = np.zeros((n, c, *size))
    for i, j in np.ndindex(*size):
        at = []
        for k, new, old in ((i, size[0], height), (j, size[1], width)):
            if mode == "nearest":
                at.append([(min(math.floor(k * old / new), old - 1), 1.0)])
                continue
            place = k * (old - 1) / max(new - 1, 1) if align_corners else max((k + 0.5) * old / new - 0.5, 0)
            low = min(math.floor(place), old - 1)
            at.append([(low, 1 - (place - low)), (min(low + 1, old - 1), place - low)])
        for h, a in at[0]:
            for w, b in at[1]:
                y[:, :, i, j] += a * b * x[:, :, h, w]
    return y


@pytest.mark.parametrize("mode, align_corners", [("nearest", None), ("bilinear", False), ("bilinear", True)])
@pytest.mark.parametrize("size", [(3, 5), (7, 2), (1, 1), (6, 1), (1, 8)])
@pytest.mark.parametrize("shape", [(2, 3, 3, 4), (1, 2, 1, 5), (1, 1, 1, 1)])
def test_interpolate(shape, size, mode, align_corners):
    x = leaf(*shape)
    y = minidl.interpolate(x, size, mode=mode, align_corners=align_corners)
    assert np.allclose(y, naive(np.asarray(x), size, mode, align_corners), rtol=1e-12)
    check_gradients(lambda x: minidl.interpolate(x, size, mode=mode, align_corners=align_corners), x)


def test_dtype_and_empty():
    x = minidl.ones(1, 2, 3, 4, requires_grad=True)
    y = minidl.interpolate(x, scale_factor=1.5, mode="bilinear")
    y.sum().backward()
    assert y.dtype == minidl.float32 and y.shape == (1, 2, 4, 6) and x.grad.dtype == minidl.float32
    assert minidl.interpolate(minidl.zeros(0, 2, 3, 4), 5).shape == (0, 2, 5, 5)
    assert minidl.nn.Upsample(scale_factor=(2, 1))(minidl.ones(1, 1, 3, 4)).shape == (1, 1, 6, 4)
