"""CIFAR-10 and CIFAR-100: 50,000 + 10,000 colour pictures of 32x32 in ten or a hundred classes.

Source: A. Krizhevsky, "Learning multiple layers of features from tiny images" (2009). Read in each layout that is about:

- python: ``cifar-10-batches-py/`` or ``cifar-10-python.tar.gz``, pickles, which are read without unpickling;
- binary: ``cifar-10-batches-bin/`` or ``cifar-10-binary.tar.gz``, a byte or two of labels, then red, green and blue planes;
- packed: ``cifar-10-jpeg.npz``, see ``minidl.data.packed``. JPEG loses a little: the pixels differ from the original.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from minidl.data.dataset import ImageArrays
from minidl.data.image import read_image
from minidl.data.packed import Pack
from minidl.data.places import find_folder
from minidl.data.tar import read_members
from minidl.data.transforms import Compose, Normalize, RandomCrop, RandomHorizontalFlip, ToTensor
from minidl.errors import CheckpointError, DataError, UsageError
from minidl.io.pickles import read_pickle

PIXELS = 3 * 32 * 32
MOST_BYTES = 200_000_000  # of one file; CIFAR's largest has 155,261,070


class _Cifar(ImageArrays):
    """What both have in common; subclasses name files, labels and classes."""

    name = packed = ""
    python: tuple[str, ...] = ()  # archive and folder
    binary: tuple[str, ...] = ()
    train_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    label_key = ""
    label_bytes = 1  # before the pixels of a picture in the binary layout; the last of them is the label
    classes: list[str] = []
    mean, std = (0.0,), (1.0,)

    def __init__(self, root=None, train=True, transform: Callable | None = None, download=False, *, augment=False):
        if augment and transform is not None:
            raise UsageError("augment belongs to the standard transform: give one of augment and transform")
        try:
            images, labels = self._read(root, train)
        except DataError:
            if not download:
                raise
            from minidl.data.download import get  # here, because it loads the network modules

            get(self.name, None if root is None else Path(root) / self.name)
            images, labels = self._read(root, train)
        if labels.size and not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise DataError(f"{self.name}: a label is {labels.max()}, expected 0 to {len(self.classes) - 1}")
        moves = [RandomCrop(32, padding=4), RandomHorizontalFlip()] if augment else []
        standard = Compose([*moves, ToTensor(), Normalize(self.mean, self.std)])
        super().__init__(images, labels, standard if transform is None else transform)

    def _read(self, root, train: bool) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, 3, 32, 32) uint8 and labels (N,), from the first layout that is there."""
        layouts = {**dict.fromkeys(self.python, self._python), self.packed: self._packed,
                   **dict.fromkeys(self.binary, self._binary)}
        folder = find_folder(self.name, tuple(layouts), root)
        place, read = next((folder / name, read) for name, read in layouts.items() if (folder / name).exists())
        parts = list(read(place, self.train_files if train else self.test_files))
        return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])

    def _python(self, place: Path, files) -> Iterator[tuple]:
        for name, data in _contents(place, files):
            try:
                batch = read_pickle(data)
            except CheckpointError as error:
                raise DataError(f"{place}: {name}: {error}") from None
            images, labels = (batch.get(key) if isinstance(batch, dict) else None for key in ("data", self.label_key))
            if not isinstance(images, np.ndarray) or images.dtype != np.uint8 or images.shape[1:] != (PIXELS,) \
                    or not isinstance(labels, list) or len(labels) != len(images) \
                    or not all(type(label) is int and 0 <= label < len(self.classes) for label in labels):
                raise DataError(f"{place}: {name} does not hold data (N, {PIXELS}) of uint8 and a list of {self.label_key!r}")
            yield images.reshape(-1, 3, 32, 32), np.array(labels, np.int64)

    def _binary(self, place: Path, files) -> Iterator[tuple]:
        for name, data in _contents(place, [f"{name}.bin" for name in files]):
            yield read_binary(data, self.label_bytes, f"{place}: {name}")

    def _packed(self, place: Path, files) -> Iterator[tuple]:
        pack = Pack(place, "train" if files == self.train_files else "test")
        images = np.empty((len(pack), 3, 32, 32), np.uint8)
        for number in range(len(pack)):
            image = read_image(pack[number], f"{place}: picture {number}")
            if image.shape != images.shape[1:]:
                raise DataError(f"{place}: picture {number} has the shape {image.shape}, expected {images.shape[1:]}")
            images[number] = image
        yield images, pack.labels


def read_binary(data: bytes, label_bytes: int, name) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 3, 32, 32) and labels (N,) of one file in the binary layout; the last of the ``label_bytes`` is the label.

    Raises DataError, which calls the file ``name``, if its length is not a multiple of a picture's.

    >>> images, labels = read_binary(bytes([7] + 3072 * [255]), 1, "one picture")
    >>> images.shape, labels
    ((1, 3, 32, 32), array([7], dtype=uint8))
    """
    row = label_bytes + PIXELS
    if not data or len(data) % row:
        raise DataError(f"{name}: {len(data):,} bytes, expected a multiple of {row:,}, the size of a picture with its labels")
    rows = np.frombuffer(data, np.uint8).reshape(-1, row)
    return rows[:, label_bytes:].reshape(-1, 3, 32, 32), rows[:, label_bytes - 1]


def _contents(place: Path, files) -> Iterator[tuple[str, bytes]]:
    """Each of the files, from a folder or from a tar archive."""
    if place.is_dir():
        for name in files:
            path = place / name
            if not path.is_file():
                raise DataError(f"{place}: {name} is missing")
            if path.stat().st_size > MOST_BYTES:
                raise DataError(f"{path}: {path.stat().st_size:,} bytes; the limit is {MOST_BYTES:,}")
            yield name, path.read_bytes()
    else:
        found = read_members(place, set(files), MOST_BYTES)
        for name in files:
            if name not in found:
                raise DataError(f"{place}: {name} is missing")
            yield name, found.pop(name)


class CIFAR10(_Cifar):
    """CIFAR-10 as (image, label): float32 (3, 32, 32) with mean 0 and deviation 1 in each channel over the training set, int64.

    Args:
        root: the folder of one of the layouts, or one that holds it in ``cifar10/``. By default it is looked for in
            ``$MINIDL_DATA/cifar10``, then in the user's cache folder.
        train: the 50,000 training images, or the 10,000 test images.
        transform: in place of the standard one, which scales to [0, 1] and normalises; see ``minidl.data.transforms``.
        download: get the files if they are not there, as ``minidl data get cifar10`` does.
        augment: 4 pixels of padding, a random crop of 32x32 and a random flip before the standard transform, in training (He
            et al. 2016, section 4.2).

    Raises DataError for missing or damaged files, DownloadError.
    """

    name, packed, label_key = "cifar10", "cifar-10-jpeg.npz", "labels"
    python, binary = ("cifar-10-python.tar.gz", "cifar-10-batches-py"), ("cifar-10-binary.tar.gz", "cifar-10-batches-bin")
    train_files, test_files = tuple(f"data_batch_{k}" for k in range(1, 6)), ("test_batch",)
    classes = "airplane automobile bird cat deer dog frog horse ship truck".split()
    mean, std = (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)


class CIFAR100(_Cifar):
    """CIFAR-100, its hundred fine classes; arguments as for CIFAR10, the folder is ``cifar100``."""

    name, packed, label_key, label_bytes = "cifar100", "cifar-100-jpeg.npz", "fine_labels", 2
    python, binary = ("cifar-100-python.tar.gz", "cifar-100-python"), ("cifar-100-binary.tar.gz", "cifar-100-binary")
    train_files, test_files = ("train",), ("test",)
    classes = """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
        caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant flatfish
        forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
        mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine
        possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar
        sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle wardrobe whale
        willow_tree wolf woman worm""".split()
    mean, std = (0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)
