"""COCO's annotation files: what they say, and what they must not say."""

import json

import numpy as np
import pytest

from minidl.data import CocoDetection, DataLoader, detection_collate
from minidl.errors import DataError
from minidl.io import strict_json
from tests.data.pictures import encoded
from tests.data.real import real_data


def content(**changes) -> dict:
    """Three pictures 20 x 15, the first without objects, and two categories, of ids that are not contiguous."""
    images = [{"id": number, "file_name": f"{number}.png", "width": 20, "height": 15} for number in (30, 10, 20)]
    categories = [{"id": 90, "name": "dog"}, {"id": 3, "name": "cat"}]
    annotations = [
        {"id": 5, "image_id": 20, "category_id": 90, "bbox": [1, 2.5, 10, 4], "area": 22.5, "iscrowd": 0,
         "segmentation": [[1, 2.5, 11, 2.5, 11, 6.5]]},
        {"id": 6, "image_id": 20, "category_id": 3, "bbox": [0, 0, 20, 15], "area": 300, "iscrowd": 1,
         "segmentation": {"size": [15, 20], "counts": [0, 300]}},
        {"id": 7, "image_id": 30, "category_id": 3, "bbox": [15, 10, 9.5, 7]},
    ]
    return {"info": {}, "images": images, "categories": categories, "annotations": annotations} | changes


def written(folder, data) -> CocoDetection:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    (folder / "instances.json").write_bytes(text)
    for number in (10, 20, 30):
        (folder / f"{number}.png").write_bytes(encoded(np.full((15, 20, 3), number, np.uint8)))
    return CocoDetection(folder, folder / "instances.json")


def annotation(**changes) -> dict:
    return content(annotations=[content()["annotations"][0] | changes])


def image(**changes) -> dict:
    return content(images=[content()["images"][0] | changes], annotations=[])


def test_images_and_targets(tmp_path):
    coco = written(tmp_path, content())
    assert coco.classes == ("cat", "dog") and coco.category_ids == (3, 90)
    assert coco.ids == [10, 20, 30] and len(coco) == 3 and coco.left_out == []
    pixels, target = coco[1]
    assert pixels.shape == (3, 15, 20) and (pixels == 20).all()
    assert target["boxes"].tolist() == [[1, 2.5, 11, 6.5], [0, 0, 20, 15]] and target["boxes"].dtype == np.float32
    assert target["labels"].tolist() == [1, 0] and target["difficult"].tolist() == [False, True]
    assert target["area"].tolist() == [22.5, 300] and target["image_id"] == 20 and "keypoints" not in target
    assert coco[2][1]["boxes"].tolist() == [[15, 10, 20, 15]] and coco[2][1]["area"].tolist() == [66.5]  # clipped
    assert coco[0][1]["boxes"].shape == (0, 4) and coco[0][1]["area"].shape == (0,)


def test_masks_stay_as_they_are_written(tmp_path):
    coco = written(tmp_path, content())
    assert coco.segmentations(1) == [[[1, 2.5, 11, 2.5, 11, 6.5]], {"size": [15, 20], "counts": [0, 300]}]
    assert coco.segmentations(0) == [] and coco.segmentations(2) == [None]
    assert written(tmp_path, annotation(segmentation={"size": [15, 20], "counts": "0l9"})).segmentations(1)[0]["counts"] == "0l9"


@pytest.mark.parametrize("segmentation", [
    [[1, 2, 3, 4]], [[1, 2, 3, 4, 5, 6, 7]], [1, 2, 3, 4, 5, 6], [[1, 2, 3, 4, 5, "6"]], [[1, 2, 3, 4, 5, True]], "text", 5,
    [[1, 2, 3, 4, 5, 1e300]], {"size": [15, 20]}, {"size": [20, 15], "counts": [300]}, {"size": [15, 20], "counts": [299]},
    {"size": [15, 20], "counts": [-1, 301]}, {"size": [15, 20], "counts": [150.0, 150]}, {"counts": [300]}, {}])
def test_masks_that_are_none(tmp_path, segmentation):
    coco = written(tmp_path, annotation(segmentation=segmentation))
    with pytest.raises(DataError, match="annotation 5: segmentation"):
        coco.segmentations(1)


def test_keypoints(tmp_path):
    data = content()
    data["categories"][0]["keypoints"] = ["nose", "tail"]
    data["annotations"][0]["keypoints"] = [4, 5.5, 2, 0, 0, 0]
    coco = written(tmp_path, data)
    assert coco.keypoint_names == ("nose", "tail")
    assert coco[1][1]["keypoints"].tolist() == [[[4, 5.5, 2], [0, 0, 0]], [[0, 0, 0], [0, 0, 0]]]
    assert coco[1][1]["keypoints"].dtype == np.float32 and coco[0][1]["keypoints"].shape == (0, 2, 3)
    for wrong in ([4, 5, 2], [4, 5, 3, 0, 0, 0], [4, "5", 2, 0, 0, 0], None):
        data["annotations"][0]["keypoints"] = wrong
        with pytest.raises(DataError, match="annotation 5: keypoints"):
            written(tmp_path, data)
    data["categories"][1]["keypoints"] = ["nose"]
    with pytest.raises(DataError, match="one and the same list of names"):
        written(tmp_path, data)


def test_objects_without_an_area_are_left_out(tmp_path):
    data = content()
    data["annotations"] += [{"id": 8 + k, "image_id": 20, "category_id": 3, "bbox": box}
                            for k, box in enumerate([[1, 1, 0, 5], [25, 1, 5, 5], [-5, 1, 4, 4], [1, 1, 1, 1]])]
    coco = written(tmp_path, data)
    assert coco.left_out == [8, 9, 10] and len(coco[1][1]["boxes"]) == 3


@pytest.mark.parametrize(("data", "message"), [
    (b"", "no JSON that can be read"), (b"[]", "expected an object with images, categories and annotations, got a list of 0"),
    (b"\xff\xfe\xfd", "no JSON"), (b"[" * 200_000, "no JSON"), (b'{"images": NaN}', "holds the number NaN"),
    (b'{"images": 1e999}', "holds the number 1e999"), (b'{"images": 1, "images": 2}', "names a key twice"),
    (b'{"images": ' + b"9" * 5000 + b"}", "no JSON"), ({}, "images must be a list, got nothing"),
    (content(images={}), "images must be a list, got an object of 0"),
    (content(images=[3]), r"images\[0\] must be an object, got 3"),
    (content(categories=None), "categories must be a list"),
    (content(annotations="all"), "annotations must be a list, got 'all'"),
    (image(id="30"), r"images\[0\]: id must be a whole number of 64 bits, got '30'"),
    (image(id=True), "id must be a whole number"),
    (image(id=2**63), "id must be a whole number"), (image(id=[]), "id must be a whole number"),
    (image(id=1.0), "id must be a whole number"), (image(file_name=7), "image 30: file_name must be text, got 7"),
    (image(file_name=""), "file_name must be text"), (image(width=0), "width must be from 1 to 65,536, got 0"),
    (image(height=10**6), "height must be from 1"), (image(height="15"), "image 30: height must be a whole number"),
    (content(images=2 * content()["images"]), "two images have the id 30"),
    (content(categories=2 * content()["categories"]), "two categories have the id 90"),
    (content(categories=[{"id": 3, "name": "cat"}, {"id": 90, "name": "cat"}]), "two categories have the same name"),
    (content(categories=[{"id": 3}]), "category 3: name must be text, got nothing"),
    (annotation(image_id=11), "annotation 5: there is no image 11"),
    (annotation(image_id=None), "image_id must be a whole number"),
    (annotation(category_id=4), "annotation 5: there is no category 4"),
    (annotation(category_id=[90]), "category_id must be a whole"),
    (annotation(bbox=None), "annotation 5: bbox must be a list of 4 numbers, got nothing"),
    (annotation(bbox=[1, 2, 3]), "4 numbers"),
    (annotation(bbox=[1, 2, "3", 4]), "bbox must be numbers of at most 10,000,000, got '3'"),
    (annotation(bbox=[1, 2, True, 4]), "bbox must be numbers"),
    (annotation(bbox=[1, 2, 1e8, 4]), "bbox must be numbers of at most"),
    (annotation(bbox=[1, 2, -3, 4]), "has a negative side"), (annotation(bbox=[1, 2, 10**400, 4]), "bbox must be numbers"),
    (annotation(area="big"), "annotation 5: area must be numbers"), (annotation(iscrowd=2), "iscrowd must be 0 or 1, got 2"),
    (annotation(iscrowd=[]), "iscrowd must be 0 or 1"),
])
def test_hostile_files(tmp_path, data, message):
    with pytest.raises(DataError, match=message) as caught:
        written(tmp_path, data)
    assert str(caught.value).startswith(str(tmp_path)) and len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(("name", "message"), [("../secret.png", "not the name of a file in"), ("/etc/passwd", "not the name"),
                                               ("link.png", "not the name of a file in"), ("none.png", "there is no such file")])
def test_pictures_that_lie_elsewhere(tmp_path, name, message):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "secret.png").write_bytes(encoded(np.zeros((15, 20, 3), np.uint8)))
    (tmp_path / "pictures/link.png").symlink_to(tmp_path / "secret.png")
    coco = written(tmp_path / "pictures", image(file_name=name))
    with pytest.raises(DataError, match=message):
        coco[0]


def test_damaged_pictures_can_be_skipped(tmp_path):
    coco = written(tmp_path, content())
    (tmp_path / "10.png").write_bytes(b"nothing")
    (tmp_path / "30.png").write_bytes(encoded(np.zeros((20, 15, 3), np.uint8)))
    with pytest.raises(DataError, match="30.png: the annotations are of a picture of 20 x 15 pixels, it has 15 x 20"):
        coco[2]
    loader = DataLoader(coco, 3, on_error="skip", collate_fn=detection_collate)
    assert [len(images) for images, _ in loader] == [1] and sorted(loader.skipped) == [0, 2]
    with pytest.raises(DataError, match="cannot be read: No such file"):
        CocoDetection(tmp_path, tmp_path / "none.json")


JUNK = [None, True, -1, 0, 2**70, 1e300, 0.5, "", "text", [], [[]], {}, [None] * 4, {"size": None, "counts": "~~"}]


def places(value, at=()):
    """Every place in nested lists and objects."""
    for key, item in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*at, key)
        yield from places(item, (*at, key))


def test_junk_anywhere(tmp_path):
    """Whatever stands in whatever place, the file is read or refused with DataError, and so are its pictures."""
    data = content()
    data["categories"][0]["keypoints"] = ["nose"]
    data["annotations"][0]["keypoints"] = [4, 5, 2]
    for place in list(places(data)):
        for junk in JUNK:
            changed = json.loads(json.dumps(data))
            inner = changed
            for key in place[:-1]:
                inner = inner[key]
            inner[place[-1]] = junk
            try:
                coco = written(tmp_path, changed)
                for index in range(len(coco)):
                    coco.segmentations(index)
                    assert np.isfinite(coco[index][1]["boxes"]).all()
            except DataError:
                pass


def test_strict_json():
    assert strict_json.parse(b'{"a": [1, -2.5e3, null, true, "\\u00e9"]}') == {"a": [1, -2500.0, None, True, "é"]}
    for wrong in ("Infinity", "-Infinity", "NaN", "-1e400", '{"a": {"b": 1, "b": 1}}', "[" * 100_000, "{", "1 2"):
        with pytest.raises(ValueError):
            strict_json.parse(wrong)


@pytest.mark.parametrize(("part", "pictures", "objects", "persons"), [("train", 222, 2075, 66), ("val", 51, 491, 15),
                                                                     ("test", 68, 532, 24)])
def test_real_sets(part, pictures, objects, persons):
    folder = real_data("coco_mini_voc")
    coco = CocoDetection(folder / "JPEGImages", folder / f"annotations/instances_{part}.json")
    targets = [target for _, target in coco]
    assert len(coco) == pictures and len(coco.classes) == 80 and coco.left_out == []
    assert sum(len(target["labels"]) for target in targets) == objects
    for index in range(len(coco)):
        assert None not in coco.segmentations(index)
    poses = CocoDetection(folder / "JPEGImages", folder / f"annotations/person_keypoints_{part}.json")
    assert len(poses.keypoint_names) == 17
    assert sum((target["keypoints"][..., 2] > 0).any(1).sum() for _, target in poses) == persons
