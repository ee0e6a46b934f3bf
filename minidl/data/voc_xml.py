"""As much of XML as PASCAL VOC's annotations take. Files are not trusted: no document types, and so no entities; up to 1 MiB; not
deep. Nothing outside of the file is ever read.
"""

import math
from pathlib import Path
from typing import NamedTuple
from xml.parsers import expat

from minidl.errors import DataError

MOST_BYTES, MOST_DEPTH = 1 << 20, 16
SIZE, OBJECT = "annotation/size/", "annotation/object"
SIDES = ("xmin", "ymin", "xmax", "ymax")
ONCE = (SIZE, *(f"{OBJECT}/{leaf}" for leaf in ("name", "difficult", "truncated", "bndbox")))  # or readers would disagree


class Object(NamedTuple):
    """One object: xmin, ymin, xmax, ymax as they are written, 1-based, of the first and last pixels."""

    name: str
    box: tuple[float, float, float, float]
    difficult: bool
    truncated: bool


class Annotation(NamedTuple):
    """What one file says: width and height of the picture, 0 where it does not, and the objects."""

    width: int
    height: int
    objects: list[Object]


def read_annotation(path) -> Annotation:
    """The annotation in a file.

    Raises DataError for a file that is missing, too large, no XML, no annotation, or has a document type; and for an object
    without a name, or one whose box is incomplete or inverted.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from None
    return parse_annotation(data, path)


def parse_annotation(data: bytes, name="annotation") -> Annotation:
    """The same from the bytes of a file, which errors call ``name``.

    >>> parse_annotation(b"<annotation><object><name>cat</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>3.5</xmax><ymax>4</ymax>"
    ...                  b"</bndbox></object></annotation>").objects
    [Object(name='cat', box=(1.0, 2.0, 3.5, 4.0), difficult=False, truncated=False)]
    """
    if len(data) > MOST_BYTES:
        raise DataError(f"{name}: more than {MOST_BYTES:,} bytes, which no annotation has")
    leaves = _Leaves()
    try:
        leaves.parser.Parse(data, True)
        if leaves.root != "annotation":
            raise DataError(f"its root is <{leaves.root}>, expected <annotation>")
        width, height = (int(_number(leaves.whole, SIZE + side, "0")) for side in ("width", "height"))
        return Annotation(width, height, [_object(number, leaf) for number, leaf in enumerate(leaves.objects, 1)])
    except DataError as error:
        raise DataError(f"{name}: {error}") from None
    except (expat.ExpatError, LookupError, ValueError) as error:
        raise DataError(f"{name}: no XML that can be read: {error}") from None


class _Leaves:
    """The texts of a file by the path of their element, those of each object apart."""

    def __init__(self):
        self.root, self.path, self.text = None, [], ""
        self.whole, self.objects = {}, []
        parser = self.parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.StartDoctypeDeclHandler = self._doctype
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._characters

    def _doctype(self, *_):
        raise DataError("it has a document type (<!DOCTYPE>), which may hold entities and is not read")

    def _start(self, tag: str, _) -> None:
        self.path.append(tag)
        self.text = ""
        if len(self.path) > MOST_DEPTH:
            raise DataError(f"elements are nested more than {MOST_DEPTH} deep")
        if len(self.path) == 1:
            self.root = tag
        if "/".join(self.path) == OBJECT:
            self.objects.append({})

    def _characters(self, text: str) -> None:
        self.text += text

    def _end(self, _) -> None:
        path = "/".join(self.path)
        self.path.pop()
        found = self.objects[-1] if path.startswith(OBJECT + "/") else self.whole
        if path in found and path.startswith(ONCE):
            raise DataError(f"it has two of {path}")
        found[path], self.text = self.text.strip(), ""


def _object(number: int, leaves: dict[str, str]) -> Object:
    try:
        name = leaves.get(f"{OBJECT}/name")
        if not name:
            raise DataError("it has no name")
        box = tuple(_number(leaves, f"{OBJECT}/bndbox/{side}") for side in SIDES)
        if box[2] - box[0] <= -1 or box[3] - box[1] <= -1:
            raise DataError(f"the box of this {name} is inverted or empty: {', '.join(map('{} {:g}'.format, SIDES, box))}")
        return Object(name, box, *(_flag(leaves, f"{OBJECT}/{flag}") for flag in ("difficult", "truncated")))
    except DataError as error:
        raise DataError(f"object {number}: {error}") from None


def _number(leaves: dict[str, str], path: str, default: str | None = None) -> float:
    text = leaves.get(path, default)
    if text is None:
        raise DataError(f"it has no {path}")
    try:
        if math.isfinite(number := float(text)):
            return number
    except ValueError:
        pass
    raise DataError(f"{path} is {text[:40]!r}, expected a number")


def _flag(leaves: dict[str, str], path: str) -> bool:
    text = leaves.get(path, "0")
    if text not in ("0", "1"):
        raise DataError(f"{path} is {text[:40]!r}, expected 0 or 1")
    return text == "1"
