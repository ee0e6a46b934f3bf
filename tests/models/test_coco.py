"""COCO's numbers: worked by hand, and against the library's own way from files."""

import contextlib
import io
import json
import subprocess
import sys

import numpy as np
import pytest

from minidl.data import CocoDetection
from minidl.data.detection import target_of
from minidl.errors import DataError, ShapeError
from minidl.models.evaluate.coco import STATS, evaluate_coco
from tests.data.real import real_data
from tests.models.test_voc import FAR, ONE, TWO, found

library = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed: pip install minidl[coco]")


def test_by_hand():
    """One object found with an overlap of 0.72, so at five of ten thresholds, another one exactly; one that is not there."""
    targets = [target_of([ONE], [0], 0), target_of([TWO], [1], 1)]
    detections = [found([[0, 0, 10, 7.2]], [0], [0.9]), found([TWO, FAR], [1, 1], [0.8, 0.9])]
    result = evaluate_coco(iter(detections), iter(targets), ["a", "b", "c"])
    assert list(result.stats) == list(STATS)
    assert result.ap["a"] == pytest.approx(0.5) and result.ap["b"] == pytest.approx(0.5) and np.isnan(result.ap["c"])
    expected = {"AP": 0.5, "AP50": 0.75, "AP75": 0.25, "AP small": 0.5,
                "AR1": 0.25, "AR10": 0.75, "AR100": 0.75, "AR small": 0.75}
    for name, value in result.stats.items():
        assert value == pytest.approx(expected[name], abs=1e-9) if name in expected else np.isnan(value), name


def test_difficult_objects_do_not_count():
    target = target_of([ONE, [0, 0, 60, 60]], [0, 0], 0, difficult=[False, True])
    inside = found([ONE, [20, 20, 30, 30], [40, 40, 50, 50]], [0, 0, 0], [0.5, 0.9, 0.8])
    assert evaluate_coco([inside], [target], ["a"]).stats["AP"] == pytest.approx(1)
    assert evaluate_coco([inside], [target_of([ONE], [0], 0)], ["a"]).stats["AP"] == pytest.approx(1 / 3)


def test_sizes_are_those_of_masks():
    box = [[0, 0, 100, 100]]
    for area, size in ((1000.0, "small"), (5000.0, "medium"), (9999.0, "large")):
        stats = evaluate_coco([found(box, [0], [1])], [target_of(box, [0], 0, area=np.array([area]))], ["a"]).stats
        assert stats[f"AP {size}"] == pytest.approx(1)
        assert all(np.isnan(stats[f"AP {other}"]) for other in {"small", "medium", "large"} - {size})


def test_nothing_found_and_nothing_there():
    assert evaluate_coco([found()], [target_of([ONE], [0], 0)], ["a"]).stats["AP"] == 0
    for detections, targets in (([], []), ([found([ONE], [0], [1])], [target_of([], [], 0)])):
        assert all(map(np.isnan, evaluate_coco(detections, targets, ["a"]).stats.values()))


def test_mistakes():
    with pytest.raises(ShapeError, match="there are 1 targets, and more detections"):
        evaluate_coco([found()] * 2, [target_of([], [], 0)], ["a"])
    with pytest.raises(DataError, match="a detection has a label that is not from 0 to 0"):
        evaluate_coco([found([ONE], [1], [1])], [target_of([], [], 0)], ["a"])


def test_without_the_library():
    code = ("import sys; sys.modules['pycocotools'] = None\n"
            "from minidl.models.evaluate.coco import evaluate_coco\nevaluate_coco([], [], ['a'])")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120).stderr
    assert 'MissingDependencyError: this needs the package pycocotools: pip install "minidl[coco]"' in out


def test_as_the_library_reads_files(tmp_path):
    """Real annotations, crowds among them, and detections near to them, through the library's own loading."""
    folder = real_data("coco_mini_voc")
    path = folder / "annotations/instances_val.json"
    coco, rng = CocoDetection(folder / "JPEGImages", path), np.random.default_rng(0)
    detections, rows = [], []
    numbers = {entry["name"]: entry["id"] for entry in json.loads(path.read_text())["categories"]}
    targets = [target for _, target in coco]
    for target in targets:
        boxes = np.repeat(target["boxes"], 3, 0)
        boxes = boxes + rng.normal(0, 0.1, boxes.shape) * np.tile(boxes[:, 2:] - boxes[:, :2], 2)
        boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + 1)
        each = found(boxes, np.repeat(target["labels"], 3), rng.random(len(boxes)))
        detections.append(each)
        for (x1, y1, x2, y2), label, score in zip(each.boxes.astype(float).tolist(), each.labels, each.scores, strict=True):
            rows.append({"image_id": int(target["image_id"]), "category_id": numbers[coco.classes[label]],
                         "bbox": [x1, y1, x2 - x1, y2 - y1], "score": float(score)})
    with contextlib.redirect_stdout(io.StringIO()):
        from pycocotools.cocoeval import COCOeval

        truth = library.COCO(str(path))
        run = COCOeval(truth, truth.loadRes(rows), "bbox")
        run.evaluate()
        run.accumulate()
        run.summarize()
    stats = evaluate_coco(detections, targets, coco.classes).stats
    np.testing.assert_allclose(list(stats.values()), run.stats, atol=1e-6)  # float32 boxes
    assert 0.1 < stats["AP"] < 0.9
