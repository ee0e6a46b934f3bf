"""PASCAL VOC: coordinates, classes, folders, and files that mean no good."""

import shutil

import numpy as np
import pytest
from PIL import Image

from minidl.data import DataLoader, VOCDetection, detection_collate
from minidl.data.voc import VOC_CLASSES
from minidl.data.voc_xml import MOST_BYTES, parse_annotation, read_annotation
from minidl.errors import DataError, UsageError
from tests.data.real import real_data
from tests.data.voc_files import annotation_xml, object_xml, write_voc


def test_coordinates_and_flags(tmp_path):
    """Pixels 2 to 10 of a row, counted from 1, are a box from 1.0 to 10.0."""
    write_voc(tmp_path, {"a": annotation_xml(
        object_xml("dog", (2, 3, 10, 12), difficult=1), object_xml("cat", (1, 1, 20, 15), truncated=1, pose="Left"),
        object_xml("dog", (3.5, 4.25, 5.75, 9)), object_xml("cat", (7, 7, 7, 7)))})
    image, target = VOCDetection(tmp_path, "train")[0]
    assert image.shape == (3, 15, 20) and image.dtype == np.uint8
    assert target["boxes"].tolist() == [[1, 2, 10, 12], [0, 0, 20, 15], [2.5, 3.25, 5.75, 9], [6, 6, 7, 7]]
    assert target["boxes"].dtype == np.float32
    assert [VOC_CLASSES[k] for k in target["labels"]] == ["dog", "cat", "dog", "cat"]
    assert target["difficult"].tolist() == [True, False, False, False]
    assert target["truncated"].tolist() == [False, True, False, False]
    assert target["image_id"] == 0


def test_boxes_that_leave_the_picture(tmp_path):
    folder = write_voc(tmp_path, {
        "over": annotation_xml(object_xml(box=(0, -3, 25, 15.5))), "beyond": annotation_xml(object_xml(box=(21, 1, 30, 5))),
        "before": annotation_xml(object_xml(box=(-9, 1, 0, 5)))})
    voc = VOCDetection(folder, "train")
    assert voc[0][1]["boxes"].tolist() == [[0, 0, 20, 15]]
    for index in (1, 2):
        with pytest.raises(DataError, match="of a dog is outside of the picture of 20 x 15"):
            voc[index]


def test_pictures_without_objects(tmp_path):
    target = VOCDetection(write_voc(tmp_path, {"a": annotation_xml()}), "train")[0][1]
    assert target["boxes"].shape == (0, 4) and target["labels"].shape == target["truncated"].shape == (0,)


def test_parts_of_persons_are_not_objects(tmp_path):
    head = "<part><name>head</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></part>"
    text = annotation_xml(object_xml("person").replace("</object>", 2 * head + "</object>"))
    target = VOCDetection(write_voc(tmp_path, {"a": text}), "train")[0][1]
    assert target["boxes"].tolist() == [[1, 2, 10, 12]]


def test_classes(tmp_path):
    one = write_voc(tmp_path / "voc", {"a": annotation_xml(object_xml("tvmonitor"))})
    assert VOCDetection(one, "train").classes == VOC_CLASSES
    cells = {"a": annotation_xml(object_xml("WBC")), "b": annotation_xml(object_xml("RBC"), object_xml("cat")), "c": b"<broken"}
    folder = write_voc(tmp_path / "cells", cells, {"train": "a", "test": "b"})
    assert VOCDetection(folder, "train").classes == VOCDetection(folder, "test").classes == ("RBC", "WBC", "cat")
    chosen = VOCDetection(folder, "test", classes=["cat", "RBC"])
    assert chosen[0][1]["labels"].tolist() == [1, 0]
    fewer = VOCDetection(folder, "test", classes=["cat"])
    with pytest.raises(DataError, match="b: an object is of the unknown class 'RBC'; the classes are cat.*unknown='skip'"):
        fewer[0]
    left = VOCDetection(folder, "test", classes=["cat"], unknown="skip")[0][1]
    assert left["labels"].tolist() == [0] and left["truncated"].shape == left["difficult"].shape == (1,)
    with pytest.raises(UsageError, match="'raise' or 'skip'"):
        VOCDetection(folder, "test", unknown="ignore")


@pytest.mark.parametrize("place", ["", "VOC2007", "VOCdevkit/VOC2007"])
def test_every_layout(tmp_path, place):
    write_voc(tmp_path / place, {"a": annotation_xml(object_xml())}, suffix=".png")
    for year in (None, 2007):
        assert VOCDetection(tmp_path, "train", year).folder == tmp_path / place


def test_several_years(tmp_path):
    for year in (2007, 2012):
        write_voc(tmp_path / f"VOCdevkit/VOC{year}", {str(year): annotation_xml(object_xml())})
    assert VOCDetection(tmp_path, "train", 2012).names == ["2012"]
    with pytest.raises(DataError, match="VOC2007, VOC2012: say which year"):
        VOCDetection(tmp_path, "train")
    with pytest.raises(DataError, match=r"expected ImageSets/, Annotations/ and JPEGImages/ in it, in VOC2010/"):
        VOCDetection(tmp_path, "train", 2010)
    with pytest.raises(DataError, match="expected ImageSets/"):
        VOCDetection(tmp_path / "nowhere")


def test_lists(tmp_path):
    folder = write_voc(tmp_path, {"a b": annotation_xml(), "c": annotation_xml()},
                       {"train": "c\r\n\r\n a b \n", "twice": "c\nc", "empty": "\n", "binary": "ok"})
    assert VOCDetection(folder, "train").names == ["c", "a b"]
    (folder / "ImageSets/Main/binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="val.txt: there is no such list; there are binary, empty, train, twice"):
        VOCDetection(folder, "val")
    for wrong in ("twice", "empty", "binary"):
        with pytest.raises(DataError, match=f"{wrong}.txt: (no list|expected a name)"):
            VOCDetection(folder, wrong)


@pytest.mark.parametrize(("name", "message"), [
    ("../../secret", "not the name of a file in"), ("/etc/passwd", "not the name of a file in"),
    ("a\0b", "not the name of a file in"), ("link", "not the name of a file in"), ("none", "none.xml: cannot be read: No such"),
    ("x" * 3000, "not the name|cannot be read"), ("circle", "not the name of a file in|cannot be read"),
])
def test_names_that_lead_elsewhere(tmp_path, name, message):
    folder = write_voc(tmp_path / "voc", {"a": annotation_xml()}, {"train": name})
    (tmp_path / "secret.xml").write_text(annotation_xml())
    (folder / "Annotations/link.xml").symlink_to(tmp_path / "secret.xml")
    (folder / "Annotations/circle.xml").symlink_to(folder / "Annotations/circle.xml")
    with pytest.raises(DataError, match=message):
        VOCDetection(folder, "train")[0]


def test_pictures_that_are_missing_or_other(tmp_path):
    folder = write_voc(tmp_path, {"a": annotation_xml(), "b": annotation_xml(width=15, height=20),
                                  "c": annotation_xml(width=0, height=0), "d": annotation_xml(), "e": annotation_xml()})
    (folder / "JPEGImages/a.jpg").unlink()
    (folder / "JPEGImages/d.jpg").write_bytes(b"no picture")
    (folder / "JPEGImages/e.jpg").unlink()
    (folder / "JPEGImages/e.jpg").symlink_to(folder / "Annotations/e.xml")
    voc = VOCDetection(folder, "train")
    for index, message in ((0, "JPEGImages/a: there is no such picture"), (1, "of a picture of 15 x 20 pixels, it has 20 x 15"),
                           (3, "d.jpg: not a picture"), (4, "'e.jpg' is not the name of a file in")):
        with pytest.raises(DataError, match=message):
            voc[index]
    assert voc[2][0].shape == (3, 15, 20)
    loader = DataLoader(voc, 2, on_error="skip", collate_fn=detection_collate)
    assert sum(len(images) for images, _ in loader) == 1 and sorted(loader.skipped) == [0, 1, 3, 4]


def test_masks(tmp_path):
    folder = write_voc(tmp_path, {"a": annotation_xml(object_xml("dog"), object_xml("cow"), object_xml("cat"))})
    (folder / "SegmentationObject").mkdir()
    owner = np.zeros((15, 20), np.uint8)
    owner[2:12, 1:10], owner[3:5, 3:5], owner[0] = 1, 3, 255
    picture = Image.fromarray(owner).convert("P")
    picture.putpalette([k % 256 for k in range(768)])
    picture.save(folder / "SegmentationObject/a.png")
    masks = VOCDetection(folder, "train", masks=True)[0][1]["masks"]
    assert masks.dtype == bool
    np.testing.assert_array_equal(masks, [owner == 1, owner == 2, owner == 3])
    few = VOCDetection(folder, "train", classes=["cat"], unknown="skip", masks=True)[0][1]
    np.testing.assert_array_equal(few["masks"], [owner == 3])
    Image.fromarray(owner[:, :9]).save(folder / "SegmentationObject/a.png")
    with pytest.raises(DataError, match="the masks are 9 x 15, the picture 20 x 15"):
        VOCDetection(folder, "train", masks=True)[0]
    Image.new("RGB", (20, 15)).save(folder / "SegmentationObject/a.png")
    with pytest.raises(DataError, match="expected a picture with a palette, got one of mode RGB"):
        VOCDetection(folder, "train", masks=True)[0]


BOMB = ('<!DOCTYPE annotation [<!ENTITY a "aaaaaaaaaa">' + "".join(
    f'<!ENTITY {b} "{10 * f"&{a};"}">' for a, b in zip("abcdefgh", "bcdefghi", strict=True)) + "]><annotation>&i;</annotation>")


@pytest.mark.parametrize(("text", "message"), [
    (BOMB, "document type"),
    ('<!DOCTYPE annotation SYSTEM "file:///etc/passwd"><annotation/>', "document type"),
    ('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>', "document type"),
    ("<annotation>&x;</annotation>", "no XML that can be read: undefined entity"),
    ("<annotation>" + "<a>" * 20, "nested more than 16 deep"),
    ("<a>" * 200_000, "nested more than 16 deep"),
    ("<annotation>" + " " * MOST_BYTES, "more than 1,048,576 bytes"),
    ("", "no element found"), ("<annotation>", "no element found"), ("<annotation></object>", "mismatched tag"),
    (b"\x89PNG\r\n", "no XML"), (b"\xff\xfe<\0a", "no XML"), ('<?xml version="1.0" encoding="nonsense"?><annotation/>', "no XML"),
    ('<?xml version="1.0" encoding="base64"?><annotation/>', "no XML"), ("<html/>", "its root is <html>"),
    ("<annotation><object><name></name></object></annotation>", "object 1: it has no name"),
    ("<annotation><object><name>cat</name></object></annotation>", "object 1: it has no annotation/object/bndbox/xmin"),
    (annotation_xml(object_xml(), object_xml(box=(9, 1, 4, 5))), "object 2: the box of this dog is inverted or empty: xmin 9"),
    (annotation_xml(object_xml(box=(1, 5, 4, 4))), "inverted or empty"),
    (annotation_xml(object_xml(box=(1, "nan", 4, 4))), "ymin is 'nan', expected a number"),
    (annotation_xml(object_xml(box=(1, "1e999", 4, 4))), "ymin is '1e999', expected a number"),
    (annotation_xml(object_xml(box=(1, "one", 4, 4))), "ymin is 'one', expected a number"),
    (annotation_xml(object_xml(box=(1, "9" * 5000, 4, 4))), "expected a number"),
    (annotation_xml(object_xml(difficult="yes")), "difficult is 'yes', expected 0 or 1"),
    (annotation_xml(object_xml(name="dog</name><name>cat")), "it has two of annotation/object/name"),
    (annotation_xml(width="1</width><width>2"), "it has two of annotation/size/width"),
    (annotation_xml(width="wide"), "width is 'wide'"),
])
def test_hostile_annotations(text, message):
    with pytest.raises(DataError, match=message) as caught:
        parse_annotation(text if isinstance(text, bytes) else text.encode(), "bad.xml")
    assert str(caught.value).startswith("bad.xml: ") and len(str(caught.value)) < 300


def test_encodings():
    text = '<?xml version="1.0" encoding="{}"?>' + annotation_xml(object_xml("Vögel"))
    for encoding in ("utf-8", "utf-16", "iso-8859-1"):
        assert parse_annotation(text.format(encoding).encode(encoding)).objects[0].name == "Vögel"


def test_files_cut_off_anywhere(tmp_path):
    """No prefix of an annotation, and no change of one byte, raises anything but DataError."""
    data = annotation_xml(object_xml(difficult=0), object_xml("cat", (1, 1, 5.5, 6))).encode()
    for stop in range(len(data)):
        with pytest.raises(DataError):
            parse_annotation(data[:stop])
    rng = np.random.default_rng(0)
    for _ in range(500):
        changed = bytearray(data)
        changed[rng.integers(len(data))] = rng.integers(256)
        try:
            parse_annotation(bytes(changed))
        except DataError:
            pass
    with pytest.raises(DataError, match="cannot be read"):
        read_annotation(tmp_path)


@pytest.mark.parametrize(("name", "pictures", "objects", "classes"), [
    ("bccd_voc", (205, 87, 72), (2804, 1137, 945), 3), ("nuclei_voc", (196, 42, 42), (5482, 1205, 1164), 1),
    ("coco_mini_voc", (178, 41, 58), (1022, 233, 295), 20)])
def test_real_sets(name, pictures, objects, classes):
    folder = real_data(name)
    for part, count, of_these in zip(("train", "val", "test"), pictures, objects, strict=True):
        voc = VOCDetection(folder, part)
        assert len(voc) == count and len(voc.classes) == classes
        assert sum((~target["difficult"]).sum() for _, target in voc) == of_these


def test_real_masks():
    """In this set, boxes are the exact bounds of the masks."""
    voc = VOCDetection(real_data("nuclei_voc"), "test", masks=True)
    for _, target in (voc[k] for k in range(5)):
        for mask, box in zip(target["masks"], target["boxes"], strict=True):
            rows, columns = np.nonzero(mask)
            assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_a_real_set_with_linked_folders(tmp_path):
    """Whole folders may be links, as those of large sets often are."""
    folder = write_voc(tmp_path / "real", {"a": annotation_xml(object_xml())})
    (tmp_path / "voc").mkdir()
    for part in ("JPEGImages", "Annotations"):
        (tmp_path / "voc" / part).symlink_to(folder / part)
    shutil.copytree(folder / "ImageSets", tmp_path / "voc/ImageSets")
    assert VOCDetection(tmp_path / "voc", "train")[0][1]["labels"].shape == (1,)
