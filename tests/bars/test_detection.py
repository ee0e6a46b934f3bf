"""What small detectors are worth after training from nothing, from the command line at the default recipes. Minutes each."""

import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.data.real import real_data

pytestmark = pytest.mark.bars


def train(folder: Path, model: str, *options: str) -> tuple[float, float]:
    """The mAP@0.5 of the test images in per cent, and minutes of the whole command."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "minidl", "train", model, "--out", str(folder), *options]
    last = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
    minutes = (time.perf_counter() - start) / 60
    print(last, model, *options, f"{minutes:.1f} minutes")
    return float(re.search(r"mAP@0.5 ([\d.]+) %", last)[1]), minutes


@pytest.mark.parametrize("model", ["fast-rcnn", "faster-rcnn"])
def test_unseen_scenes(tmp_path, model):
    found, minutes = train(tmp_path / "run", model)
    assert found >= 90 and minutes < 15


def test_blood_cells(tmp_path):
    data = str(real_data("bccd_voc"))
    found, minutes = train(tmp_path / "run", "faster-rcnn", "--data", data, "--epochs", "12", "--every", "12")
    assert found >= 75 and minutes < 90


@pytest.mark.parametrize("model", ["fast-rcnn", "faster-rcnn"])
def test_twenty_photographs_are_learnt_by_heart(tmp_path, model):
    options = "--overfit", "20", "--epochs", "40", "--every", "40"
    found, _ = train(tmp_path / "run", model, "--data", str(real_data("coco_mini_voc")), *options)
    assert found >= 90
