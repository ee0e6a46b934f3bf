"""What small detectors are worth after training from nothing, from the command line at the default recipes. Minutes each."""

import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from minidl.data import VOCDetection
from tests.data.real import real_data

pytestmark = pytest.mark.bars
HEART = "--overfit", "20", "--epochs", "40", "--every", "40"


def train(folder: Path, model: str, *options: str) -> tuple[float, float]:
    """The mAP@0.5 of the test images in per cent, and minutes of the whole command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "minidl", "train", model, "--out", str(folder), *options]
    last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    minutes = (time.perf_counter() - start) / 60
    print(last, model, *options, f"{minutes:.1f} minutes")
    return float(re.search(r"mAP@0.5 ([\d.]+) %", last)[1]), minutes


@pytest.mark.parametrize(("model", "least"), [("r-cnn", 95), ("fast-rcnn", 92), ("faster-rcnn", 90)])
def test_unseen_scenes(tmp_path, model, least):
    found, minutes = train(tmp_path / "run", model)
    assert found >= least and minutes < 15


@pytest.mark.parametrize(("model", "least"), [("r-cnn", 80), ("fast-rcnn", 80), ("faster-rcnn", 84)])
def test_blood_cells(tmp_path, model, least):
    found, minutes = train(tmp_path / "run", model, "--data", str(real_data("bccd_voc")))
    assert found >= least and minutes < 90


def test_twenty_photographs_are_learnt_by_heart(tmp_path):
    found, _ = train(tmp_path / "run", "faster-rcnn", "--data", str(real_data("coco_mini_voc")), *HEART)
    assert found >= 90


@pytest.mark.parametrize("model", ["r-cnn", "fast-rcnn"])
def test_twenty_photographs_of_large_objects_are_learnt_by_heart(tmp_path, model):
    """Of the first twenty photographs Selective Search misses too many objects, most of them below 20 pixels: what is not
    proposed cannot be learned.
    """
    large_objects(Path(real_data("coco_mini_voc")), tmp_path / "data")
    found, _ = train(tmp_path / "run", model, "--data", str(tmp_path / "data"), "--proposals", "quality", *HEART)
    assert found >= 90


def large_objects(source: Path, folder: Path) -> None:
    """A folder in VOC's layout of the first twenty training pictures with objects, all of them of at least 64x64 pixels."""
    data, names = VOCDetection(source, "train"), []
    for index in range(len(data)):
        boxes = np.asarray(data.load(index)[1]["boxes"])
        if len(boxes) and (boxes[:, 2:] - boxes[:, :2]).prod(1).min() >= 64 * 64:
            names.append(data.name(index))
    lists = folder / "ImageSets/Main"
    lists.mkdir(parents=True)
    for part in ("JPEGImages", "Annotations"):
        (folder / part).symlink_to(source / part)
    for part in ("train", "test"):
        (lists / f"{part}.txt").write_text("\n".join(names[:20]))
