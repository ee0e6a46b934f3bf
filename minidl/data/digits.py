"""The UCI handwritten digits: 1,797 images of 8x8 pixels, embedded in the package.

Source: "Optical Recognition of Handwritten Digits", E. Alpaydin and C. Kaynak 1998, UCI Machine Learning Repository
(https://doi.org/10.24432/C50P49, CC BY 4.0): the subset that scikit-learn distributes, which is UCI's test part, in its order.
See digits.md beside this file.
"""

import numpy as np

from minidl.data.dataset import ImageArrays
from minidl.data.transforms import Compose, Normalize, RandomAffine

TEST = 360  # the last images, a fifth, with 33 to 37 of each class; the same ones in every release


def load() -> tuple[np.ndarray, np.ndarray]:
    """All images (1797, 8, 8), uint8 from 0 to 16, and labels (1797,).

    >>> images, labels = load()
    >>> images.shape, int(images.max()), np.bincount(labels).tolist()
    ((1797, 8, 8), 16, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180])
    """
    from importlib import resources  # here, so that importing minidl stays light

    with resources.files("minidl.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        return arrays["images"], arrays["labels"]


def enlarge(images: np.ndarray, size: int) -> np.ndarray:
    """Images (N, h, w) bilinearly to (N, size, size), pixel centres at (i + 0.5) / size; float32."""
    matrices = [_interpolation(n, size) for n in images.shape[1:]]
    return np.einsum("ih,nhw,jw->nij", matrices[0], images.astype(np.float32), matrices[1], optimize=True)


def _interpolation(old: int, new: int) -> np.ndarray:
    """(new, old): each row has the weights of the two nearest pixels."""
    place = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    low = np.minimum(place.astype(int), old - 2)
    matrix = np.zeros((new, old), np.float32)
    matrix[np.arange(new), low] = 1 - (place - low)
    matrix[np.arange(new), low + 1] += place - low
    return matrix


class Digits(ImageArrays):
    """The digits as (image, label), image float32 (1, size, size) with mean near 0 and deviation near 1.

    ``train``: the first 1,437 images, else the last 360. Thirteen persons wrote them, and the set does not say who wrote which:
    expect a little less from the hand of a stranger than the test accuracy says. ``size``: 8 as they are, or larger, bilinear:
    28 is what LeNet-5 takes. ``augment``: turned, scaled, sheared and moved a little in training.

    >>> image, label = Digits(train=False, size=28)[0]
    >>> image.shape, int(label)
    ((1, 28, 28), 2)
    """

    classes = [str(digit) for digit in range(10)]
    mean, std = 0.3054, 0.3755  # of the training images, scaled to [0, 1]

    def __init__(self, train=True, size=8, augment=False):
        images, labels = load()
        part = slice(None, -TEST) if train else slice(-TEST, None)
        scaled = (enlarge(images[part], size) if size != 8 else images[part].astype(np.float32)) / 16
        moves = [RandomAffine(degrees=15, translate=(1 / 11, 1 / 11), scale=(0.85, 1.15), shear=10)] if augment else []
        super().__init__(scaled[:, None], labels[part], Compose([*moves, Normalize([self.mean], [self.std])]))
