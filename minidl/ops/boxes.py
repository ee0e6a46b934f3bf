"""Boxes: area, overlap, formats, clipping. A box is (x1, y1, x2, y2): its left, upper, right and lower edge, x1 <= x2, y1 <= y2.

Coordinates are continuous: a box from 0 to 2 is 2 wide, and there is no "+1" anywhere. Names, arguments and results are those of
torchvision.ops. All functions but ``remove_small_boxes`` can be differentiated.
"""

from minidl.dtypes import float32, int32
from minidl.errors import ShapeError
from minidl.kernels.half import is_half
from minidl.ops.cast import cast
from minidl.ops.choose import clamp, maximum, minimum
from minidl.ops.gather import nonzero
from minidl.ops.join import stack, unbind
from minidl.ops.shape import unsqueeze
from minidl.tensor import Tensor, astensor

FORMATS = ("xyxy", "xywh", "cxcywh")


def check_boxes(boxes, name: str, ndim=None) -> Tensor:
    """``boxes`` as a tensor (..., 4), or with ``ndim`` of 2 as (N, 4); ShapeError for another shape."""
    boxes = astensor(boxes)
    if boxes.shape[-1:] != (4,) or ndim not in (None, boxes.ndim):
        raise ShapeError(f"{name} needs boxes ({'N' if ndim else '...'}, 4), four numbers each, got shape {boxes.shape}")
    return boxes


def _check_format(fmt, name: str) -> None:
    if fmt not in FORMATS:
        raise ValueError(f"{name} knows the formats {', '.join(map(repr, FORMATS))}, got {fmt!r}")


def box_convert(boxes, in_fmt, out_fmt) -> Tensor:
    """Boxes (..., 4) in another format: "xyxy" (edges), "xywh" (left, upper, width, height) or "cxcywh" (centre and size).

    Raises ValueError for an unknown format, ShapeError unless the last axis has four numbers.

    >>> import minidl
    >>> box_convert(minidl.tensor([[1.0, 2.0, 5.0, 4.0]]), "xyxy", "cxcywh")
    tensor([[3., 3., 4., 2.]])
    """
    boxes = check_boxes(boxes, "box_convert")
    for fmt in (in_fmt, out_fmt):
        _check_format(fmt, "box_convert")
    if in_fmt == out_fmt:
        return boxes.clone()
    return stack(_from_edges(_edges(boxes, in_fmt), out_fmt), -1)


def _edges(boxes: Tensor, fmt: str):
    """Left, upper, right and lower edges."""
    a, b, c, d = unbind(boxes, -1)
    if fmt == "xywh":
        return a, b, a + c, b + d
    return (a - 0.5 * c, b - 0.5 * d, a + 0.5 * c, b + 0.5 * d) if fmt == "cxcywh" else (a, b, c, d)


def _from_edges(edges, fmt: str):
    x1, y1, x2, y2 = edges
    if fmt == "xywh":
        return x1, y1, x2 - x1, y2 - y1
    return ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1) if fmt == "cxcywh" else edges


def _upcast(x: Tensor) -> Tensor:
    """In a dtype in which products of sizes do not overflow: float32 instead of 16 bits, int32 instead of shorter integers."""
    if is_half(x.dtype):
        return cast(x, float32)
    return cast(x, int32) if x.dtype.kind in "iu" and x.dtype.itemsize < 4 else x


def box_area(boxes, fmt="xyxy") -> Tensor:
    """Width times height of boxes (..., 4) -> (...). Negative where exactly one side is inverted. 16-bit boxes give float32.

    Raises ValueError for an unknown format, ShapeError unless the last axis has four numbers.

    >>> import minidl
    >>> box_area(minidl.tensor([[1.0, 2.0, 5.0, 4.0]]))
    tensor([8.])
    """
    _check_format(fmt, "box_area")
    x1, y1, c, d = unbind(_upcast(check_boxes(boxes, "box_area")), -1)
    return (c - x1) * (d - y1) if fmt == "xyxy" else c * d


def _pairs(edges1, edges2):
    """Edges of boxes (..., N) and (..., M), so that they broadcast to (..., N, M)."""
    return [unsqueeze(e, -1) for e in edges1], [unsqueeze(e, -2) for e in edges2]


def _extent(x1, y1, x2, y2) -> Tensor:
    """The area between edges; 0 where they are out of order."""
    return clamp(_upcast(x2 - x1), min=0) * clamp(_upcast(y2 - y1), min=0)


def _intersection_and_union(boxes1: Tensor, boxes2: Tensor, fmt: str):
    a, b = _pairs(_edges(boxes1, fmt), _edges(boxes2, fmt))
    shared = _extent(maximum(a[0], b[0]), maximum(a[1], b[1]), minimum(a[2], b[2]), minimum(a[3], b[3]))
    return shared, unsqueeze(box_area(boxes1, fmt), -1) + unsqueeze(box_area(boxes2, fmt), -2) - shared


def box_iou(boxes1, boxes2, fmt="xyxy") -> Tensor:
    """Intersection over union of each box of one set with each of the other: (..., N, 4) and (..., M, 4) -> (..., N, M).

    NaN where both boxes are empty (0 / 0). 16-bit boxes give float32. Raises ValueError for an unknown format, ShapeError unless
    the last axes have four numbers. Source: Jaccard, "The distribution of the flora in the alpine zone" (1912).

    >>> import minidl
    >>> a = minidl.tensor([[0.0, 0.0, 2.0, 2.0]])
    >>> box_iou(a, minidl.tensor([[1.0, 0.0, 3.0, 2.0], [5.0, 5.0, 6.0, 6.0]]))
    tensor([[0.3333, 0.    ]])
    """
    _check_format(fmt, "box_iou")
    shared, union = _intersection_and_union(check_boxes(boxes1, "box_iou"), check_boxes(boxes2, "box_iou"), fmt)
    return shared / union


def generalized_box_iou(boxes1, boxes2) -> Tensor:
    """IoU less the part of the smallest enclosing box that belongs to neither: (..., N, 4) and (..., M, 4) -> (..., N, M).

    From -1 for boxes that are far apart to 1 for equal ones, with a gradient where the boxes do not touch. Raises ShapeError
    unless the last axes have four numbers. Source: Rezatofighi et al., "Generalized intersection over union" (2019), algorithm 1.

    >>> import minidl
    >>> a = minidl.tensor([[0.0, 0.0, 1.0, 1.0]])
    >>> generalized_box_iou(a, minidl.tensor([[0.0, 0.0, 1.0, 1.0], [3.0, 0.0, 4.0, 1.0]]))
    tensor([[ 1. , -0.5]])
    """
    boxes1, boxes2 = (check_boxes(boxes, "generalized_box_iou") for boxes in (boxes1, boxes2))
    shared, union = _intersection_and_union(boxes1, boxes2, "xyxy")
    a, b = _pairs(unbind(boxes1, -1), unbind(boxes2, -1))
    hull = _extent(minimum(a[0], b[0]), minimum(a[1], b[1]), maximum(a[2], b[2]), maximum(a[3], b[3]))
    return shared / union - (hull - union) / hull


def clip_boxes_to_image(boxes, size) -> Tensor:
    """Boxes (..., 4) with all edges moved into an image of ``size`` (height, width): x to [0, width], y to [0, height].

    A box that lies outside becomes empty. Raises ShapeError unless the last axis has four numbers.

    >>> import minidl
    >>> clip_boxes_to_image(minidl.tensor([[-1.0, 2.0, 5.0, 9.0]]), (8, 4))
    tensor([[0., 2., 4., 8.]])
    """
    x1, y1, x2, y2 = unbind(check_boxes(boxes, "clip_boxes_to_image"), -1)
    height, width = size
    return stack([clamp(x1, 0, width), clamp(y1, 0, height), clamp(x2, 0, width), clamp(y2, 0, height)], -1)


def remove_small_boxes(boxes, min_size) -> Tensor:
    """The indices (int64) of the boxes (N, 4) whose sides both measure ``min_size`` or more.

    Raises ShapeError for boxes of another shape.

    >>> import minidl
    >>> remove_small_boxes(minidl.tensor([[0.0, 0.0, 9.0, 1.0], [0.0, 0.0, 3.0, 3.0]]), 2)
    tensor([1])
    """
    x1, y1, x2, y2 = unbind(check_boxes(boxes, "remove_small_boxes", ndim=2), -1)
    return nonzero((x2 - x1 >= min_size) & (y2 - y1 >= min_size), as_tuple=True)[0]
