"""The benchmark of proposals, on scenes in place of photographs."""

import sys

import numpy as np
import pytest

from benchmarks import proposals
from minidl.data import Scenes


def test_without_data_it_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(sys, "argv", ["proposals", "--data", str(tmp_path / "nowhere")])
    proposals.main()
    assert "nowhere is not there" in capsys.readouterr().out


def test_overlaps_and_summary():
    scenes = Scenes(length=4, size=(96, 128))
    found = proposals.overlaps(scenes, "single", [0, 3])
    objects = [np.asarray(scenes[k][1]["boxes"]) for k in (0, 3)]
    assert len(found.sizes) == len(found.best) == sum(map(len, objects)) and len(found.counts) == len(found.seconds) == 2
    assert found.sizes[0] == pytest.approx((objects[0][0, 2:] - objects[0][0, :2]).prod())
    summary = proposals._summary(proposals.Overlaps(np.array([100.0, 5000, 4096]), np.array([0.4, 0.5, 0.7]), [3, 5], [0.1, 0.3]))
    assert summary["boxes"] == 4 and summary["seconds"] == pytest.approx(0.2)
    assert summary["sizes"]["64x64 and above"] == {"objects": 2, "recall": 1.0, "overlap": pytest.approx(0.6)}
    assert summary["sizes"]["all"]["recall"] == pytest.approx(2 / 3) and np.isnan(summary["sizes"]["above"]["recall"])


def test_a_picture_of_three_rows():
    assert proposals._draw(Scenes(length=9, size=(40, 80))).size == (1220, 3 * 200 + 20)
