"""The benchmark of R-CNN, Fast and Faster R-CNN, with their small versions on scenes: that it runs, not what it measures."""

import json
import sys
import time

import pytest
from PIL import Image

from benchmarks import region_detectors as benchmark


class Kitchen:
    def chop(self, seconds):
        time.sleep(seconds)

    def cook(self, seconds):
        self.chop(seconds)
        time.sleep(seconds)


def test_a_clock_parts_what_it_watches_from_the_rest():
    kitchen, clock = Kitchen(), benchmark.Clock()
    clock.watch(kitchen, "chop", "regions")
    clock(kitchen.cook, 0.5)  # is forgotten
    took = clock(kitchen.cook, 0.05)
    assert list(took) == list(benchmark.STAGES) and took["proposals"] == took["convolutions"] == 0
    assert 0.05 <= took["regions"] < 0.3 and 0.05 <= took["NMS and the rest"] < 0.3  # there are other processes


def test_ratios():
    rows = ((1, 0, 80, 4), (2, 1, 2, 1), (0.1, 1, 1, 1))
    table = {name: dict(zip(benchmark.STAGES, row, strict=True)) for name, row in zip(benchmark.DETECTORS, rows, strict=True)}
    assert list(benchmark.ratios(table).values()) == pytest.approx([21, 20])


@pytest.fixture
def small(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "DETECTORS", {name: (constructor.replace("vgg16", "small"), watched)
                                                 for name, (constructor, watched) in benchmark.DETECTORS.items()})
    monkeypatch.setattr(benchmark, "PROPOSED", 30)
    monkeypatch.setattr(benchmark, "SIZE", (64, 80))
    monkeypatch.setattr(benchmark, "RESULTS", tmp_path)


def test_what_is_scaled(small):
    pictures = benchmark._pictures("nowhere", "test", 1)
    detector, clock = benchmark.build("R-CNN", 15)
    assert len(detector.proposer(pictures[0])) == 15
    clock.seconds.clear()
    detector.predict(pictures)
    assert set(clock.seconds) == {"proposals", "regions"} and min(clock.seconds.values()) > 0


def test_everything_on_scenes(small, tmp_path, monkeypatch, capsys):
    options = ["--data", str(tmp_path / "nowhere"), "--pictures", "2", "--part", "5", "--picture", str(tmp_path / "bars.png")]
    monkeypatch.setattr(sys, "argv", ["region_detectors", *options])
    benchmark.main()
    report = json.loads((tmp_path / "region_detectors.json").read_text())
    assert report["pictures"] == 2 and report["timed of R-CNN"] == 5 and report["proposals"] == 30
    empty = {(name, stage) for name, row in report["seconds"].items() for stage, took in row.items() if took <= 0}
    assert empty == {("R-CNN", "convolutions")} and list(report["seconds"]) == list(benchmark.DETECTORS)
    said = capsys.readouterr().out
    assert "nowhere is not there" in said and "5 of 30 timed" in said and "Selective Search / RPN" in said
    with Image.open(tmp_path / "bars.png") as drawn:
        assert drawn.width == 990
