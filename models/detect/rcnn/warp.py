"""Windows: regions of any size and shape, as the network wants them."""

from minidl.errors import UsageError
from minidl.ops.boxes import box_convert
from minidl.ops.join import cat
from minidl.ops.roi import roi_align
from minidl.tensor import Tensor


def warp(images: Tensor, rois: Tensor, size: int, padding: int) -> Tensor:
    """Regions stretched to one size, whatever their shape: images (N, C, H, W) and K regions -> (K, C, size, size).

    Args:
        images: normalised, so that 0 is the mean colour: that is what a window shows of outside the image.
        rois: (K, 5), the index of the image first, then its box in pixels.
        size: of the windows. Each pixel is interpolated between four of the image, without antialiasing.
        padding: pixels of a window on each side that show what surrounds the region.

    Source: Girshick et al., "Rich feature hierarchies" (2014), appendix A, option D. Raises UsageError for a padding that leaves
    nothing of the region.

    >>> import minidl
    >>> image = minidl.arange(16.0).reshape(1, 1, 4, 4)
    >>> warp(image, minidl.tensor([[0.0, 1.0, 1.0, 3.0, 3.0]]), size=4, padding=1)
    tensor([[[[ 0.,  1.,  2.,  3.],
              [ 4.,  5.,  6.,  7.],
              [ 8.,  9., 10., 11.],
              [12., 13., 14., 15.]]]])
    """
    if not 0 <= 2 * padding < size:
        raise UsageError(f"windows of {size} pixels have room for a padding from 0 to {(size - 1) // 2}, got {padding}")
    boxes = box_convert(rois[:, 1:], "xyxy", "cxcywh")
    wider = cat([boxes[:, :2], boxes[:, 2:] * (size / (size - 2 * padding))], 1)
    rois = cat([rois[:, :1], box_convert(wider, "cxcywh", "xyxy")], 1)
    return roi_align(images, rois, size, sampling_ratio=1, aligned=True)
