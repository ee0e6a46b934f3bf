"""Data sets for detection: pictures, and what is known of the objects in each.

A sample is (image, target): the image (3, H, W), and for the L objects in it a dict of arrays, of which only the first four must
be there:

- ``boxes`` (L, 4) float32: x1, y1, x2, y2 in pixels, measured from the picture's upper left corner. A box around the pixels 2, 3
  and 4 of a row reaches from 2.0 to 5.0, so width is x2 - x1.
- ``labels`` (L,) int64: places in the data set's ``classes``. The background is none of them.
- ``difficult`` (L,) bool: objects that evaluation leaves out of account, VOC's difficult ones and COCO's crowds.
- ``image_id`` () int64.
- ``masks`` (L, H, W) bool; ``keypoints`` (L, K, 3) float32: x, y, and 0 for a point that is not known (then x = y = 0), 1 for a
  hidden, 2 for a visible one; ``area`` (L,) float64: of the mask, where boxes alone do not tell it.
- ``proposals`` (P, 4) float32: boxes that may hold an object, as ``minidl.models.detect.proposals`` finds them.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minidl.data.box_transforms import Compose
from minidl.data.collate import tensors
from minidl.data.dataset import Dataset
from minidl.errors import DataError, ShapeError
from minidl.kernels import namespace
from minidl.random import Generator
from minidl.tensor import Tensor, astensor


class DetectionDataset(Dataset):
    """Base of data sets for detection: subclasses write ``__len__`` and ``load(index)``, and name their ``classes``.

    ``transform`` is one of ``minidl.data.box_transforms``, or several in its Compose. Random ones are for training, through a
    loader: plain indexing leaves them out. Without a transform images are pixels, uint8.

    >>> class Blank(DetectionDataset):
    ...     classes = ("cat",)
    ...     def __len__(self):
    ...         return 1
    ...     def load(self, index):
    ...         return np.zeros((3, 6, 8), np.uint8), target_of(boxes=[[1, 2, 4, 5]], labels=[0], image_id=index)
    >>> Blank()[0][1]["boxes"].tolist()
    [[1.0, 2.0, 4.0, 5.0]]
    """

    classes: Sequence[str] = ()

    def __init__(self, transform: Callable | None = None):
        self.transform = Compose([] if transform is None else [transform])

    def load(self, index: int) -> tuple[np.ndarray, dict]:
        """A picture (3, H, W) of uint8 and its target, as they are."""
        raise NotImplementedError(f"{type(self).__name__} has no load")

    def name(self, image_id: int) -> str:
        """What the picture of a target with this ``image_id`` is called."""
        return f"image {image_id}"

    def __getitem__(self, index: int) -> tuple:
        return self.transform(*self.load(index))

    def sample(self, index: int, generator: Generator) -> tuple:
        """Image and target, augmented."""
        return self.transform(*self.load(index), generator.uniform(size=self.transform.numbers, dtype=np.float32))


def target_of(boxes, labels, image_id: int, difficult=None, **more) -> dict:
    """A target from boxes, labels and whatever else is known, as arrays of the right dtypes. Nothing is difficult unless said.

    >>> target_of([], [], image_id=3)["boxes"].shape
    (0, 4)
    """
    labels = np.asarray(labels, np.int64)
    difficult = np.zeros(len(labels), bool) if difficult is None else np.asarray(difficult, bool)
    return {"boxes": np.asarray(boxes, np.float32).reshape(len(labels), 4), "labels": labels, "difficult": difficult,
            "image_id": np.asarray(image_id, np.int64), **more}


def check_size(image: np.ndarray, width: int, height: int, name: str) -> None:
    """Raise DataError unless a picture (3, H, W) has the size that its annotations are for."""
    if image.shape[1:] != (height, width):
        raise DataError(f"{name}: the annotations are of a picture of {width} x {height} pixels, it has {image.shape[2]} x "
                        f"{image.shape[1]}")


def detection_collate(samples: list) -> tuple[list, list]:
    """The ``collate_fn`` for detection, whose pictures have different sizes and numbers of objects: a list of images and a list
    of targets, as tensors.

    >>> from minidl.data import DataLoader, Scenes
    >>> images, targets = next(iter(DataLoader(Scenes(), batch_size=2, collate_fn=detection_collate)))
    >>> len(images), images[0].shape, targets[0]["boxes"].shape
    (2, (3, 128, 128), (2, 4))
    """
    images, targets = zip(*samples, strict=True)
    return tensors(list(images)), tensors(list(targets))


def pad_images(images: Sequence, multiple: int = 32) -> Tensor:
    """Images (C, H, W) of different sizes as one batch (N, C, H', W'): zeros to the right and below, up to the largest height and
    width, rounded up to a ``multiple``. Boxes stay where they are.

    Raises ShapeError for no images, or different numbers of channels.

    >>> pad_images([np.ones((3, 40, 20), np.float32), np.ones((3, 30, 70), np.float32)]).shape
    (2, 3, 64, 96)
    """
    arrays = [astensor(image).array for image in images]
    if len({array.shape[:-2] for array in arrays}) != 1 or arrays[0].ndim != 3:
        raise ShapeError(f"expected images (C, H, W) of one C, got shapes {[array.shape for array in arrays]}")
    height, width = (-(-max(array.shape[axis] for array in arrays) // multiple) * multiple for axis in (1, 2))
    batch = namespace(arrays[0]).zeros((len(arrays), len(arrays[0]), height, width), arrays[0].dtype)
    for place, array in zip(batch, arrays, strict=True):
        place[:, : array.shape[1], : array.shape[2]] = array
    return Tensor(batch)
