"""ILSVRC's errors, with one view of each image or with many.

The networks of the competition were tested on several crops of each image, whose probabilities were averaged: AlexNet on ten, VGG
densely on whole images in several sizes.
"""

import numpy as np

import minidl
from minidl import nn
from minidl.data.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor, Transform
from minidl.errors import UsageError
from minidl.models.classify.dense import dense
from minidl.models.classify.recipe import DEVIATION, MEAN, shorter_side

VIEWS = ("ten", "dense")


class TenCrops(Transform):
    """The four corners, the middle, and their mirror images (Krizhevsky et al. 2012, section 4.1): (N, C, H, W) -> (N, 10, C, h,
    h).

    >>> TenCrops(2)(np.arange(9).reshape(1, 1, 3, 3))[0, [0, 3, 5], 0].tolist()
    [[[0, 1], [3, 4]], [[4, 5], [7, 8]], [[1, 0], [4, 3]]]
    """

    def __init__(self, size: int):
        self.size = size

    def __call__(self, images, uniforms=None):
        middle = CenterCrop(self.size)(images)  # which also checks that it fits
        low, high = slice(None, self.size), slice(-self.size, None)
        five = [images[:, :, rows, columns] for rows in (low, high) for columns in (low, high)] + [middle]
        return np.stack([*five, *(part[..., ::-1] for part in five)], 1)


class OverViews(nn.Module):
    """The mean of a classifier's probabilities over several views, as logits.   x (N, V, C, H, W) -> (N, classes)."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    def forward(self, x):
        logits = self.model(x.reshape(-1, *x.shape[2:]))
        return minidl.softmax(logits, 1).reshape(*x.shape[:2], -1).mean(1).log()


class OverScales(nn.Module):
    """Dense evaluation (Simonyan and Zisserman 2015, section 3.2).   pixels (1, 3, H, W) of uint8 -> (1, classes), as logits.

    The shorter side is brought to each of ``scales``; scores are averaged over the places of an image, probabilities over the
    image, its mirror image and all sizes.
    """

    def __init__(self, model: nn.Module, scales):
        super().__init__()
        self.model = dense(model) if hasattr(model, "classifier") else model
        self.inputs = [Compose([Resize(scale), ToTensor(), Normalize(MEAN, DEVIATION)]) for scale in scales]

    def forward(self, x):
        pixels, total = x.cpu().numpy(), 0
        for inputs in self.inputs:
            image = inputs(pixels)
            scores = self.model(minidl.tensor(np.concatenate([image, image[..., ::-1]]), device=x.device))
            scores = scores.mean((2, 3)) if scores.ndim == 4 else scores
            total = total + minidl.softmax(scores, 1).mean(0, keepdim=True)
        return (total / len(self.inputs)).log()


def many_views(model: nn.Module, size: int, views: str, scales=()) -> tuple:
    """Model, transform and batch size for a test with "ten" crops, or "dense" at ``scales``.

    Scales are sizes of the shorter side, by default 8/7 of ``size``, that of the crops. Raises UsageError for other views, or a
    scale that is smaller than a crop.
    """
    if views == "ten":
        return OverViews(model), Compose([Resize(shorter_side(size)), ToTensor(), Normalize(MEAN, DEVIATION), TenCrops(size)]), 8
    if views == "dense":
        scales = list(scales) or [shorter_side(size)]
        if min(scales) < size:
            raise UsageError(f"scales must be at least {size}, the size of the images that the network is made for, got {scales}")
        return OverScales(model, scales), None, 1
    raise UsageError(f"views are {', '.join(VIEWS)}, got {views!r}")
