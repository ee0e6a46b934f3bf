"""COCO's instances and persons, and every data set whose annotations are written as theirs.

Source: T.-Y. Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014, and https://cocodataset.org/#format-data. One
JSON file lists images (id, file_name, width, height), categories (id, name), and annotations: image_id, category_id, bbox (x, y,
width, height, from edge to edge), area of the mask, iscrowd, segmentation, and of persons keypoints. Category ids need not be
contiguous: labels here are places in ``classes``, which are sorted by id.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from minidl.data.detection import DetectionDataset, check_size, target_of
from minidl.data.image import read_image
from minidl.data.places import file_inside, find_folder
from minidl.errors import DataError
from minidl.io import strict_json

# The id of each of the 80 categories; the ten that are missing up to 90 were planned and not annotated.
CATEGORIES = {
    1: "person", 2: "bicycle", 3: "car", 4: "motorcycle", 5: "airplane", 6: "bus", 7: "train", 8: "truck", 9: "boat",
    10: "traffic light", 11: "fire hydrant", 13: "stop sign", 14: "parking meter", 15: "bench", 16: "bird", 17: "cat", 18: "dog",
    19: "horse", 20: "sheep", 21: "cow", 22: "elephant", 23: "bear", 24: "zebra", 25: "giraffe", 27: "backpack", 28: "umbrella",
    31: "handbag", 32: "tie", 33: "suitcase", 34: "frisbee", 35: "skis", 36: "snowboard", 37: "sports ball", 38: "kite",
    39: "baseball bat", 40: "baseball glove", 41: "skateboard", 42: "surfboard", 43: "tennis racket", 44: "bottle",
    46: "wine glass", 47: "cup", 48: "fork", 49: "knife", 50: "spoon", 51: "bowl", 52: "banana", 53: "apple", 54: "sandwich",
    55: "orange", 56: "broccoli", 57: "carrot", 58: "hot dog", 59: "pizza", 60: "donut", 61: "cake", 62: "chair", 63: "couch",
    64: "potted plant", 65: "bed", 67: "dining table", 70: "toilet", 72: "tv", 73: "laptop", 74: "mouse", 75: "remote",
    76: "keyboard", 77: "cell phone", 78: "microwave", 79: "oven", 80: "toaster", 81: "sink", 82: "refrigerator", 84: "book",
    85: "clock", 86: "vase", 87: "scissors", 88: "teddy bear", 89: "hair drier", 90: "toothbrush",
}
MOST_BYTES = 1 << 30  # of a file; that of COCO's 118,287 images for training has 449 MB
MOST_SIDE = 1 << 16
FARTHEST = 1e7  # of a coordinate


class CocoDetection(DetectionDataset):
    """The pictures of one annotation file, with the objects in them.

    Args:
        root: the folder of the pictures, such as ``val2017/``. By default both are found where ``minidl data get coco2017`` puts
            them: then ``annFile`` is the name of a file there, and its pictures are in the folder that its name ends with.
        annFile: the JSON file, such as ``annotations/instances_val2017.json``.
        transform: see ``minidl.data.box_transforms``.

    Samples are (image, target), see ``minidl.data.detection``, by rising image id; crowds are ``difficult``. The target has
    ``area``, and ``keypoints`` where the categories have some. Boxes are clipped to their picture; objects of which nothing is
    left are left out, and ``left_out`` has their annotation ids. Masks stay as they are written: ``segmentations(index)``.
    ``category_ids`` has the file's id of each label.

    Raises DataError, with the place in the file, for what is not as described, such as numbers that are text, ids that are
    unknown or come twice, and negative widths. Reading a picture raises DataError, which a loader may skip, for one that is
    missing, damaged, outside of ``root``, or of another size.

    >>> import json, tempfile, PIL.Image
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     PIL.Image.new("RGB", (8, 6)).save(f"{folder}/one.jpg")
    ...     _ = Path(folder, "cats.json").write_text(json.dumps({
    ...         "images": [{"id": 7, "file_name": "one.jpg", "width": 8, "height": 6}], "categories": [{"id": 17, "name": "cat"}],
    ...         "annotations": [{"id": 1, "image_id": 7, "category_id": 17, "bbox": [1, 2, 3, 4], "iscrowd": 0}]}))
    ...     image, target = CocoDetection(folder, f"{folder}/cats.json")[0]
    >>> image.shape, target["boxes"].tolist(), target["labels"].tolist(), target["image_id"].item()
    ((3, 6, 8), [[1.0, 2.0, 4.0, 6.0]], [0], 7)
    """

    def __init__(self, root=None, annFile="instances_val2017.json", transform: Callable | None = None):
        super().__init__(transform)
        if root is None:
            folder = find_folder("coco2017", ("annotations",))
            root, annFile = folder / Path(annFile).stem.rpartition("_")[2], folder / "annotations" / annFile
        self.root, self.path = Path(root), Path(annFile)
        data = _read(self.path)
        try:
            self.images, categories, annotations = (_table(data, part) for part in ("images", "categories", "annotations"))
            self.category_ids = tuple(sorted(categories))
            self._labels = {number: label for label, number in enumerate(self.category_ids)}
            self.classes, self.keypoint_names = _names([categories[number] for number in self.category_ids])
            self.ids = sorted(self.images)
            for number in self.ids:
                _check_image(number, self.images[number])
            self.objects, self.left_out = {number: [] for number in self.ids}, []
            for number, entry in annotations.items():
                self._add(number, entry)
        except DataError as error:
            raise DataError(f"{self.path}: {error}") from None

    def __len__(self):
        return len(self.ids)

    def load(self, index: int) -> tuple[np.ndarray, dict]:
        """A picture and its target."""
        number = self.ids[index]
        found, objects = self.images[number], self.objects[number]
        image = read_image(file_inside(self.root, found["file_name"]))
        check_size(image, found["width"], found["height"], found["file_name"])
        more = {"area": np.array([each["area"] for each in objects], np.float64)}
        if self.keypoint_names:
            unknown = [0] * 3 * len(self.keypoint_names)
            points = np.array([each.get("keypoints", unknown) for each in objects], np.float32)
            more["keypoints"] = points.reshape(len(objects), len(self.keypoint_names), 3)
        labels = [self._labels[each["category_id"]] for each in objects]
        return image, target_of([each["box"] for each in objects], labels, number, [each["iscrowd"] for each in objects], **more)

    def name(self, image_id: int) -> str:
        """The file's name."""
        return self.images[image_id]["file_name"]

    def segmentations(self, index: int) -> list:
        """For each object of a picture what the file says of its mask: a list of polygons [x1, y1, x2, y2, ...], or a run-length
        code with the picture's ``size`` and ``counts``, a list of lengths, column by column, or COCO's text form; or None.

        Raises DataError for polygons of fewer than three points, and for lengths that do not add up to the picture.
        """
        number = self.ids[index]
        return [_segmentation(each, self.images[number]) for each in self.objects[number]]

    def _add(self, number: int, entry: dict) -> None:
        """An annotation, checked, among those of its image."""
        where = f"annotation {number}"
        image = self.images.get(_whole(entry, "image_id", where))
        if image is None:
            raise DataError(f"{where}: there is no image {entry['image_id']}")
        if _whole(entry, "category_id", where) not in self._labels:
            raise DataError(f"{where}: there is no category {entry['category_id']}")
        x, y, width, height = _numbers(entry.get("bbox"), f"{where}: bbox", 4)
        if width < 0 or height < 0:
            raise DataError(f"{where}: its bbox (x, y, width, height) has a negative side: {entry['bbox']}")
        area, crowd = entry.get("area", width * height), entry.get("iscrowd", 0)
        _numbers([area], f"{where}: area", 1)
        if crowd not in (0, 1):
            raise DataError(f"{where}: iscrowd must be 0 or 1, got {_shown(crowd)}")
        box = [min(max(edge, 0), side) for edge, side in zip((x, y, x + width, y + height), 2 * (image["width"], image["height"]),
                                                            strict=True)]
        if box[0] >= box[2] or box[1] >= box[3]:
            self.left_out.append(number)
            return
        if "keypoints" in entry and self.keypoint_names:
            _check_keypoints(entry["keypoints"], f"{where}: keypoints", len(self.keypoint_names))
        self.objects[entry["image_id"]].append(entry | {"box": box, "area": area, "iscrowd": bool(crowd)})


def _read(path: Path) -> dict:
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
        if len(text) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
        data = strict_json.parse(text)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError as error:
        raise DataError(f"{path}: no JSON that can be read: {error}") from None
    if not isinstance(data, dict):
        raise DataError(f"{path}: expected an object with images, categories and annotations, got {_shown(data)}")
    return data


def _table(data: dict, part: str) -> dict[int, dict]:
    """A list of entries by id."""
    found, entries = {}, data.get(part)
    if not isinstance(entries, list):
        raise DataError(f"{part} must be a list, got {_shown(entries)}")
    for place, entry in enumerate(entries):
        if not isinstance(entry, dict):
            raise DataError(f"{part}[{place}] must be an object, got {_shown(entry)}")
        number = _whole(entry, "id", f"{part}[{place}]")
        if number in found:
            raise DataError(f"two {part} have the id {number}")
        found[number] = entry
    return found


def _names(categories: list[dict]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of categories, and of the keypoints that they have."""
    names = [_text(category, "name", f"category {category['id']}") for category in categories]
    if len(set(names)) != len(names):
        raise DataError("two categories have the same name")
    points = [category["keypoints"] for category in categories if "keypoints" in category]
    if not all(isinstance(each, list) and all(isinstance(name, str) for name in each) and each == points[0] for each in points):
        raise DataError("the keypoints of all categories must be one and the same list of names")
    return tuple(names), tuple(points[0]) if points else ()


def _check_image(number: int, entry: dict) -> None:
    _text(entry, "file_name", f"image {number}")
    for side in ("width", "height"):
        if not 1 <= _whole(entry, side, f"image {number}") <= MOST_SIDE:
            raise DataError(f"image {number}: {side} must be from 1 to {MOST_SIDE:,}, got {entry[side]}")


def _check_keypoints(points, what: str, count: int) -> None:
    for k, number in enumerate(_numbers(points, what, 3 * count)):
        if k % 3 == 2 and number not in (0, 1, 2):
            raise DataError(f"{what}: each third number must be 0, 1 or 2, got {number}")


def _segmentation(entry: dict, image: dict):
    found, where = entry.get("segmentation"), f"annotation {entry['id']}: segmentation"
    if found is None:
        return None
    if isinstance(found, list):
        for polygon in found:
            if len(_numbers(polygon, where)) < 6 or len(polygon) % 2:
                raise DataError(f"{where}: a polygon needs three points or more, two numbers each, got {len(polygon)} numbers")
        return found
    if not isinstance(found, dict) or found.get("size") != [image["height"], image["width"]]:
        raise DataError(f"{where}: expected polygons, or a run-length code with the size {[image['height'], image['width']]}")
    counts = found.get("counts")
    if isinstance(counts, str):
        return found
    lengths = _numbers(counts, where)
    if not all(isinstance(n, int) and n >= 0 for n in lengths) or sum(lengths) != image["height"] * image["width"]:
        raise DataError(f"{where}: the lengths must be whole numbers that add up to {image['height'] * image['width']}")
    return found


def _whole(entry: dict, key: str, where: str) -> int:
    value = entry.get(key)
    if type(value) is not int or not -(2**63) <= value < 2**63:  # nor a bool
        raise DataError(f"{where}: {key} must be a whole number of 64 bits, got {_shown(value)}")
    return value


def _text(entry: dict, key: str, where: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: {key} must be text, got {_shown(value)}")
    return value


def _numbers(value, what: str, count: int | None = None) -> list:
    """A list of numbers that are not too large, and of so many if that is said."""
    if not isinstance(value, list) or count not in (None, len(value)):
        raise DataError(f"{what} must be a list of {'' if count is None else f'{count} '}numbers, got {_shown(value)}")
    for number in value:
        if type(number) not in (int, float) or not -FARTHEST <= number <= FARTHEST:
            raise DataError(f"{what} must be numbers of at most {FARTHEST:,.0f}, got {_shown(number)}")
    return value


def _shown(value) -> str:
    if isinstance(value, list | dict):
        return f"{'a list' if isinstance(value, list) else 'an object'} of {len(value)}"
    text = "nothing" if value is None else repr(value)
    return text if len(text) <= 60 else text[:60] + "..."
