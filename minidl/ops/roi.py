"""Pooling of regions of interest: from boxes of any size to images of one size.   x (N, C, H, W), K boxes -> y (K, C, PH, PW).

Boxes are (x1, y1, x2, y2) in pixels of the picture, ``spatial_scale`` makes them those of the feature map x. Each is divided into
PH x PW bins. At fixed boxes, which get no gradient, all but the choice of a maximum is linear in x. Names, arguments and results
are those of torchvision.ops.
"""

from minidl.device import check_same_device
from minidl.dtypes import float32, promote_types
from minidl.errors import ShapeError
from minidl.kernels import kernel, namespace
from minidl.kernels.recording import current
from minidl.kernels.rois import sampled_bins, whole_bins
from minidl.kernels.shapes import pair
from minidl.op import LinearOp, Op
from minidl.ops.boxes import check_boxes
from minidl.ops.cast import check_floating
from minidl.tensor import Tensor, astensor

FAR = 2**24  # pixels, up to which float32 counts them


class RoIWinners(LinearOp):
    """y[k,c,i,j] = x[image of k, c] at flat index winners[k,c,i,j], 0 for -1; the adjoint adds back what each winner won."""

    kernel, adjoint = "take_roi_winners", "add_roi_winners"


class RoIPool(Op):
    """y[k,c,i,j] = max of bin (i,j) of region k."""

    def __init__(self, rows, columns, images):
        self.rows, self.columns, self.images = rows, columns, images

    def forward(self, x):
        self.shape = x.shape
        values, winners = kernel("roi_pool", x)(x, self.rows, self.columns, self.images)
        self.save(winners)
        return values

    def backward(self, gy):
        winners = self.saved[0].array
        return RoIWinners(gy.shape, self.shape, winners, self.rows, self.columns, self.images, transposed=True)(gy)


class PSRoIPool(LinearOp):
    """y[k,c,i,j] = mean of bin (i,j) in channel (c PH + i) PW + j; the adjoint gives every element of a bin its share."""

    kernel, adjoint = "ps_roi_pool", "ps_roi_pool_adjoint"


class RoIAlign(LinearOp):
    """y[k,c] = A_k x_c B_kᵀ: rows of A_k (PH, H) and B_k (PW, W) hold a bin's weights, the means of those of its samples."""

    kernel, adjoint = "roi_align", "roi_align_adjoint"


def _regions(name, input, boxes, output_size, spatial_scale):
    """x, the bins (PH, PW), each region's image, and along H and along W: (low, high, scale, bins, size). All checked."""
    x, size = astensor(input), pair(output_size, "output_size")
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ShapeError(f"{name} needs input (N, C, H, W) with a non-empty image, got shape {x.shape}")
    check_floating(x, name)
    if min(size) < 1 or not spatial_scale > 0:
        raise ShapeError(f"{name} needs an output_size of at least 1 and a positive spatial_scale, got {size}, {spatial_scale}")
    dtype = promote_types(x.dtype, float32)
    rois = _with_images(name, x, boxes, dtype) if isinstance(boxes, (list, tuple)) else astensor(boxes)
    if rois.ndim != 2 or rois.shape[1] != 5:
        raise ShapeError(f"{name} needs boxes (K, 5), the index of the image first, or a list with a tensor (L, 4) for each "
                         f"image, got shape {rois.shape}")
    check_same_device(name, x, rois)
    rois = rois.array.astype(dtype)
    _check_regions(name, rois, len(x.array), spatial_scale)
    images, x1, y1, x2, y2 = rois.T
    axes = [(low, high, spatial_scale, *sizes) for low, high, *sizes in
            zip((y1, x1), (y2, x2), size, x.shape[2:], strict=True)]
    return x, size, images.astype("int64"), axes


def _with_images(name, x, boxes, dtype) -> Tensor:
    """A list of boxes (L, 4), one tensor for each image, as (K, 5) of this dtype."""
    if len(boxes) != x.shape[0]:
        raise ShapeError(f"{name} needs boxes for each image: {x.shape[0]} images, a list of {len(boxes)}")
    boxes = [check_boxes(b, name, ndim=2) for b in boxes]
    check_same_device(name, x, *boxes)
    xp = namespace(x.array)
    numbered = [xp.concatenate([xp.full((len(b.array), 1), n, dtype), b.array.astype(dtype)], 1) for n, b in enumerate(boxes)]
    return Tensor(xp.concatenate([xp.zeros((0, 5), dtype), *numbered]))


def _check_regions(name, rois, count, scale) -> None:
    """Raise for an image that is not there and for coordinates that are no numbers or lie far away."""
    if current() is not None:
        return  # a step that is being recorded cannot look at numbers
    xp = namespace(rois)
    wrong = (rois[:, 0] < 0) | (rois[:, 0] >= count) | (rois[:, 0] != xp.trunc(rois[:, 0]))
    if wrong.any():
        raise IndexError(f"{name}: {rois[wrong][0, 0]} is not the index of one of {count} images (the first column of the boxes)")
    wrong = ~(abs(rois[:, 1:] * scale) < FAR).all(1)
    if wrong.any():
        raise ValueError(f"{name}: box {rois[wrong][0, 1:].tolist()} holds NaN or reaches farther than {FAR} pixels: look where "
                         "it comes from, or clip it with clip_boxes_to_image")


def roi_pool(input, boxes, output_size, spatial_scale=1.0) -> Tensor:
    """The maximum of each bin of each box: (N, C, H, W) and K boxes -> (K, C, PH, PW), PH and PW being the ``output_size``.

    Boxes are (K, 5) with the index of the image in the first column, or a list with a tensor (L, 4) for each image. Their edges
    are rounded to pixels (halves away from 0), both ends belong to the region, and it measures at least one pixel. Bins are
    rounded outwards, so they may share pixels. What lies outside the image does not count; a bin without pixels gives 0. Of equal
    elements the first gets the gradient; NaN wins.

    Raises ShapeError for input or boxes of another shape, IndexError for an image that is not there, ValueError for boxes with
    NaN. Source: Girshick, "Fast R-CNN" (2015), section 2.1.

    >>> import minidl
    >>> x = minidl.arange(36.0).reshape(1, 1, 6, 6)
    >>> roi_pool(x, minidl.tensor([[0.0, 0.0, 0.0, 3.0, 3.0]]), 2)
    tensor([[[[ 7.,  9.],
              [19., 21.]]]])
    """
    x, _, images, axes = _regions("roi_pool", input, boxes, output_size, spatial_scale)
    return RoIPool(*[whole_bins(*axis, last=1) for axis in axes], images)(x)


def ps_roi_pool(input, boxes, output_size, spatial_scale=1.0) -> Tensor:
    """The mean of each bin of each box, each bin from channels of its own: (N, C PH PW, H, W) and K boxes -> (K, C, PH, PW).

    Bin (i, j) of y's channel c is the mean of channel (c PH + i) PW + j. Boxes as for ``roi_pool``, but their right and lower
    edge do not belong to the region, nor, as in torchvision, do the last row and column of the image. The gradient is that of
    these values (torchvision's also counts the last row and column).

    Raises as ``roi_pool``, and ShapeError unless the channels are a multiple of PH PW. Source: Dai et al., "R-FCN" (2016),
    section 3, eq. 1.

    >>> import minidl
    >>> x = minidl.arange(4.0).reshape(1, 4, 1, 1).expand(1, 4, 6, 6)  # channel c is full of c
    >>> ps_roi_pool(x, minidl.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]]), 2)
    tensor([[[[0., 1.],
              [2., 3.]]]])
    """
    x, size, images, axes = _regions("ps_roi_pool", input, boxes, output_size, spatial_scale)
    bins = size[0] * size[1]
    if x.shape[1] % bins:
        raise ShapeError(f"ps_roi_pool needs channels for each of {size[0]} x {size[1]} bins, a multiple of {bins}, got input of "
                         f"shape {x.shape}")
    rows, columns = ((whole_bins(*axis, length - 1, last=0)) for *axis, length in axes)
    return PSRoIPool(x.shape, (len(images), x.shape[1] // bins, *size), rows, columns, images)(x)


def roi_align(input, boxes, output_size, spatial_scale=1.0, sampling_ratio=-1, aligned=False) -> Tensor:
    """The mean of samples in each bin of each box, nothing being rounded: (N, C, H, W) and K boxes -> (K, C, PH, PW).

    Boxes as for ``roi_pool``. A bin has ``sampling_ratio`` x ``sampling_ratio`` samples at even distances, or, if that is not
    positive, as many as it measures pixels, rounded up; they are interpolated between four pixels. Samples farther than one
    pixel outside the image are 0, nearer ones are moved to its edge. By default the centre of the first pixel is at 0, and boxes
    measure at least one pixel; with ``aligned`` it is at 0.5, as boxes mean it, and an empty box has no samples and gives 0.
    With ``sampling_ratio=1, aligned=True`` every box is cropped and resized bilinearly (RoI warping).

    Raises as ``roi_pool``. Source: He et al., "Mask R-CNN" (2017), section 3; for warping Dai et al., "Instance-aware semantic
    segmentation via multi-task network cascades" (2016), section 3.2.

    >>> import minidl
    >>> x = minidl.arange(25.0).reshape(1, 1, 5, 5)
    >>> roi_align(x, [minidl.tensor([[1.0, 1.0, 3.0, 3.0]])], 2, aligned=True)
    tensor([[[[ 6.,  7.],
              [11., 12.]]]])
    """
    x, size, images, axes = _regions("roi_align", input, boxes, output_size, spatial_scale)
    rows, columns = (sampled_bins(*axis, sampling_ratio, aligned) for *axis, _ in axes)
    return RoIAlign(x.shape, (len(images), x.shape[1], *size), rows, columns, images)(x)
