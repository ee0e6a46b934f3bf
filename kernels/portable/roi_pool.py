"""Pooling of regions of interest into bins of whole pixels.   x (N, C, H, W) -> y (K, C, PH, PW), K regions.

``rows`` and ``columns`` are ``kernels.rois.Bins``, (K, PH) and (K, PW); ``images`` (K,) int64 tells the image of each region.
Empty bins give 0. Half precision is summed in float32.
"""

from minidl.kernels import namespace
from minidl.kernels.half import widened


def roi_pool(x, rows, columns, images):
    """The maximum of each bin, and its place in the image as a flat index h W + w, -1 for an empty bin (int64).

    Of equal elements the first wins, row by row; a NaN wins over every number.
    """
    xp = namespace(x)
    shape = len(images), x.shape[1], rows.starts.shape[1], columns.starts.shape[1]
    winners = xp.full(shape, -1)
    for k, i, j, image, h, w in _bins(rows, columns, images):
        best = widened(x[image, :, h, w]).reshape(x.shape[1], -1).argmax(1)
        wide = w.stop - w.start
        winners[k, :, i, j] = (h.start + best // wide) * x.shape[3] + w.start + best % wide
    return take_roi_winners(x, shape, winners, rows, columns, images), winners


def take_roi_winners(x, out_shape, winners, rows, columns, images):
    """y[k, c, i, j] = the element of channel c of the region's image at flat index winners[k, c, i, j]; 0 where that is -1."""
    places = _places(x.shape, winners, images)
    return namespace(x).where(winners < 0, x.dtype.type(0), x.reshape(-1)[places]).astype(x.dtype, copy=False)


def add_roi_winners(gy, out_shape, winners, rows, columns, images):
    """The adjoint: each gy is added to the element that won; elements that won several bins get the sum. Rows and columns help
    kernels that gather.
    """
    xp, wide = namespace(gy), widened(gy)
    gx = xp.zeros(out_shape, wide.dtype).reshape(-1)
    xp.add.at(gx, _places(out_shape, winners, images).reshape(-1), xp.where(winners < 0, 0, wide).reshape(-1))
    return gx.reshape(out_shape).astype(gy.dtype, copy=False)


def _places(shape, winners, images):
    """Winners as flat indices into the whole of x, -1 as that of any element."""
    xp, (_, channels, height, width) = namespace(winners), shape
    planes = images[:, None] * channels + xp.arange(channels)
    return planes[:, :, None, None] * (height * width) + xp.maximum(winners, 0)


def ps_roi_pool(x, out_shape, rows, columns, images):
    """y[k, c, i, j] = the mean of bin (i, j) in channel (c PH + i) PW + j: each bin has channels of its own."""
    xp, (_, channels, height, width) = namespace(x), out_shape
    y = xp.zeros(out_shape, widened(x[:0]).dtype)
    groups = x.reshape(x.shape[0], channels, height, width, *x.shape[2:])
    for k, i, j, image, h, w in _bins(rows, columns, images):
        y[k, :, i, j] = widened(groups[image, :, i, j, h, w]).mean((1, 2))
    return y.astype(x.dtype, copy=False)


def ps_roi_pool_adjoint(gy, out_shape, rows, columns, images):
    """Every element of a bin receives gy over the number of elements."""
    xp, wide, (_, channels, height, width) = namespace(gy), widened(gy), gy.shape
    gx = xp.zeros((out_shape[0], channels, height, width, *out_shape[2:]), wide.dtype)
    for k, i, j, image, h, w in _bins(rows, columns, images):
        area = (h.stop - h.start) * (w.stop - w.start)
        gx[image, :, i, j, h, w] += (wide[k, :, i, j] / area)[:, None, None]
    return gx.reshape(out_shape).astype(gy.dtype, copy=False)


def _bins(rows, columns, images):
    """Region, row and column of each bin that is not empty, its image, and the slices of it that the bin covers."""
    down, across = (list(map(_slices, axis.starts.tolist(), axis.stops.tolist())) for axis in (rows, columns))
    for k, image in enumerate(images.tolist()):
        for i, h in enumerate(down[k]):
            for j, w in enumerate(across[k]):
                if h.start < h.stop and w.start < w.stop:
                    yield k, i, j, image, h, w


def _slices(starts, stops):
    return list(map(slice, starts, stops))
