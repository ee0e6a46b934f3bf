"""Pictures of any size as one batch for a detector, and boxes there and back."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minidl.data.detection import pad_images
from minidl.errors import DataError, DtypeError, ShapeError, UsageError
from minidl.models.classify.recipe import DEVIATION, MEAN
from minidl.ops.boxes import clip_boxes_to_image
from minidl.ops.gather import nonzero
from minidl.ops.resample import interpolate
from minidl.tensor import Tensor, astensor, tensor


class Batch(NamedTuple):
    """Pictures as a detector reads them: ``images`` (N, 3, H, W), of which the upper left ``sizes`` (height, width) are picture
    and the rest is 0; ``originals`` are the sizes before.
    """

    images: Tensor
    sizes: list[tuple[int, int]]
    originals: list[tuple[int, int]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of all of them, with what was filled up."""
        return self.images.shape[2:]


class Inputs:
    """Brings the shorter side of each picture to ``min_size`` pixels, or the longer to ``max_size`` where it would exceed that.
    With None as ``min_size`` pictures keep their size.

    Channels are normalised by ``mean`` and ``deviation``, for numbers from 0 to 1; height and width are filled up to a multiple
    of ``multiple``, the coarsest stride. Bilinear without antialiasing, sizes rounded down in float64: as torchvision's
    GeneralizedRCNNTransform does it.

    >>> batch = Inputs(60, 100, multiple=32)([np.zeros((3, 30, 40), np.uint8), np.zeros((3, 20, 80), np.uint8)], None)
    >>> batch.images.shape, batch.sizes
    ((2, 3, 64, 128), [(60, 80), (25, 100)])
    """

    def __init__(self, min_size: int | None = 800, max_size: int = 1333, mean: Sequence[float] = MEAN,
                 deviation: Sequence[float] = DEVIATION, multiple: int = 32):
        if min_size is not None and not 0 < min_size <= max_size:
            raise UsageError(f"a detector needs 0 < min_size <= max_size, got {min_size} and {max_size}")
        self.min_size, self.max_size, self.multiple = min_size, max_size, multiple
        self.mean, self.deviation = (np.array(numbers, np.float32).reshape(3, 1, 1) for numbers in (mean, deviation))

    def __call__(self, images: Sequence, device) -> Batch:
        """Raises ShapeError for what are no pictures (3, H, W), DtypeError for signed integers."""
        originals, ready = [], []
        for image in images:
            image = astensor(image)
            if image.ndim != 3 or image.shape[0] != 3 or 0 in image.shape:
                raise ShapeError(f"a detector takes pictures (3, H, W), got shape {image.shape}")
            if image.dtype.kind == "i":
                raise DtypeError(f"a detector takes pictures of uint8, or of floating numbers from 0 to 1, got {image.dtype}")
            image = image.to(device)
            originals.append(image.shape[1:])
            ready.append(self._resized(self._normalised(image)))
        return Batch(pad_images(ready, self.multiple), [image.shape[1:] for image in ready], originals)

    def _normalised(self, image: Tensor) -> Tensor:
        image = image.float() / 255 if image.dtype.kind == "u" else image.float()
        return (image - tensor(self.mean, device=image.device)) / tensor(self.deviation, device=image.device)

    def _resized(self, image: Tensor) -> Tensor:
        if self.min_size is None:
            return image
        scale = min(self.min_size / min(image.shape[1:]), self.max_size / max(image.shape[1:]))
        size = tuple(max(1, int(n * scale)) for n in image.shape[1:])
        return image if size == image.shape[1:] else interpolate(image[None], size, mode="bilinear", align_corners=False)[0]


def rescaled(boxes: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) of a picture that went from ``old`` (height, width) to ``new``.

    >>> rescaled(tensor([[2.0, 2.0, 4.0, 6.0]]), (10, 20), (5, 40))
    tensor([[4., 1., 8., 3.]])
    """
    down, right = (b / a for a, b in zip(old, new, strict=True))
    return boxes * tensor([right, down, right, down], device=boxes.device)


def for_training(targets: Sequence[dict], batch: Batch, classes: int, with_proposals: bool = False) -> list[dict]:
    """Boxes, labels and proposals of each picture, as it is in the batch, and where it is: without difficult objects, clipped to
    the picture.

    Raises DataError, with the picture's ``image_id``, for boxes that are inverted or empty, hold NaN or lie outside of it, for
    labels that are not one of ``classes`` for each box, and where there are no proposals that the detector needs.
    """
    if len(targets) != len(batch.sizes):
        raise ShapeError(f"expected a target for each picture, got {len(targets)} for {len(batch.sizes)}")
    if with_proposals and not all("proposals" in target for target in targets):
        raise DataError("this detector learns from proposals: each target needs its `proposals` (P, 4), see "
                        "minidl.models.detect.proposals.WithProposals")
    kinds, device = ("boxes", "labels", "difficult", "proposals"), batch.images.device
    here = [{name: astensor(value).to(device) if name in kinds else value for name, value in target.items()}
            for target in targets]
    return [_for_training(target, classes, *sizes)
            for target, *sizes in zip(here, batch.originals, batch.sizes, strict=True)]


def _for_training(target: dict, classes: int, old: tuple[int, int], new: tuple[int, int]) -> dict:
    boxes, labels = target["boxes"].float(), target["labels"]
    if labels.shape != boxes.shape[:1] or len(labels) and not 0 <= labels.min().item() <= labels.max().item() < classes:
        raise DataError(f"picture {_name(target)}: expected a label from 0 to {classes - 1} for each of {len(boxes)} boxes, got "
                        f"{labels.tolist()}")
    if "difficult" in target:
        kept = nonzero(~target["difficult"], as_tuple=True)[0]
        boxes, labels = boxes[kept], labels[kept]
    clipped = clip_boxes_to_image(boxes, old)
    wrong = ~(clipped[:, 2:] > clipped[:, :2]).all(1)
    if wrong.any():
        box = boxes[nonzero(wrong, as_tuple=True)[0][0]].tolist()
        raise DataError(f"picture {_name(target)}: the box {box} is inverted or empty, holds NaN or lies outside of its {old[1]} "
                        f"x {old[0]} pixels: boxes are x1 < x2 and y1 < y2")
    found = {"boxes": rescaled(clipped, old, new), "labels": labels}
    if "proposals" in target:
        found["proposals"] = rescaled(clip_boxes_to_image(target["proposals"], old), old, new)
    return found


def _name(target: dict) -> str:
    return str(astensor(target["image_id"]).item()) if "image_id" in target else "without an image_id"
