"""The benchmark of regions and of suppression, in small: that it runs, not what it measures."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks import harness, regions


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setattr(regions, "seconds", lambda function, **_: harness.seconds(function, 1, 0))
    monkeypatch.setattr(regions, "SIZES", {"a": ((2, 9, 5, 6), 3, 2, 16)})
    monkeypatch.setattr(regions, "COUNTS", (2, 4))
    monkeypatch.setattr(regions, "GROWING", (1, 49, 3, 4))
    monkeypatch.setattr(regions, "BOXES", (5, 9))
    monkeypatch.setattr(regions, "SLOW", 9)
    monkeypatch.setattr(regions, "GROUPS", ((2, 3),))


@pytest.mark.parametrize("case", regions.OPS)
def test_pooling(case):
    times = regions.measure("minidl", case)
    assert set(times) == {"a forward", "a forward+backward", "growth: 2 RoIs", "growth: 4 RoIs"} and min(times.values()) > 0
    found = regions.rates(case, {row: {"minidl": 4e-6} for row in times})
    assert found == {"growth: 2 RoIs": {"us a RoI": pytest.approx(2)}, "growth: 4 RoIs": {"us a RoI": pytest.approx(1)}}


def test_suppression():
    times = regions.measure("minidl", "nms")
    assert set(times) == {"5 boxes", "9 boxes", "batched, 2 of 3 boxes"} and min(times.values()) > 0
    assert regions.rates("nms", {row: {"minidl": 1.0} for row in times}) == {}


def test_boxes_lie_in_the_picture_and_overlap():
    from minidl.ops import nms

    boxes = regions.clustered(500, (60, 80))
    assert boxes.shape == (500, 4) and boxes.dtype == np.float32 and (boxes[:, :2] <= boxes[:, 2:]).all()
    assert boxes.min() == 0 and boxes[:, 0::2].max() == 80 and boxes[:, 1::2].max() == 60
    assert len(nms(boxes, np.arange(500.0), 0.7)) < 250


LACKING = """
from benchmarks import harness, regions

regions._libraries = lambda framework, known=regions._libraries: known(framework) if framework == "minidl" else (None, None)
regions.BOXES = regions.GROUPS = ()

if __name__ == "__main__":
    harness.main("lacking_for_test", "A test.", ("json",), 1, ("nms",))


def measure(framework, case):
    return regions.measure(framework, case) or ({"row": 1.0} if framework == "minidl" else {})
"""


def test_a_peer_without_compiled_operators_is_left_out(tmp_path):
    (tmp_path / "lacking_for_test.py").write_text(LACKING)
    path = os.pathsep.join([str(tmp_path), str(harness.ROOT)])
    result = subprocess.run([sys.executable, "-m", "lacking_for_test", "--out", str(tmp_path)], capture_output=True, text=True,
                            env=os.environ | {"PYTHONPATH": path})
    assert result.returncode == 0, result.stderr
    assert "torchvision's compiled operators do not load, and are left out of nms" in result.stderr
    report = json.loads((tmp_path / "lacking_for_test.json").read_text())
    assert report["rows"] == {"nms row": {"seconds": {"minidl": 1.0}, "ratio": {}}} and set(report["versions"]) == {"minidl"}
