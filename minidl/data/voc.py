"""PASCAL VOC, and every data set that lies in folders as it does.

Source: M. Everingham et al., "The PASCAL Visual Object Classes (VOC) Challenge", IJCV 2010, and the devkits of 2007 to 2012::

    VOCdevkit/VOC2007/ImageSets/Main/trainval.txt       the names of the pictures of a set, one a line
                      JPEGImages/000005.jpg
                      Annotations/000005.xml            the objects in it
                      SegmentationObject/000005.png     in some sets: pixel value k belongs to object k; 255 to none
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from minidl.data.detection import DetectionDataset, check_size, target_of
from minidl.data.image import SUFFIXES, read_image, read_indices
from minidl.data.places import file_inside, find_folder
from minidl.data.voc_xml import Annotation, read_annotation
from minidl.errors import DataError, UsageError

VOC_CLASSES = ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
               "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
MOST_BYTES = 64_000_000  # of a list of pictures


class VOCDetection(DetectionDataset):
    """The pictures of one set, such as "train", with the objects in them.

    Args:
        root: a folder that holds ``VOCdevkit/VOC2007/``, ``VOC2007/``, or ImageSets/, Annotations/ and JPEGImages/ themselves; by
            default where ``minidl data get voc2007`` puts it, for the ``year``, which must be given then.
        image_set: the list in ImageSets/Main: "train", "val", "trainval", "test" or another that is there.
        year: of several that are there, such as 2007.
        classes: names in the order of the labels; by default VOC's twenty where they cover all names in Annotations/, else these
            names in alphabetical order, the same for all sets. To know them, all annotations are read: seconds for VOC2012.
        unknown: what to do about an object of none of the classes, "raise" DataError or "skip" the object.
        masks: read SegmentationObject/ too.
        transform: see ``minidl.data.box_transforms``.

    Samples are (image, target), see ``minidl.data.detection``; the target has ``truncated`` (L,) bool, too, and ``image_id`` is
    the index of a picture, whose name is ``names[index]``. The file's coordinates are 1-based and of the first and last pixels of
    an object: pixels 1 to 3 become a box from 0.0 to 3.0. A box that leaves the picture is clipped to it.

    Raises DataError for folders or lists that are missing. Reading a picture raises DataError, which a loader may skip, where
    files are missing, damaged or hostile (see ``minidl.data.voc_xml``), for a size that is not the annotation's, for inverted
    boxes and for boxes outside of the picture.

    >>> import tempfile, PIL.Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("Annotations", "JPEGImages", "ImageSets/Main"):
    ...         (Path(folder) / name).mkdir(parents=True)
    ...     PIL.Image.new("RGB", (8, 6)).save(f"{folder}/JPEGImages/one.jpg")
    ...     _ = Path(folder, "ImageSets/Main/train.txt").write_text("one")
    ...     _ = Path(folder, "Annotations/one.xml").write_text("<annotation><object><name>cell</name><bndbox><xmin>1</xmin>"
    ...         "<ymin>2</ymin><xmax>3</xmax><ymax>4</ymax></bndbox></object></annotation>")
    ...     cells = VOCDetection(folder, "train")
    ...     cells.classes, cells[0][0].shape, cells[0][1]["boxes"].tolist()
    (('cell',), (3, 6, 8), [[0.0, 1.0, 3.0, 4.0]])
    """

    def __init__(self, root=None, image_set: str = "trainval", year: int | None = None, classes: Sequence[str] | None = None,
                 unknown: str = "raise", masks=False, transform: Callable | None = None):
        super().__init__(transform)
        if unknown not in ("raise", "skip"):
            raise UsageError(f"unknown must be 'raise' or 'skip', got {unknown!r}")
        if root is None:
            if year is None:
                raise UsageError("VOCDetection needs a root, or the year of what `minidl data get voc2007` or voc2012 got")
            root = find_folder(f"voc{year}", (f"VOC{year}", "VOCdevkit"))
        self.folder = voc_folder(root, year)
        self.names = _listed(self.folder / "ImageSets" / "Main", image_set)
        self.classes = tuple(_classes(self.folder / "Annotations") if classes is None else classes)
        self.unknown, self.masks = unknown, masks

    def __len__(self):
        return len(self.names)

    def name(self, image_id: int) -> str:
        """The name in the list of the set."""
        return self.names[image_id]

    def annotation(self, index: int) -> Annotation:
        """What the file of a picture says, unchanged."""
        return read_annotation(file_inside(self.folder / "Annotations", f"{self.names[index]}.xml"))

    def load(self, index: int) -> tuple[np.ndarray, dict]:
        """A picture and its target."""
        name, annotation = self.names[index], self.annotation(index)
        image = read_image(self._picture(name))
        height, width = image.shape[1:]
        if annotation.width and annotation.height:
            check_size(image, annotation.width, annotation.height, name)
        kept = [k for k, found in enumerate(annotation.objects) if self._is_known(found.name, name)]
        objects = [annotation.objects[k] for k in kept]
        boxes = np.array([found.box for found in objects]).reshape(-1, 4) - [1, 1, 0, 0]
        boxes = np.clip(boxes, 0, [width, height, width, height])
        for found, (x1, y1, x2, y2) in zip(objects, boxes, strict=True):
            if x1 >= x2 or y1 >= y2:
                raise DataError(f"{name}: the box {found.box} of a {found.name} is outside of the picture of {width} x {height}")
        more = {"truncated": np.array([found.truncated for found in objects], bool)}
        if self.masks:
            more["masks"] = self._masks(name, (height, width), kept)
        labels = [self.classes.index(found.name) for found in objects]
        return image, target_of(boxes, labels, index % len(self), [found.difficult for found in objects], **more)

    def _is_known(self, name: str, picture: str) -> bool:
        if name not in self.classes and self.unknown == "raise":
            raise DataError(f"{picture}: an object is of the unknown class {name!r}; the classes are {', '.join(self.classes)}. "
                            "Give others, or unknown='skip' to leave such objects out")
        return name in self.classes

    def _picture(self, name: str) -> Path:
        folder = self.folder / "JPEGImages"
        found = next((path for suffix in (".jpg", *SUFFIXES) if (path := folder / (name + suffix)).is_file()), None)
        if found is None:
            raise DataError(f"{folder / name}: there is no such picture ({', '.join(SUFFIXES)})")
        return file_inside(folder, found.name)

    def _masks(self, name: str, size: tuple[int, int], objects: list[int]) -> np.ndarray:
        owner = read_indices(file_inside(self.folder / "SegmentationObject", f"{name}.png"))
        if owner.shape != size:
            raise DataError(f"{name}: the masks are {owner.shape[1]} x {owner.shape[0]}, the picture {size[1]} x {size[0]}")
        return owner == np.array(objects, int)[:, None, None] + 1


class BCCD(VOCDetection):
    """Pictures of blood under a microscope, with cells of three classes: Platelets, RBC (red) and WBC (white).

    Source: https://github.com/Shenggan/BCCD_Dataset, 205, 87 and 72 pictures of 640 x 480 in "train", "val" and "test". Not every
    red cell is marked. ``root`` is the folder of the data set, or one that holds it as bccd/; by default where ``minidl data get
    bccd`` puts it. Otherwise as ``VOCDetection``. Raises DataError where there is none.
    """

    def __init__(self, root=None, image_set: str = "train", transform: Callable | None = None):
        folder = find_folder("bccd", ("BCCD", "Annotations"), root)
        super().__init__(folder / "BCCD" if (folder / "BCCD").is_dir() else folder, image_set, transform=transform)


def voc_folder(root, year: int | None = None) -> Path:
    """The folder with ImageSets/, Annotations/ and JPEGImages/ that is ``root`` or lies in it; raises DataError if there is none,
    or several and no ``year`` to choose one.
    """
    root, named = Path(root), f"VOC{year or '[0-9]*'}"
    found = sorted(path for pattern in (named, f"VOCdevkit/{named}") for path in root.glob(pattern) if _is_voc(path))
    if _is_voc(root) and (year is None or not found):
        found = [root]
    if len(found) > 1:
        raise DataError(f"{root} has {', '.join(path.name for path in found)}: say which year")
    if not found:
        raise DataError(f"{root}: expected ImageSets/, Annotations/ and JPEGImages/ in it, in {named}/ or in VOCdevkit/{named}/")
    return found[0]


def _is_voc(folder: Path) -> bool:
    return all((folder / part).is_dir() for part in ("ImageSets/Main", "Annotations", "JPEGImages"))


def _listed(folder: Path, image_set: str) -> list[str]:
    """The names in a list of pictures."""
    path = folder / f"{image_set}.txt"
    if not path.is_file():
        others = ", ".join(sorted(path.stem for path in folder.glob("*.txt")))
        raise DataError(f"{path}: there is no such list; there are {others or 'none'}")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    try:
        names = [line.strip() for line in data.decode("utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: no list of names: {error}") from None
    if not names or len(data) > MOST_BYTES or len(set(names)) != len(names):
        raise DataError(f"{path}: expected a name of a picture on each line, none of them twice, in at most {MOST_BYTES:,} bytes")
    return names


def _classes(folder: Path) -> Sequence[str]:
    """VOC's twenty, or the names of all objects, where these are others. A file that cannot be read is left to the one who wants
    its picture.
    """
    found = set()
    for path in folder.glob("*.xml"):
        try:
            found.update(each.name for each in read_annotation(path).objects)
        except DataError:
            continue
    return VOC_CLASSES if found <= set(VOC_CLASSES) else sorted(found)
