"""im2col: all windows of an image as the columns of a matrix, so that a convolution becomes a matrix product.

For an image of C channels and a window of KH x KW pixels the matrix has C*KH*KW rows, one for each position inside the
window, and OH*OW columns, one for each place of the window:

    cols[n, (c, a, k), (i, j)] = x[n, c, i*sh + a*dh - ph, j*sw + k*dw - pw]        (0 outside the image)

Source: K. Chellapilla, S. Puri, P. Simard, High Performance Convolutional Neural Networks for Document Processing, 2006,
section 3.
"""

import numpy as np

from minidl.kernels import namespace
from minidl.kernels.shapes import windows


def im2col(x, out_shape, kernel_size, geometry):
    """x (N, C, H, W) -> cols (N, C*KH*KW, OH*OW). Zeros stand for the padding; groups play no part.

    >>> from minidl.kernels.shapes import ConvGeometry
    >>> im2col(np.arange(9.0).reshape(1, 1, 3, 3), (1, 4, 4), (2, 2), ConvGeometry())
    array([[[0., 1., 3., 4.],
            [1., 2., 4., 5.],
            [3., 4., 6., 7.],
            [4., 5., 7., 8.]]])
    """
    xp = namespace(x)
    n, c, h, w = x.shape
    ph, pw = geometry.padding
    padded = xp.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
    oh, ow = windows((h, w), kernel_size, geometry)
    cols = xp.empty((n, c, *kernel_size, oh, ow), x.dtype)
    for a, k, rows, columns in _slices(kernel_size, (oh, ow), geometry):
        cols[:, :, a, k] = padded[:, :, rows, columns]
    return cols.reshape(out_shape)


def col2im(cols, out_shape, kernel_size, geometry):
    """cols (N, C*KH*KW, OH*OW) -> x (N, C, H, W) = ``out_shape``: the adjoint of im2col.

    Each pixel is the sum of its copies in all the windows that see it; a pixel that no window sees is 0. Half precision
    is summed in float32 and rounded once.

    >>> from minidl.kernels.shapes import ConvGeometry
    >>> col2im(np.ones((1, 4, 4)), (1, 1, 3, 3), (2, 2), ConvGeometry())
    array([[[[1., 2., 1.],
             [2., 4., 2.],
             [1., 2., 1.]]]])
    """
    xp = namespace(cols)
    n, c, h, w = out_shape
    ph, pw = geometry.padding
    wide = np.promote_types(cols.dtype, np.float32)
    padded = xp.zeros((n, c, h + 2 * ph, w + 2 * pw), wide)
    oh, ow = windows((h, w), kernel_size, geometry)
    cols = cols.reshape(n, c, *kernel_size, oh, ow)
    for a, k, rows, columns in _slices(kernel_size, (oh, ow), geometry):
        padded[:, :, rows, columns] += cols[:, :, a, k]
    return padded[:, :, ph : ph + h, pw : pw + w].astype(cols.dtype)


def _slices(kernel_size, output, geometry):
    """For each position (a, k) in the window the rows and columns of the padded image that it visits."""
    (sh, sw), (dh, dw), (oh, ow) = geometry.stride, geometry.dilation, output
    for a in range(kernel_size[0]):
        for k in range(kernel_size[1]):
            yield a, k, slice(a * dh, a * dh + sh * oh, sh), slice(k * dw, k * dw + sw * ow, sw)
