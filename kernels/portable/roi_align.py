"""Sampling of regions of interest.   x (N, C, H, W) -> y (K, C, PH, PW), K regions.

``rows`` and ``columns`` are ``kernels.rois.Samples``; ``images`` (K,) int64 tells the image of each region. Interpolation is
linear along each axis, and the samples of a bin are a grid, so a bin is the mean over rows of means over columns: y = A x Bᵀ with
weights A (PH, H), a row for each row of bins, and B (PW, W), a row for each column of bins. Pixels that get no weight are not
read, whatever they hold. Half precision is computed in float32.
"""

from minidl.kernels import namespace
from minidl.kernels.half import widened


def roi_align(x, out_shape, rows, columns, images):
    """The mean of each bin's samples, 0 for a bin without any."""
    xp, wide = namespace(x), widened(x)
    y = xp.zeros(out_shape, wide.dtype)
    for k, i, j, image, (h, down), (w, across) in _bins(x.shape, out_shape, rows, columns, images):
        y[k, :, i, j] = (wide[image][:, h[:, None], w] * (down[:, None] * across)).sum((1, 2))
    return y.astype(x.dtype, copy=False)


def roi_align_adjoint(gy, out_shape, rows, columns, images):
    """Every pixel receives gy times its weight in the bin."""
    xp, wide = namespace(gy), widened(gy)
    gx = xp.zeros(out_shape, wide.dtype)
    for k, i, j, image, (h, down), (w, across) in _bins(out_shape, gy.shape, rows, columns, images):
        gx[image][:, h[:, None], w] += wide[k, :, i, j][:, None, None] * (down[:, None] * across)
    return gx.astype(gy.dtype, copy=False)


def _bins(in_shape, out_shape, rows, columns, images):
    """Region, row and column of each bin, its image, and along H and along W the pixels with weight and their weights."""
    for k, image in enumerate(images.tolist()):
        down, across = (_weights(axis, k, bins, size) for axis, bins, size in
                        zip((rows, columns), out_shape[2:], in_shape[2:], strict=True))
        for i, in_row in enumerate(down):
            for j, in_column in enumerate(across):
                yield k, i, j, image, in_row, in_column


def _weights(axis, k, bins, size):
    """For each bin of region k along an axis of ``size`` the places that get weight, and the weights.

    A sample at p gives the pixel at h the weight max(0, 1 - |p - h|); those up to one pixel outside count as at the edge.
    """
    xp, start, step, count = namespace(axis.starts), axis.starts[k], axis.steps[k], int(axis.counts[k])
    first, places = start + xp.arange(bins)[:, None].astype(start.dtype) * step, xp.arange(size)
    weights = xp.zeros((bins, size), start.dtype)
    for s in range(count):
        at = first + (s + 0.5) * step / count
        inside = (at >= -1) & (at <= size)
        weights += inside * xp.maximum(1 - abs(xp.clip(at, 0, size - 1) - places), 0).astype(start.dtype) / count
    return [(row.nonzero()[0], row[row != 0]) for row in weights]
