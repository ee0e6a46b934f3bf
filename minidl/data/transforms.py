"""Transforms of images. Each takes a batch (N, C, H, W) and, if it is random, uniform numbers (N, numbers), and gives a batch.

A random transform is a function of the image and of a few uniform numbers in [0, 1), of which it states how many it needs. So
the same code augments one sample or a whole batch, and what a sample looks like depends on nothing but its numbers. Without
numbers (None) it does what is right for evaluation: the centre crop, no flip. No transform writes into what it is given.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

from minidl.errors import DtypeError, ShapeError, require
from minidl.kernels.shapes import pair


class Transform:
    """Base of all transforms: ``numbers`` is how many uniform numbers an image takes. One that ``keeps_places`` changes the
    colours of pixels alone, so that what is known about places in an image, such as boxes, stays true.
    """

    numbers = 0
    keeps_places = False

    def __call__(self, images: np.ndarray, uniforms: np.ndarray | None = None) -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} has no __call__")


class Compose(Transform):
    """Several transforms, one after another; a plain function of a batch of images is one as well.

    >>> x = np.ones((2, 1, 4, 4), np.uint8)
    >>> Compose([ToTensor(), Pad(1)])(x).shape
    (2, 1, 6, 6)
    """

    def __init__(self, transforms: Sequence[Callable]):
        self.transforms = [t if hasattr(t, "numbers") else Lambda(t) for t in transforms]
        self.numbers = sum(t.numbers for t in self.transforms)

    def __call__(self, images, uniforms=None):
        start = 0
        for transform in self.transforms:
            stop = start + transform.numbers
            images = transform(images, None if uniforms is None else uniforms[:, start:stop])
            start = stop
        return images


class Lambda(Transform):
    """Any function of a batch of images. To reach worker processes it must be one with a name (``def``, not ``lambda``).

    >>> Lambda(np.negative)(np.ones((1, 1, 1, 2)))
    array([[[[-1., -1.]]]])
    """

    def __init__(self, function: Callable):
        self.function = function

    def __call__(self, images, uniforms=None):
        return self.function(images)


class ToTensor(Transform):
    """uint8 images as float32 in [0, 1], other images as float32. (The loader makes tensors of whole batches.)

    >>> ToTensor()(np.full((1, 1, 1, 1), 255, np.uint8)).item()
    1.0
    """

    keeps_places = True

    def __call__(self, images, uniforms=None):
        # Dividing gives the same bits as the usual x / 255, which a product with 1 / 255 does not.
        return images / np.float32(255) if images.dtype == np.uint8 else images.astype(np.float32, copy=False)


class Normalize(Transform):
    """(x - mean) / std, with a mean and a deviation for each channel or one for all. Raises ValueError for a deviation of 0,
    ShapeError for another number of channels, DtypeError for images that are not floating.

    >>> Normalize([0.5], [0.25])(np.ones((1, 1, 1, 1), np.float32)).item()
    2.0
    """

    keeps_places = True

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        self.mean, self.std = (np.asarray(v, np.float32).reshape(-1, 1, 1) for v in (mean, std))
        if self.mean.shape != self.std.shape or (self.std == 0).any():
            raise ValueError(f"Normalize needs as many means as deviations, none of them 0, got {mean} and {std}")

    def __call__(self, images, uniforms=None):
        if len(self.mean) not in (1, images.shape[1]):
            raise ShapeError(f"Normalize has {len(self.mean)} means, the images have C = {images.shape[1]} channels")
        if images.dtype.kind != "f":
            raise DtypeError(f"Normalize needs floating images, got {images.dtype}: put ToTensor() before it")
        images = images - self.mean
        images /= self.std
        return images


class Pad(Transform):
    """``padding`` pixels (an int, or rows and columns) of ``value`` on all sides."""

    def __init__(self, padding, value=0):
        self.padding, self.value = pair(padding, "padding"), value

    def __call__(self, images, uniforms=None):
        h, w = self.padding
        return np.pad(images, ((0, 0), (0, 0), (h, h), (w, w)), constant_values=self.value)


class CenterCrop(Transform):
    """The middle part of ``size`` (an int, or rows and columns). Raises ShapeError for images that are smaller."""

    def __init__(self, size):
        self.size = pair(size, "size")

    def __call__(self, images, uniforms=None):
        (h, w), (top, left) = self.size, (room // 2 for room in _room(images, self.size))
        return images[:, :, top : top + h, left : left + w]


class RandomCrop(Transform):
    """A part of ``size`` at a random place, after ``padding``. In evaluation, the middle part.

    >>> x = np.arange(9).reshape(1, 1, 3, 3)
    >>> RandomCrop(2)(x, np.array([[0.0, 0.9]]))
    array([[[[1, 2],
             [4, 5]]]])
    """

    numbers = 2

    def __init__(self, size, padding=0):
        self.size, self.pad = pair(size, "size"), Pad(padding)

    def __call__(self, images, uniforms=None):
        images = self.pad(images)
        return CenterCrop(self.size)(images) if uniforms is None else _random_crop(images, self.size, uniforms)


class RandomShift(Transform):
    """The image moved by up to ``pixels`` in each direction, zeros coming in.

    >>> RandomShift(1)(np.array([[[[1, 2], [3, 4]]]]), np.array([[0.5, 0.0]]))
    array([[[[0, 1],
             [0, 3]]]])
    """

    numbers = 2

    def __init__(self, pixels: int):
        self.pad = Pad(pixels)

    def __call__(self, images, uniforms=None):
        return images if uniforms is None else _random_crop(self.pad(images), images.shape[2:], uniforms)


class RandomHorizontalFlip(Transform):
    """The mirror image with probability ``p``.

    >>> RandomHorizontalFlip()(np.array([[[[1, 2]]]]), np.array([[0.3]]))
    array([[[[2, 1]]]])
    """

    numbers = 1

    def __init__(self, p=0.5):
        self.p = p

    def __call__(self, images, uniforms=None):
        if uniforms is None:
            return images
        return np.where((uniforms[:, 0] < self.p)[:, None, None, None], images[..., ::-1], images)


class Resize(Transform):
    """Images of another size, bilinear with antialiasing, by Pillow: rows and columns, or an int for the shorter side, to which
    the other keeps its proportion. uint8 stays uint8; all else becomes float32.

    >>> Resize(4)(np.zeros((1, 3, 8, 10), np.uint8)).shape
    (1, 3, 4, 5)
    """

    def __init__(self, size):
        self.size = size if isinstance(size, int) else pair(size, "size")

    def __call__(self, images, uniforms=None):
        return _resized(images, shorter_to(images.shape[2:], self.size) if isinstance(self.size, int) else self.size)


class RandomResize(Transform):
    """The shorter side brought to a size from ``low`` to ``high``, drawn for each image: scale jitter (Simonyan and Zisserman
    2015, section 3.1). Images must come one by one, since they leave in different sizes. In evaluation, the mean of both.

    >>> RandomResize(4, 8)(np.zeros((1, 3, 8, 10), np.uint8), np.array([[0.25]])).shape
    (1, 3, 5, 6)
    """

    numbers = 1

    def __init__(self, low: int, high: int):
        if not 0 < low <= high:
            raise ValueError(f"RandomResize needs two sizes, the smaller first, got {low} and {high}")
        self.low, self.high = low, high

    def __call__(self, images, uniforms=None):
        if uniforms is None:
            return Resize((self.low + self.high) // 2)(images)
        sides = self.low + (uniforms[:, 0] * (self.high - self.low + 1)).astype(int)
        return _one_by_one(images, lambda i: Resize(int(sides[i]))(images[i : i + 1]))


class RandomResizedCrop(Transform):
    """A part of random area and proportions, brought to ``size`` x ``size`` (Szegedy et al. 2015, section 6).

    ``scale``: the part of the area, uniform; ``ratio``: width over height, uniform in its logarithm. As in torchvision, ten are
    tried and the first that fits is taken, else the middle. In evaluation, the middle of the image, the shorter side 8/7 of size.

    >>> RandomResizedCrop(2)(np.zeros((1, 3, 8, 10), np.uint8), np.full((1, 22), 0.5)).shape
    (1, 3, 2, 2)
    """

    tries = 10
    numbers = 2 * tries + 2

    def __init__(self, size: int, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3)):
        if not 0 < scale[0] <= scale[1] or not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"RandomResizedCrop: scale and ratio are pairs, the smaller first, got {scale} and {ratio}")
        self.size, self.scale, self.ratio = size, scale, ratio

    def __call__(self, images, uniforms=None):
        if uniforms is None:
            return CenterCrop(self.size)(Resize(round(self.size * 256 / 224))(images))
        return _one_by_one(images, lambda i: self._crop(images[i : i + 1], uniforms[i]))

    def _crop(self, image, uniforms):
        height, width = image.shape[2:]
        for area, ratio in uniforms[2:].reshape(-1, 2):
            area = height * width * (self.scale[0] + area * (self.scale[1] - self.scale[0]))
            ratio = self.ratio[0] * (self.ratio[1] / self.ratio[0]) ** ratio
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                part = _random_crop(image, (h, w), uniforms[None, :2])
                return _resized(part, (self.size, self.size))
        w, h = min(width, round(height * self.ratio[1])), min(height, round(width / self.ratio[0]))
        return _resized(CenterCrop((h, w))(image), (self.size, self.size))


class ColorShift(Transform):
    """All pixels of an image shifted along the principal components of ImageNet's colours (Krizhevsky et al. 2012, section 4.1).

    Each component times a number from N(0, ``std``), drawn once for each image, times its eigenvalue. Takes and gives float
    images from 0 to 1. Components and eigenvalues as in fb.resnet.torch.

    >>> ColorShift()(np.zeros((1, 3, 1, 1), np.float32), np.zeros((1, 4))).ravel().tolist()
    [0.0, 0.0, 0.0]
    """

    keeps_places = True
    numbers = 4
    eigenvalues = np.array([0.2175, 0.0188, 0.0045], np.float32)
    components = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]], np.float32)

    def __init__(self, std=0.1):
        self.std = std

    def __call__(self, images, uniforms=None):
        if images.dtype.kind != "f":
            raise DtypeError(f"ColorShift needs floating images, got {images.dtype}: put ToTensor() before it")
        if uniforms is None:
            return images
        radius = self.std * np.sqrt(-2 * np.log1p(-uniforms[:, :2]))  # Box and Muller's normal numbers, three of four
        angle = 2 * np.pi * uniforms[:, 2:]
        alpha = np.concatenate([radius * np.cos(angle), radius[:, :1] * np.sin(angle[:, :1])], 1)
        shift = (alpha * self.eigenvalues) @ self.components.T
        return images + shift.astype(images.dtype)[:, :, None, None]


class RandomAffine(Transform):
    """The image turned, scaled, sheared and moved at random, each uniformly; bilinear, float32, with zeros coming in.

    Args:
        degrees: turned by up to so much in both directions, about the middle.
        translate: moved by up to these parts of its width and its height.
        scale: enlarged by a factor between these two.
        shear: sheared along x by up to so many degrees.

    In evaluation, the image itself.

    >>> x = np.zeros((1, 1, 3, 3), np.float32); x[0, 0, 1, 2] = 1
    >>> RandomAffine(degrees=90)(x, np.array([[1.0, 0.5, 0.5, 0.5, 0.5]])).round()[0, 0, 2].tolist()
    [0.0, 1.0, 0.0]
    """

    numbers = 5

    def __init__(self, degrees=0.0, translate=(0.0, 0.0), scale=(1.0, 1.0), shear=0.0):
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, scale, shear
        if not 0 < scale[0] <= scale[1]:
            raise ValueError(f"RandomAffine: scale must be two positive factors, the smaller first, got {scale}")

    def __call__(self, images, uniforms=None):
        if uniforms is None:
            return images
        height, width = images.shape[2:]
        angle, scale, shear, down, right = uniforms.T[:, :, None, None]
        scale = self.scale[0] + (self.scale[1] - self.scale[0]) * scale
        angle, shear, down, right = (limit * (2 * u - 1) for limit, u in (
            (math.radians(self.degrees), angle), (math.radians(self.shear), shear),
            (self.translate[1] * height, down), (self.translate[0] * width, right)))
        # Where each pixel comes from: moved back, sheared back, turned and scaled back.
        y, x = (axis.astype(uniforms.dtype) for axis in np.ogrid[:height, :width])
        y, x = y - (height - 1) / 2 - down, x - (width - 1) / 2 - right
        x = x + np.tan(shear) * y
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        return _bilinear(images, cos * y - sin * x + (height - 1) / 2, sin * y + cos * x + (width - 1) / 2)


def shorter_to(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """Rows and columns, with the shorter one brought to ``side`` and the other in proportion, rounded down as in torchvision.

    >>> shorter_to((480, 640), 256)
    (256, 341)
    """
    short = min(shape)
    return tuple(side if n == short else max(1, int(side * n / short)) for n in shape)


def _resized(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Images (N, C, H, W) in another size, each by Pillow: colour ones of uint8 whole, all others plane by plane."""
    if images.shape[2:] == tuple(size):
        return images if images.dtype == np.uint8 else images.astype(np.float32)
    pillow = require("PIL.Image", extra="train")
    if images.dtype == np.uint8 and images.shape[1] == 3:
        whole = [pillow.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))) for image in images]
        resized = [np.asarray(image.resize(size[::-1], pillow.Resampling.BILINEAR)).transpose(2, 0, 1) for image in whole]
        return np.stack(resized) if resized else np.empty((0, 3, *size), np.uint8)
    planes = np.empty((*images.shape[:2], *size), np.uint8 if images.dtype == np.uint8 else np.float32)
    for n, c in np.ndindex(images.shape[:2]):
        plane = pillow.fromarray(images[n, c].astype(planes.dtype))
        planes[n, c] = np.asarray(plane.resize(size[::-1], pillow.Resampling.BILINEAR))
    return planes


def _one_by_one(images: np.ndarray, transform: Callable) -> np.ndarray:
    """``transform(i)`` of each image, as one batch; raises ShapeError where they have different sizes."""
    found = [transform(i) for i in range(len(images))]
    if len({image.shape for image in found}) > 1:
        raise ShapeError("images of a batch were resized to different sizes: crop them to one size, image by image")
    return np.concatenate(found) if found else images


def _room(images: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """How far a window of ``size`` can move; raises ShapeError if it does not fit."""
    room = images.shape[2] - size[0], images.shape[3] - size[1]
    if min(room) < 0:
        raise ShapeError(f"a crop of {size} does not fit into images of {images.shape[2]} x {images.shape[3]}")
    return room


def _random_crop(images: np.ndarray, size: tuple[int, int], uniforms: np.ndarray) -> np.ndarray:
    """From each image the part of ``size`` at its own place; uniforms (N, 2)."""
    room = np.array(_room(images, size))
    top, left = (uniforms * (room + 1)).astype(np.int64).T  # in float64, which never rounds up to room + 1
    windows = np.lib.stride_tricks.sliding_window_view(images, size, (2, 3))
    return windows[np.arange(len(images)), :, top, left]


def _bilinear(images: np.ndarray, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Images (N, C, H, W) read at places y, x (N, H', W') between pixels, 0 outside: (N, C, H', W') float32."""
    n, c, height, width = images.shape
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1))).astype(np.float32, copy=False)
    y, x = np.clip(y + 1, 0, height + 1), np.clip(x + 1, 0, width + 1)
    top, left = np.minimum(y.astype(np.int64), height), np.minimum(x.astype(np.int64), width)
    dy, dx = (y - top).astype(np.float32)[:, None], (x - left).astype(np.float32)[:, None]
    planes = np.arange(n * c).reshape(n, c, 1, 1) * ((height + 2) * (width + 2))  # where each begins in the flat array
    corner = planes + (top * (width + 2) + left)[:, None]
    flat = padded.reshape(-1)

    def row(start):
        first, second = flat.take(start), flat.take(start + 1)
        return first + (second - first) * dx

    upper = row(corner)
    return upper + (row(corner + width + 2) - upper) * dy
