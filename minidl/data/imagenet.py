"""ImageNet's thousand classes as ILSVRC 2012 distributed them, and Imagenette, ten easy ones of them.

Sources: O. Russakovsky et al., "ImageNet large scale visual recognition challenge" (IJCV 2015); J. Howard, Imagenette
(https://github.com/fastai/imagenette).
"""

from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from minidl.data import tar
from minidl.data.folder import ImageFiles, ImageFolder, PackedImages, class_folders, pictures_in
from minidl.data.image import SUFFIXES
from minidl.data.matlab import read_table
from minidl.data.places import find_folder
from minidl.errors import DataError

DEVKIT = "ILSVRC2012_devkit_t12"
TRAIN_TAR, VAL_TAR, DEVKIT_TAR = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", f"{DEVKIT}.tar.gz"
TRUTH, META = "ILSVRC2012_validation_ground_truth.txt", "meta.mat"
MOST_META = 4_000_000  # bytes
CLASSES = 1000


class ImageNet(ImageFiles):
    """ILSVRC 2012, 1,281,167 pictures to train on and 50,000 to test on; labels in the order of the WordNet ids, as published
    weights have them.

    Args:
        root: the folder of the files as they are distributed; by default ``imagenet`` in ``$MINIDL_DATA`` or the cache folder.
        train: the training pictures, or those for validation, which the devkit labels.
        transform: see ``minidl.data.transforms``; None gives the pixels as they are.

    Training pictures are read from ``train/`` or ``ILSVRC2012_img_train/``, with a folder for each WordNet id, or straight from
    ``ILSVRC2012_img_train.tar``, which is not unpacked; those for validation from ``val/`` (class folders, or all in one) or
    ``ILSVRC2012_img_val.tar``. Names of classes, and the labels of pictures that lie all in one, are from the devkit, as
    ``ILSVRC2012_devkit_t12.tar.gz`` or unpacked. Raises DataError for files that are missing or damaged.
    """

    def __init__(self, root=None, train=True, transform: Callable | None = None):
        root = Path(root) if root is not None else _imagenet_folder()
        if not root.is_dir():
            raise DataError(f"{root}: there is no such folder")
        devkit = _Devkit(root)
        files, labels, wnids = _training(root) if train else _validation(root, devkit)
        super().__init__(files, labels, [devkit.words.get(wnid, wnid) for wnid in wnids], transform)
        self.wnids = wnids

    @staticmethod
    def is_in(root) -> bool:
        """Whether a folder holds ILSVRC's own files."""
        root = Path(root)
        names = (TRAIN_TAR, VAL_TAR, "ILSVRC2012_img_train", "ILSVRC2012_img_val", DEVKIT, DEVKIT_TAR)
        return any((root / name).exists() for name in names)


def class_names() -> list[str]:
    """The names of ILSVRC's thousand classes, in the order of labels; as torchvision shortens them.

    >>> class_names()[:2], len(class_names())
    (['tench', 'goldfish'], 1000)
    """
    return resources.files("minidl.data").joinpath("imagenet-classes.txt").read_text(encoding="utf-8").splitlines()


class Imagenette(ImageFiles):
    """Ten easily told classes of ImageNet; from the folders ``train/`` and ``val/`` as distributed, or from a pack.

    ``root``: the folder that holds them; by default ``imagenette`` or ``imagenette224`` in ``$MINIDL_DATA`` or the cache folder.
    Raises DataError where there is neither.
    """

    names = {"n01440764": "tench", "n02102040": "English springer", "n02979186": "cassette player", "n03000684": "chain saw",
             "n03028079": "church", "n03394916": "French horn", "n03417042": "garbage truck", "n03425413": "gas pump",
             "n03445777": "golf ball", "n03888257": "parachute"}

    def __init__(self, root=None, train=True, transform: Callable | None = None):
        folder = _imagenette_folder(root)
        pack = folder / "imagenette224-jpeg.npz"
        found = PackedImages(pack, "train" if train else "val") if pack.is_file() else ImageFolder(folder, train)
        super().__init__(found.files, found.labels, [self.names.get(name, name) for name in found.classes], transform)


def _imagenette_folder(root) -> Path:
    try:
        return find_folder("imagenette", ("train", "*.npz"), root)
    except DataError:
        if root is not None:
            raise
        try:
            return find_folder("imagenette224", ("*.npz",))
        except DataError:
            pass
        raise


def _imagenet_folder() -> Path:
    try:
        return find_folder("imagenet", (TRAIN_TAR, VAL_TAR, "train", "val"))
    except DataError as error:
        where = str(error).partition("; get it")[0]
        raise DataError(f"{where}; it is given to those who register at image-net.org: put {TRAIN_TAR}, {VAL_TAR} and "
                        f"{DEVKIT_TAR} there, packed or unpacked, or name their folder") from None


def _train_folder(root: Path) -> Path | None:
    return next((root / name for name in ("train", "ILSVRC2012_img_train") if (root / name).is_dir()), None)


def _inner_archives(root: Path, file) -> list[tar.Member]:
    """The archives of the classes in that of all training pictures, in the order of their WordNet ids."""
    return sorted((m for m in _members(root / TRAIN_TAR, file) if m.name.endswith(".tar")), key=lambda member: member.name)


def _known(root: Path) -> list[str]:
    """The WordNet ids of the training pictures, which number the classes; none where there are no such pictures."""
    folder = _train_folder(root)
    if folder is not None:
        return class_folders(folder)
    if (root / TRAIN_TAR).is_file():
        with open(root / TRAIN_TAR, "rb") as file:
            return [member.name.removesuffix(".tar") for member in _inner_archives(root, file)]
    return []


def _training(root: Path) -> tuple[Sequence, np.ndarray, list[str]]:
    """Files, labels and WordNet ids."""
    folder, wnids = _train_folder(root), _known(root)
    if not wnids:
        raise DataError(f"{root}: expected train/, ILSVRC2012_img_train/ or {TRAIN_TAR}")
    if folder is not None:
        files: list = [pictures_in(folder / wnid) for wnid in wnids]
    else:
        with open(root / TRAIN_TAR, "rb") as file:
            files = [_pictures(_members(root / TRAIN_TAR, file, m.start, m.size)) for m in _inner_archives(root, file)]
        if not all(files):
            raise DataError(f"{root / TRAIN_TAR}: {wnids[list(map(len, files)).index(0)]}.tar holds no pictures")
    labels = np.repeat(np.arange(len(wnids)), list(map(len, files)))
    together = [file for of_class in files for file in of_class]
    return (together if folder is not None else _TarFiles(root / TRAIN_TAR, together)), labels, wnids


def _validation(root: Path, devkit: "_Devkit") -> tuple[Sequence, np.ndarray, list[str]]:
    """Files, labels and WordNet ids; classes are numbered as in training."""
    folder = next((root / name for name in ("val", "ILSVRC2012_img_val") if (root / name).is_dir()), None)
    if folder is not None and any(path.is_dir() for path in folder.iterdir()):
        found = class_folders(folder)
        parts = [pictures_in(folder / wnid) for wnid in found]
        files: Sequence = [file for part in parts for file in part]
        of_files = [wnid for wnid, part in zip(found, parts, strict=True) for _ in part]
    else:
        files = _flat_validation(root, folder)
        of_files = devkit.truth(len(files))
    wnids = _known(root) or sorted(set(of_files) | set(devkit.ids.values()))
    unknown = sorted(set(of_files) - set(wnids))
    if unknown:
        raise DataError(f"{root}: pictures for validation are of classes that training does not have: {', '.join(unknown[:10])}")
    places = {wnid: place for place, wnid in enumerate(wnids)}
    return files, np.array([places[wnid] for wnid in of_files], np.int64), wnids


def _flat_validation(root: Path, folder: Path | None) -> Sequence:
    """The pictures for validation where they lie all in one, by name."""
    if folder is not None:
        return pictures_in(folder)
    if not (root / VAL_TAR).is_file():
        raise DataError(f"{root}: expected val/, ILSVRC2012_img_val/ or {VAL_TAR}")
    with open(root / VAL_TAR, "rb") as file:
        return _TarFiles(root / VAL_TAR, _pictures(_members(root / VAL_TAR, file)))


def _members(path: Path, file, *part) -> list[tar.Member]:
    try:
        return tar.members(file, *part)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def _pictures(members: list[tar.Member]) -> list[tar.Member]:
    return sorted((m for m in members if m.name.lower().endswith(SUFFIXES)), key=lambda member: member.name)


class _TarFiles:
    """The pictures in an uncompressed tar archive, each with its name; opened again in each process that reads."""

    def __init__(self, path: Path, members: list[tar.Member]):
        self.path, self.found = path, members

    def __len__(self):
        return len(self.found)

    def __getitem__(self, index: int) -> tuple[str, bytes]:
        member = self.found[index]
        with open(self.path, "rb") as file:
            file.seek(member.start)
            return f"{self.path}: {member.name}", file.read(member.size)


class _Devkit:
    """The development kit: ``words`` names the classes by WordNet id, ``ids`` gives the WordNet ids by ILSVRC's numbers."""

    def __init__(self, root: Path):
        self.root, self.ids, self.words = root, {}, {}
        data = self._file(META)
        if data is not None:
            self.ids, self.words = _read_meta(data, root)

    def truth(self, count: int) -> list[str]:
        """The WordNet id of each of ``count`` pictures for validation, in the order of their names."""
        data = self._file(TRUTH)
        if data is None or not self.ids:
            raise DataError(f"{self.root}: the labels for validation are in the devkit: put {DEVKIT_TAR} or the folder {DEVKIT}/ "
                            "beside the pictures")
        try:
            numbers = [int(line) for line in data.decode("ascii").split()]
        except ValueError as error:
            raise DataError(f"{self.root}: the devkit's {TRUTH} is no list of numbers: {error}") from None
        if len(numbers) != count:
            raise DataError(f"{self.root}: the devkit has labels for {len(numbers):,} pictures for validation, "
                            f"there are {count:,}")
        if not set(numbers) <= set(self.ids):
            raise DataError(f"{self.root}: the devkit's labels name classes that its {META} does not have")
        return [self.ids[number] for number in numbers]

    def _file(self, name: str) -> bytes | None:
        plain, packed = self.root / DEVKIT / "data" / name, self.root / DEVKIT_TAR
        if plain.is_file() and plain.stat().st_size <= MOST_META:
            return plain.read_bytes()
        return tar.read_members(packed, {name}, MOST_META).get(name) if packed.is_file() else None


def _read_meta(data: bytes, root: Path) -> tuple[dict[int, str], dict[str, str]]:
    """WordNet ids by number, and the first name of each class by WordNet id, from the devkit's MATLAB file."""
    try:
        rows = read_table(data, "synsets")
    except DataError as error:
        raise DataError(f"{root}: the devkit's {META}: {error}") from None
    ids, words = {}, {}
    for row in rows:
        number, wnid, text = (row.get(name) for name in ("ILSVRC2012_ID", "WNID", "words"))
        if not isinstance(number, (int, float)) or not isinstance(wnid, str) or not isinstance(text, str):
            raise DataError(f"{root}: the devkit's {META} has a class without number, WordNet id or words")
        if 1 <= number <= CLASSES:  # above these are the groups of classes
            ids[int(number)], words[wnid] = wnid, text.split(",")[0]
    return ids, words
