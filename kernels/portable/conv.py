"""Convolution by im2col: windows become columns, and the sums over them one matrix product for each image and group.

    y[n, o, i, j] = b[o] + sum over c, a, k of x[n, c, i*sh + a*dh - ph, j*sw + k*dw - pw] w[o, c, a, k]

With G groups the channels fall into G equal parts that see nothing of each other: output channel o reads the C/G input
channels of its own part. Written as matrices, for each image and group, with X = im2col(x):

    Y = W X,        dX = W' dY,        dW = dY X'  (summed over the images)

The three maps are one family: each is linear in both of its arguments, and the gradients of any one are the other two.
Padding counts as zeros that take part in the products. Half precision is computed in float32 and rounded once.
"""

import math

from minidl.kernels import namespace, note
from minidl.kernels.half import widened
from minidl.kernels.portable.im2col import col2im, im2col
from minidl.kernels.shapes import windows


def conv2d(x, w, b, geometry, relu=False):
    """x (N, C, H, W), w (O, C/G, KH, KW), b (O,) or None -> y (N, O, OH, OW). Also called cross-correlation: w is not flipped.
    With ``relu``, what is below 0 becomes 0.

    >>> import numpy as np
    >>> from minidl.kernels.shapes import ConvGeometry
    >>> x, w = np.arange(9.0).reshape(1, 1, 3, 3), np.ones((1, 1, 2, 2))
    >>> conv2d(x, w, np.array([100.0]), ConvGeometry())
    array([[[[108., 112.],
             [120., 124.]]]])
    """
    oh, ow = windows(x.shape[2:], w.shape[2:], geometry)
    y = namespace(x).matmul(_weights(w, geometry.groups), _columns(x, w.shape[2:], geometry))
    y = y.reshape(x.shape[0], w.shape[0], oh, ow)
    if b is not None:
        y += b[:, None, None]
    if relu:
        y = namespace(x).where(y <= 0, y.dtype.type(0), y)  # NaN stays NaN
    return y.astype(x.dtype, copy=False)


def conv2d_input_grad(gy, w, x_shape, geometry):
    """gy (N, O, OH, OW), w (O, C/G, KH, KW) -> gx (N, C, H, W) = ``x_shape``: the adjoint of ``conv2d`` in x.

    A pixel that no window sees gets 0, or NaN where w is not finite. This is also the transposed convolution of gy.
    """
    n, c = x_shape[:2]
    kh, kw = w.shape[2:]
    weights = _weights(w, geometry.groups)
    cols = namespace(gy).matmul(weights.swapaxes(1, 2), _images(gy, geometry))
    cols = cols.reshape(n, c * kh * kw, gy.shape[2] * gy.shape[3])
    return col2im(cols, x_shape, (kh, kw), geometry).astype(gy.dtype, copy=False)


def conv2d_weight_grad(gy, x, w_shape, geometry):
    """gy (N, O, OH, OW), x (N, C, H, W) -> gw (O, C/G, KH, KW) = ``w_shape``: the adjoint of ``conv2d`` in w.

    A NaN or an infinity in x may spread to all weights that read its channel.
    """
    cols = _columns(x, w_shape[2:], geometry)
    gw = namespace(gy).matmul(_images(gy, geometry), cols.swapaxes(2, 3)).sum(axis=0)
    return gw.reshape(w_shape).astype(gy.dtype, copy=False)


def _weights(w, groups):
    """w (O, C/G, KH, KW) -> (G, O/G, C/G*KH*KW)"""
    return widened(w).reshape(groups, w.shape[0] // groups, math.prod(w.shape[1:]))


def _images(y, geometry):
    """y (N, O, OH, OW) -> (N, G, O/G, OH*OW)"""
    n, o, oh, ow = y.shape
    return widened(y).reshape(n, geometry.groups, o // geometry.groups, oh * ow)


def _columns(x, kernel_size, geometry):
    """x (N, C, H, W) -> (N, G, C/G*KH*KW, OH*OW)"""
    n, c = x.shape[:2]
    oh, ow = windows(x.shape[2:], kernel_size, geometry)
    rows = c * kernel_size[0] * kernel_size[1]
    cols = im2col(widened(x), (n, rows, oh * ow), kernel_size, geometry)
    note("im2col", "portable", "the windows of all images as columns of one matrix", cols)
    return cols.reshape(n, geometry.groups, rows // geometry.groups, oh * ow)
