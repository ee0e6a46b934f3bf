"""Transforms of images. Each takes a batch (N, C, H, W) and, if it is random, uniform numbers (N, numbers), and gives a batch.

A random transform is a function of the image and of a few uniform numbers in [0, 1), of which it states how many it needs. So
the same code augments one sample or a whole batch, and what a sample looks like depends on nothing but its numbers. Without
numbers (None) it does what is right for evaluation: the centre crop, no flip.
"""

import numpy as np

from minidl.errors import ShapeError, require
from minidl.kernels.shapes import pair


class Compose:
    """Several transforms, one after another.

    >>> x = np.ones((2, 1, 4, 4), np.uint8)
    >>> Compose([Scale(), Pad(1)])(x, None).shape
    (2, 1, 6, 6)
    """

    def __init__(self, transforms):
        self.transforms = list(transforms)
        self.numbers = sum(getattr(t, "numbers", 0) for t in self.transforms)

    def __call__(self, images, uniforms):
        start = 0
        for transform in self.transforms:
            stop = start + getattr(transform, "numbers", 0)
            images = transform(images, None if uniforms is None else uniforms[:, start:stop])
            start = stop
        return images


class Scale:
    """uint8 images as float32 in [0, 1].

    >>> float(Scale()(np.full((1, 1, 1, 1), 255, np.uint8), None).item())
    1.0
    """

    def __call__(self, images, uniforms):
        return images * np.float32(1 / 255)


class Normalize:
    """(x - mean) / std for each channel.

    >>> Normalize([0.5], [0.25])(np.ones((1, 1, 1, 1), np.float32), None).item()
    2.0
    """

    def __init__(self, mean, std):
        self.mean, self.std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))
        if (self.std == 0).any():
            raise ValueError("Normalize: a standard deviation is 0")

    def __call__(self, images, uniforms):
        return (images - self.mean) / self.std


class Pad:
    """``padding`` pixels (an int, or rows and columns) of ``value`` on all sides."""

    def __init__(self, padding, value=0):
        self.padding, self.value = pair(padding, "padding"), value

    def __call__(self, images, uniforms):
        h, w = self.padding
        return np.pad(images, ((0, 0), (0, 0), (h, h), (w, w)), constant_values=self.value)


def _crop(images, tops, lefts, size):
    """From each image the part of ``size`` at its own place."""
    rows, columns = tops[:, None] + np.arange(size[0]), lefts[:, None] + np.arange(size[1])
    return images[np.arange(len(images))[:, None, None], :, rows[:, :, None], columns[:, None, :]].transpose(0, 3, 1, 2)


class CenterCrop:
    """The middle part of ``size`` (an int, or rows and columns)."""

    def __init__(self, size):
        self.size = pair(size, "size")

    def __call__(self, images, uniforms):
        (h, w), (height, width) = self.size, images.shape[2:]
        if h > height or w > width:
            raise ShapeError(f"a crop of {self.size} does not fit into images of {height} x {width}")
        top, left = (height - h) // 2, (width - w) // 2
        return images[:, :, top : top + h, left : left + w]


class RandomCrop(CenterCrop):
    """A part of ``size`` at a random place, after ``padding``. Without numbers, the middle part.

    >>> x = np.arange(9).reshape(1, 1, 3, 3)
    >>> RandomCrop(2)(x, np.array([[0.0, 0.9]]))
    array([[[[1, 2],
             [4, 5]]]])
    """

    numbers = 2

    def __init__(self, size, padding=0):
        super().__init__(size)
        self.pad = Pad(padding)

    def __call__(self, images, uniforms):
        images = self.pad(images, None)
        if uniforms is None:
            return super().__call__(images, None)
        room = np.array(images.shape[2:]) - self.size + 1
        if room.min() < 1:
            raise ShapeError(f"a crop of {self.size} does not fit into images of {images.shape[2]} x {images.shape[3]}")
        places = np.minimum((uniforms * room).astype(np.int64), room - 1)
        return _crop(images, places[:, 0], places[:, 1], self.size)


class RandomShift(RandomCrop):
    """The image moved by up to ``pixels`` in each direction, zeros coming in."""

    def __init__(self, pixels: int):
        super().__init__((0, 0), pixels)

    def __call__(self, images, uniforms):
        if uniforms is None:
            return images
        self.size = images.shape[2:]
        return super().__call__(images, uniforms)


class RandomHorizontalFlip:
    """The mirror image with probability ``p``.

    >>> RandomHorizontalFlip()(np.array([[[[1, 2]]]]), np.array([[0.3]]))
    array([[[[2, 1]]]])
    """

    numbers = 1

    def __init__(self, p=0.5):
        self.p = p

    def __call__(self, images, uniforms):
        if uniforms is None:
            return images
        flipped = (uniforms[:, 0] < self.p)[:, None, None, None]
        return np.where(flipped, images[..., ::-1], images)


class Resize:
    """Images of another size (an int, or rows and columns), bilinear with antialiasing, by Pillow."""

    def __init__(self, size):
        self.size = pair(size, "size")

    def __call__(self, images, uniforms):
        image_module = require("PIL.Image", extra="train")
        n, c = images.shape[:2]
        planes = np.ascontiguousarray(images, np.float32).reshape(n * c, *images.shape[2:])
        resized = [np.asarray(image_module.fromarray(plane).resize(self.size[::-1], image_module.Resampling.BILINEAR))
                   for plane in planes]
        return np.stack(resized).reshape(n, c, *self.size) if resized else np.zeros((n, c, *self.size), np.float32)


class RandomAffine:
    """The image turned by up to ``degrees``, scaled by up to 1 +- ``scale``, sheared by up to ``shear`` degrees and moved by up
    to ``shift`` pixels, each uniformly; bilinear, with zeros coming in. Without numbers, the image itself.

    >>> x = np.zeros((1, 1, 3, 3), np.float32); x[0, 0, 1, 2] = 1
    >>> RandomAffine(degrees=90)(x, np.array([[1.0, 0.5, 0.5, 0.5, 0.5]])).round()[0, 0, 2].tolist()
    [0.0, 1.0, 0.0]
    """

    numbers = 5

    def __init__(self, degrees=0.0, scale=0.0, shear=0.0, shift=0.0):
        self.limits = np.array([np.radians(degrees), scale, np.radians(shear), shift, shift])

    def __call__(self, images, uniforms):
        if uniforms is None:
            return images
        angle, scale, shear, down, right = ((2 * uniforms - 1) * self.limits).T
        height, width = images.shape[2:]
        y, x = np.meshgrid(np.arange(height) - (height - 1) / 2, np.arange(width) - (width - 1) / 2, indexing="ij")
        cos, sin = (f(angle)[:, None, None] / (1 + scale[:, None, None]) for f in (np.cos, np.sin))
        y, x = y - down[:, None, None], x - right[:, None, None]
        x = x + np.tan(shear)[:, None, None] * y
        return _bilinear(images, cos * y - sin * x + (height - 1) / 2, sin * y + cos * x + (width - 1) / 2)


def _bilinear(images, y, x):
    """Images (N, C, H, W) read at places y, x (N, H, W) between pixels, 0 outside."""
    height, width = images.shape[2:]
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y, x = np.clip(y + 1, 0, height + 0.999), np.clip(x + 1, 0, width + 0.999)
    top, left = y.astype(np.int64), x.astype(np.int64)
    dy, dx = ((v - i).astype(np.float32)[:, None] for v, i in ((y, top), (x, left)))
    n = np.arange(len(images))[:, None, None]
    corners = [padded[n, :, top + a, left + b].transpose(0, 3, 1, 2) for a in (0, 1) for b in (0, 1)]
    upper = corners[0] * (1 - dx) + corners[1] * dx
    return upper * (1 - dy) + (corners[2] * (1 - dx) + corners[3] * dx) * dy
