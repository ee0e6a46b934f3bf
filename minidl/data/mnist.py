"""MNIST and Fashion-MNIST from their idx files.

Sources: Y. LeCun, C. Cortes and C. Burges, "The MNIST database of handwritten digits"; H. Xiao, K. Rasul and R. Vollgraf,
"Fashion-MNIST" (arXiv 1708.07747). Both hold 60,000 training and 10,000 test images of 28x28 grey pixels.
"""

from collections.abc import Callable
from pathlib import Path

from minidl.data.dataset import ImageArrays
from minidl.data.idx import read_idx
from minidl.data.places import find_folder
from minidl.data.transforms import Compose, Normalize, RandomShift, ToTensor
from minidl.errors import DataError, UsageError


class _Idx(ImageArrays):
    """28x28 images in four idx files, plain or gzipped."""

    name = ""
    classes: list[str] = []
    mean, std = 0.0, 1.0

    def __init__(self, root=None, train=True, transform: Callable | None = None, download=False, *, augment=False):
        if augment and transform is not None:
            raise UsageError("augment belongs to the standard transform: give one of augment and transform")
        part = "train" if train else "t10k"
        try:
            paths = self._paths(root, part)
        except DataError:
            if not download:
                raise
            from minidl.data.download import get  # here, because it loads the network modules

            get(self.name, None if root is None else Path(root) / self.name)
            paths = self._paths(root, part)
        folder, (images, labels) = paths[0].parent, map(read_idx, paths)
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise DataError(f"{folder}: images {images.shape} and labels {labels.shape} do not belong together")
        if labels.size and labels.max() >= len(self.classes):
            raise DataError(f"{folder}: a label is {labels.max()}, expected 0 to {len(self.classes) - 1}")
        shifts = [RandomShift(2)] if augment else []
        standard = Compose([*shifts, ToTensor(), Normalize([self.mean], [self.std])])
        super().__init__(images[:, None], labels, standard if transform is None else transform)

    def _paths(self, root, part: str) -> list[Path]:
        """The files of images and labels; raises DataError where one is missing."""
        folder, paths = find_folder(self.name, ("*-ubyte", "*-ubyte.gz"), root), []
        for name in (f"{part}-images-idx3-ubyte", f"{part}-labels-idx1-ubyte"):
            path = next((p for p in (folder / name, folder / f"{name}.gz") if p.is_file()), None)
            if path is None:
                raise DataError(f"{folder}: {name} (or {name}.gz) is missing; get it with `minidl data get {self.name}`")
            paths.append(path)
        return paths


class MNIST(_Idx):
    """Handwritten digits as (image, label): float32 (1, 28, 28) with mean 0 and deviation 1 over the training set, int64.

    Args:
        root: the folder of the four idx files (plain or .gz), or one that holds them in ``mnist/``. By default they are
            looked for in ``$MINIDL_DATA/mnist``, then in the user's cache folder.
        train: the 60,000 training images, or the 10,000 test images.
        transform: in place of the standard one, which scales to [0, 1] and normalises; see ``minidl.data.transforms``.
        download: get the files if they are not there, as ``minidl data get mnist`` does.
        augment: random shifts of up to 2 pixels before the standard transform, in training.

    Raises DataError for missing or damaged files, DownloadError.
    """

    name = "mnist"
    classes = [str(digit) for digit in range(10)]
    mean, std = 0.1307, 0.3081


class FashionMNIST(_Idx):
    """Pieces of clothing in the format of MNIST, as (image, label); arguments as for MNIST, the folder is ``fashion-mnist``."""

    name = "fashion-mnist"
    classes = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
    mean, std = 0.2860, 0.3530
