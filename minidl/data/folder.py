"""Pictures in files: a folder for each class, or a pack. They are decoded when they are read, so a set may be larger than
memory.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minidl.data.dataset import Dataset
from minidl.data.image import SUFFIXES, read_image
from minidl.data.packed import Pack
from minidl.data.transforms import Compose
from minidl.errors import DataError
from minidl.random import Generator

TRAIN, TEST = ("train", "training"), ("val", "validation", "valid", "test")
EVERY = 5  # where a folder is not divided, each fifth picture of a class is for testing


class ImageFiles(Dataset):
    """Encoded pictures with their labels. Samples are (image, label): float32 (3, H, W) as ``transform`` makes it, int64.

    ``files[k]`` is the path of picture k, or its name and bytes. Random transforms are for training, through a loader: plain
    indexing leaves them out. Without a transform, images are the pixels, uint8, in the sizes they have. Reading raises DataError
    for a picture that is damaged.
    """

    def __init__(self, files: Sequence, labels: np.ndarray, classes: list[str], transform: Callable | None = None):
        self.files, self.labels, self.classes = files, np.asarray(labels, np.int64), list(classes)
        self.transform = Compose([] if transform is None else [transform])

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple:
        return self.transform(self.pixels(index)[None])[0], self.labels[index]

    def sample(self, index: int, generator: Generator) -> tuple:
        """One image, augmented, and its label."""
        uniforms = generator.uniform(size=(1, self.transform.numbers), dtype=np.float32)
        return self.transform(self.pixels(index)[None], uniforms)[0], self.labels[index]

    def pixels(self, index: int) -> np.ndarray:
        """A picture as it is, (3, H, W) of uint8."""
        file = self.files[index]
        return read_image(file) if isinstance(file, Path) else read_image(file[1], file[0])


class _PackFiles:
    """The pictures of a pack, each with a name for errors."""

    def __init__(self, pack: Pack):
        self.pack, self.path = pack, pack.path

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        return f"{self.pack.path}: {self.pack.part} picture {index}", self.pack[index]


class PackedImages(ImageFiles):
    """One part of a pack (see ``minidl.data.packed``), such as "train" or "val"."""

    def __init__(self, path, part: str, transform: Callable | None = None):
        pack = Pack(path, part)
        super().__init__(_PackFiles(pack), pack.labels, pack.classes, transform)


class ImageFolder(ImageFiles):
    """A folder of class folders; classes are their names in alphabetical order.

    Args:
        root: a folder with the folders ``train/`` and ``val/`` (or ``test/``), which hold a folder for each class; or one that
            holds the class folders itself: then each fifth picture of a class, by name, is for testing, the others for training.
        train: the pictures for training, or those for testing.
        transform: see ``minidl.data.transforms``; None gives the pixels as they are.

    Pictures are the files that end in .jpg, .jpeg, .png, .bmp, .gif, .webp, .ppm or .pgm. Raises DataError for a folder without
    classes, for a class without pictures, and for a class that training does not know.

    >>> import tempfile, PIL.Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("cat", "dog"):
    ...         (Path(folder) / name).mkdir()
    ...         for k in range(5):
    ...             PIL.Image.new("RGB", (4, 3)).save(f"{folder}/{name}/{k}.png")
    ...     pictures = ImageFolder(folder)
    ...     pictures.classes, len(pictures), pictures[4][0].shape, int(pictures[4][1])
    (['cat', 'dog'], 8, (3, 3, 4), 1)
    """

    def __init__(self, root, train=True, transform: Callable | None = None):
        root = Path(root)
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder")
        parts = [next((root / name for name in names if (root / name).is_dir()), None) for names in (TRAIN, TEST)]
        if parts[0] is None:
            classes = class_folders(root)
            files = [[file for k, file in enumerate(pictures_in(root / name)) if (k % EVERY == EVERY - 1) != train]
                     for name in classes]
        else:
            classes, part = class_folders(parts[0]), parts[0 if train else 1]
            if part is None:
                raise DataError(f"{root}: there is {parts[0].name}/, but none of the folders {', '.join(TEST)}/ to test on")
            unknown = sorted(set(class_folders(part)) - set(classes))
            if unknown:
                raise DataError(f"{part}: these classes are not in {parts[0].name}/: {', '.join(unknown[:10])}")
            files = [pictures_in(part / name) if (part / name).is_dir() else [] for name in classes]
        labels = np.repeat(np.arange(len(classes)), list(map(len, files)))
        super().__init__([file for of_class in files for file in of_class], labels, classes, transform)


def class_folders(folder: Path) -> list[str]:
    """The names of the folders in a folder, in order; raises DataError if there is none."""
    names = sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not names:
        raise DataError(f"{folder}: expected a folder for each class, found none")
    return names


def pictures_in(folder: Path) -> list[Path]:
    """The picture files of a folder, by name; raises DataError if there is none."""
    found = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    if not found:
        raise DataError(f"{folder}: no pictures in the folder of this class ({', '.join(SUFFIXES)}); remove it or fill it")
    return found
