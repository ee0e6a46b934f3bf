"""Local response normalisation across channels: y_c = x_c d_c^-beta with d_c = k + (alpha / size) sum_j x_j².

x (N, C, ...); j runs over the ``size`` channels from c - size // 2 to c + (size - 1) // 2, missing ones counting as 0. The
gradient is gx_c = gy_c d_c^-beta - 2 (alpha / size) beta x_c sum_j t_j with t = gy x d^(-beta - 1), where j now runs over the
channels whose window holds c. Half precision is computed in float32. A NaN fills the windows that hold it.

Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012), section
3.3, which does not divide alpha by the size; PyTorch and Caffe do.
"""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.half import widened


@np.errstate(all="ignore")
def local_response_norm(x, size, alpha, beta, k):
    """y, in the dtype of x."""
    wide = widened(x)
    return (wide * _base(wide, size, alpha, k) ** -beta).astype(x.dtype)


@np.errstate(all="ignore")
def local_response_norm_grad(gy, x, size, alpha, beta, k):
    """gx, in the dtype of x."""
    gy, wide = widened(gy), widened(x)
    base = _base(wide, size, alpha, k)
    direct = gy * base**-beta
    spread = _window_sum(direct * wide / base, (size - 1) // 2, size // 2)
    return (direct - (2 * alpha * beta / size) * wide * spread).astype(x.dtype)


def _base(x, size, alpha, k):
    return k + (alpha / size) * _window_sum(x * x, size // 2, (size - 1) // 2)


def _window_sum(x, before, after):
    """For each channel the sum over its ``before`` predecessors, itself and its ``after`` successors."""
    channels = x.shape[1]
    padded = namespace(x).zeros((len(x), before + channels + after, *x.shape[2:]), x.dtype)
    padded[:, before : before + channels] = x
    return sum(padded[:, i : i + channels] for i in range(before + after + 1))
