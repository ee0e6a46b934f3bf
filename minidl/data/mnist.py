"""MNIST and Fashion-MNIST from their idx files.

Sources: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits"; H. Xiao, K. Rasul and R. Vollgraf,
"Fashion-MNIST" (arXiv 1708.07747). Both hold 60,000 training and 10,000 test images of 28x28 grey pixels.
"""

import hashlib
import os
from pathlib import Path

import numpy as np

from minidl.data.dataset import ImageArrays
from minidl.data.download import cache_folder
from minidl.data.idx import read_idx
from minidl.data.transforms import Compose, Normalize, RandomShift, Scale
from minidl.errors import DataError


def find_folder(name: str, root=None) -> Path:
    """The folder of a data set: ``root`` itself, else ``$MINIDL_DATA/name``, else the download folder.

    Raises DataError that lists the places looked at and the command that downloads.
    """
    if root is not None:
        places = [Path(root), Path(root) / name]
    else:
        supplied = os.environ.get("MINIDL_DATA")
        places = [*([Path(supplied) / name] if supplied else []), cache_folder() / name]
    for place in places:
        if any(place.glob("*-ubyte*")):
            return place
    raise DataError(f"{name} is in none of these folders: {', '.join(map(str, places))}; get it with `minidl data get {name}`, "
                    "or set MINIDL_DATA to a folder that has it")


class _Idx(ImageArrays):
    """28x28 images in four idx files, plain or gzipped."""

    name = ""
    classes: list[str] = []
    md5: dict[str, str] = {}  # of the uncompressed files, as commonly published
    mean, std = 0.0, 1.0

    def __init__(self, root=None, train=True, augment=False):
        folder = find_folder(self.name, root)
        part = "train" if train else "t10k"
        images, labels = self._read(folder, f"{part}-images-idx3-ubyte"), self._read(folder, f"{part}-labels-idx1-ubyte")
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together")
        if labels.size and labels.max() >= len(self.classes):
            raise DataError(f"{folder}: a label is {labels.max()}, expected 0 to {len(self.classes) - 1}")
        shifts = [RandomShift(2)] if augment else []
        super().__init__(images[:, None], labels, Compose([*shifts, Scale(), Normalize([self.mean], [self.std])]))

    def _read(self, folder: Path, name: str) -> np.ndarray:
        path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
        if path is None:
            raise DataError(f"{folder}: {name} (or {name}.gz) is missing; get it with `minidl data get {self.name}`")
        return read_idx(path)

    def is_canonical(self) -> bool:
        """Whether images and labels are those commonly published, by the MD5 of the uncompressed files."""
        header = {3: b"\0\0\x08\x03", 1: b"\0\0\x08\x01"}
        part = "train" if len(self) == 60000 else "t10k"
        for kind, array in (("images-idx3", self.images[:, 0]), ("labels-idx1", self.labels.astype(np.uint8))):
            sizes = b"".join(n.to_bytes(4, "big") for n in array.shape)
            if hashlib.md5(header[array.ndim] + sizes + array.tobytes()).hexdigest() != self.md5.get(f"{part}-{kind}-ubyte"):
                return False
        return True


class MNIST(_Idx):
    """Handwritten digits as (image, label), image float32 (1, 28, 28) with mean 0 and deviation 1 over the training set.

    ``root``: the folder of the files (default: ``$MINIDL_DATA/mnist``, then the download folder). ``augment``: random shifts
    of up to 2 pixels in training. Raises DataError for missing or damaged files.
    """

    name = "mnist"
    classes = [str(digit) for digit in range(10)]
    mean, std = 0.1307, 0.3081
    md5 = {"train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
           "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
           "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
           "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637"}


class FashionMNIST(_Idx):
    """Pieces of clothing in the format of MNIST, as (image, label).

    ``root``: the folder of the files (default: ``$MINIDL_DATA/fashion-mnist``, then the download folder).
    """

    name = "fashion-mnist"
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    mean, std = 0.2860, 0.3530
