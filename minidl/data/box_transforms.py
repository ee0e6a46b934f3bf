"""Transforms of a picture together with its target, whose boxes, proposals, masks and keypoints go where the pixels go.

Each takes one image (3, H, W), a target (see ``minidl.data.detection``) and, if it is random, uniform numbers (numbers,); it
gives a new image and a new target. As in ``minidl.data.transforms``, without numbers it does what is right for evaluation.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minidl.data.transforms import Resize as ResizeImages
from minidl.data.transforms import Transform
from minidl.errors import UsageError

BOXES = ("boxes", "proposals")  # the keys of a target that hold boxes


class BoxTransform:
    """Base of transforms of image and target: ``numbers`` is how many uniform numbers one takes."""

    numbers = 0

    def __call__(self, image: np.ndarray, target: dict, uniforms: np.ndarray | None = None) -> tuple[np.ndarray, dict]:
        raise NotImplementedError(f"{type(self).__name__} has no __call__")


class Compose(BoxTransform):
    """Several transforms, one after another. Those of images that leave each pixel in its place (ToTensor, Normalize, ColorShift)
    may be among them; raises UsageError for others, since they would leave the boxes behind.

    >>> from minidl.data.transforms import CenterCrop, ToTensor
    >>> transform = Compose([Resize(4, 100), ToTensor()])
    >>> image, target = transform(np.full((3, 8, 10), 255, np.uint8), {"boxes": np.array([[2, 4, 6, 8]])})
    >>> image.shape, image.max(), target["boxes"].tolist()
    ((3, 4, 5), np.float32(1.0), [[1.0, 2.0, 3.0, 4.0]])
    >>> Compose([CenterCrop(8)])
    Traceback (most recent call last):
    ...
    minidl.errors.UsageError: CenterCrop moves pixels, and boxes would stay behind: use those of minidl.data.box_transforms
    """

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = [_Pixels(t) if isinstance(t, Transform) else t for t in transforms]
        self.numbers = sum(t.numbers for t in self.transforms)

    def __call__(self, image, target, uniforms=None):
        start = 0
        for transform in self.transforms:
            stop = start + transform.numbers
            image, target = transform(image, target, None if uniforms is None else uniforms[start:stop])
            start = stop
        return image, target


class _Pixels(BoxTransform):
    """A transform of images that changes colours alone."""

    def __init__(self, transform: Transform):
        if not transform.keeps_places:
            raise UsageError(f"{type(transform).__name__} moves pixels, and boxes would stay behind: use those of "
                             "minidl.data.box_transforms")
        self.transform, self.numbers = transform, transform.numbers

    def __call__(self, image, target, uniforms=None):
        return self.transform(image[None], None if uniforms is None else uniforms[None])[0], target


class Resize(BoxTransform):
    """The shorter side brought to ``min_size``, or the longer one to ``max_size`` where it would exceed that; bilinear with
    antialiasing, by Pillow, masks by the nearest pixel. The other side is in proportion, rounded down. Defaults and sizes are
    those of torchvision's GeneralizedRCNNTransform, whose factor of 32 bits makes one side in twenty-five a pixel shorter.

    >>> resized_to((375, 500), 800, 1333), resized_to((100, 500), 800, 1333)
    ((800, 1066), (266, 1333))
    """

    def __init__(self, min_size: int = 800, max_size: int = 1333):
        if not 0 < min_size <= max_size:
            raise ValueError(f"Resize needs 0 < min_size <= max_size, got {min_size} and {max_size}")
        self.min_size, self.max_size = min_size, max_size

    def __call__(self, image, target, uniforms=None):
        old = image.shape[1:]
        new = resized_to(old, self.min_size, self.max_size)
        return ResizeImages(new)(image[None])[0], resized_target(target, old, new)


def resized_to(size: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """Rows and columns that a picture of ``size`` gets from ``Resize(min_size, max_size)``."""
    short, long = min(size), max(size)
    side, of = (min_size, short) if long * min_size <= max_size * short else (max_size, long)
    return tuple(max(1, n * side // of) for n in size)


def resized_target(target: dict, old: tuple[int, int], new: tuple[int, int]) -> dict:
    """The target of a picture that went from ``old`` rows and columns to ``new``."""
    down, right = (np.float32(b / a) for a, b in zip(old, new, strict=True))
    changed = {key: target[key] * np.array([right, down, right, down]) for key in BOXES if key in target}
    if "keypoints" in target:
        changed["keypoints"] = target["keypoints"] * np.array([right, down, 1], np.float32)
    if "masks" in target:
        rows, columns = ((2 * np.arange(b) + 1) * a // (2 * b) for a, b in zip(old, new, strict=True))
        changed["masks"] = target["masks"][:, rows[:, None], columns]
    if "area" in target:
        changed["area"] = target["area"] * (new[0] * new[1] / (old[0] * old[1]))
    return target | changed


class RandomHorizontalFlip(BoxTransform):
    """The mirror image with probability ``p``.

    In a mirror a left hand is a right one: ``pairs`` are the keypoints that change places, such as ``((1, 2), (3, 4))``, and ()
    if none do. Raises UsageError where there are keypoints and ``pairs`` is not given.

    >>> flip = RandomHorizontalFlip()
    >>> image, target = flip(np.arange(6).reshape(1, 1, 6), {"boxes": np.array([[0, 0, 2, 1]])}, np.array([0.3]))
    >>> image.tolist(), target["boxes"].tolist()
    ([[[5, 4, 3, 2, 1, 0]]], [[4, 0, 6, 1]])
    """

    numbers = 1

    def __init__(self, p=0.5, pairs: Sequence[tuple[int, int]] | None = None):
        self.p, self.pairs = p, pairs

    def __call__(self, image, target, uniforms=None):
        if uniforms is None or uniforms[0] >= self.p:
            return image, target
        width = image.shape[2]
        changed = {key: _mirrored(target[key], width) for key in BOXES if key in target}
        if "keypoints" in target:
            changed["keypoints"] = self._flipped(target["keypoints"], width)
        if "masks" in target:
            changed["masks"] = target["masks"][:, :, ::-1]
        return image[:, :, ::-1], target | changed

    def _flipped(self, keypoints: np.ndarray, width: int) -> np.ndarray:
        if self.pairs is None:
            raise UsageError("RandomHorizontalFlip must know which keypoints change places: give it pairs, such as "
                             "((1, 2), (3, 4)), or () if none do")
        order = np.arange(keypoints.shape[1])
        for left, right in self.pairs:
            order[[left, right]] = right, left
        flipped = keypoints[:, order]
        flipped[..., 0] = np.where(flipped[..., 2] > 0, width - flipped[..., 0], 0)
        return flipped


def _mirrored(boxes: np.ndarray, width: int) -> np.ndarray:
    """Boxes (L, 4) in the mirror image of a picture of this width."""
    return np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], 1)
