"""Arrays as the tensor cores' kernels read them, against NumPy's transposed arrays."""

import numpy as np
import pytest

from minidl.kernels.cuda import channels_last
from tests.kernels.cuda import bfloat16, cuda_runs, on_device, on_host, with_bfloat16

pytestmark = cuda_runs
last = on_device(channels_last)

by_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float16, pytest.param(bfloat16, marks=with_bfloat16)])


def numbers(shape, dtype):
    return np.random.default_rng(0).standard_normal(shape).astype(dtype)


def check(y, x):
    """y is x, rounded to tf32 if of float32, with zeros behind it to the next 16 bytes."""
    x = np.ascontiguousarray(x)
    if x.dtype == np.float32:
        x = (x.view(np.uint32) + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.float32)
    channels, lanes = x.shape[-1], 16 // x.itemsize
    assert y.dtype == x.dtype and y.shape == (*x.shape[:-1], max(1, -(-channels // lanes)) * lanes)
    np.testing.assert_array_equal(y[..., :channels], x)
    assert not y[..., channels:].any()


# Pixels that packs of 16 bytes, of 8, and none begin at; whole tiles and rests of them; several images in a tile; few chunks.
@pytest.mark.parametrize("images, groups, channels, pixels", [
    (2, 2, 64, 64), (3, 1, 96, 136), (3, 1, 70, 28), (3, 1, 65, 49), (130, 1, 33, 1), (5, 1, 36, 6),
    (2, 3, 5, 77), (1, 1, 3, 100), (3, 4, 17, 5), (0, 1, 70, 5)])
@by_dtype
def test_images(dtype, images, groups, channels, pixels):
    x = numbers((images, groups * channels, pixels), dtype)
    check(last.images_last(x, groups), x.reshape(images, groups, channels, pixels).transpose(1, 0, 3, 2))


@pytest.mark.parametrize("channels", [3, 40])
@by_dtype
def test_images_at_an_odd_address(dtype, channels):
    x = numbers((2 * channels * 16 + 1,), dtype)[1:].reshape(2, channels, 4, 4)
    check(last.images_last(x, 1), x.reshape(1, 2, channels, 16).transpose(0, 1, 3, 2))


@pytest.mark.parametrize("view", [
    lambda w: w.transpose(0, 1, 3, 4, 2), lambda w: w.transpose(0, 2, 3, 4, 1),  # of a convolution, and of its input's gradient
    lambda w: w.transpose(0, 2, 3, 4, 1)[:, :, ::2, 1::2], lambda w: w, lambda w: w[:, :, ::-1], lambda w: w[..., 1:],
])
@pytest.mark.parametrize("shape", [(2, 5, 70, 3, 3), (1, 5, 3, 7, 9), (1, 4, 64, 1, 16), (2, 7, 17, 3, 1), (3, 8, 0, 2, 2)])
@by_dtype
def test_weights(dtype, shape, view):
    w = view(numbers(shape, dtype))
    check(last.weights_last(w), w)


@by_dtype
def test_rows(dtype):
    matrices = numbers((2, 37, 72), dtype)
    for rows in (matrices, matrices.swapaxes(1, 2)):
        check(last.rows_last(rows)[:, :, 0, 0], rows)


@on_host
def test_what_lies_as_it_should_is_not_copied():
    w = np.zeros((1, 4, 1, 1, 16), np.float16)
    assert channels_last.weights_last(w) is w
    assert channels_last.weights_last(w.astype(np.float32)) is not w  # has to be rounded
