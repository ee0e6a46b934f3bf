"""Seconds per picture of R-CNN, Fast and Faster R-CNN with VGG-16, stage by stage.

Weights are random, as time alone counts, and every class of every proposal goes into suppression. R-CNN's stages behind the
proposals are timed on a part of them, and scaled.
"""

import argparse
import importlib
import json
import operator
import statistics
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.harness import RESULTS, ROOT, circumstances

STAGES = ("proposals", "convolutions", "regions", "NMS and the rest")
DETECTORS = {  # name: constructor, and which functions of the detector are which stage; what is left of the time is the rest
    "R-CNN": ("rcnn_vgg16", {"proposer": "proposals", "in_chunks": "regions"}),
    "Fast R-CNN": ("fast_rcnn_vgg16", {"proposer": "proposals", "backbone.forward": "convolutions",
                                       "roi_heads.forward": "regions"}),
    "Faster R-CNN": ("faster_rcnn_vgg16", {"backbone.forward": "convolutions", "rpn.forward": "proposals",
                                           "roi_heads.forward": "regions"}),
}
CLASSES = tuple(map(str, range(20)))  # as many as VOC's
PROPOSED = 2000  # of each picture by Selective Search; of an RPN's the best 300 are judged
DATA = ROOT.parent / "shared" / "data" / "coco_mini_voc"
SIZE = (375, 500)  # of scenes in place of photographs


class Clock:
    """Seconds by stage: of each function that it watches, and what is left of the whole for the rest."""

    def __init__(self):
        self.seconds = Counter()

    def watch(self, owner, name: str, stage: str) -> None:
        """Replace a function of an object by one that is timed."""
        setattr(owner, name, self._timed(getattr(owner, name), stage))

    def _timed(self, function, stage: str):
        def timed(*args):
            start = time.perf_counter()
            found = function(*args)
            self.seconds[stage] += time.perf_counter() - start
            return found

        return timed

    def __call__(self, function, *args) -> dict[str, float]:
        """The seconds of each stage in one call of a function."""
        self.seconds.clear()
        start = time.perf_counter()
        function(*args)
        self.seconds["NMS and the rest"] = time.perf_counter() - start - self.seconds.total()
        return {stage: self.seconds[stage] for stage in STAGES}


def main() -> None:
    """Measure, print, write results/region_detectors.json, and draw a picture if asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--data", default=DATA, help=f"a folder laid out like VOC's (default {DATA.name} beside the repository)")
    parser.add_argument("--set", default="test", help="the list of pictures (default test)")
    parser.add_argument("--pictures", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--part", type=int, default=256, help="how many of R-CNN's proposals are timed (default 256)")
    parser.add_argument("--picture", metavar="FILE", help="draw the table")
    options = parser.parse_args()
    pictures = _pictures(options.data, options.set, options.pictures)
    table = {name: _median(measure(name, options.part if name == "R-CNN" else PROPOSED, pictures)) for name in DETECTORS}
    report = {"benchmark": "region_detectors", "description": __doc__, **circumstances(), "pictures": len(pictures),
              "proposals": PROPOSED, "timed of R-CNN": options.part, "seconds": table, "ratios": ratios(table)}
    (RESULTS / "region_detectors.json").write_text(json.dumps(report, indent=1) + "\n")
    show(report)
    if options.picture:
        _draw(report, options.picture)


def _pictures(folder, name, count) -> list[np.ndarray]:
    """The first photographs (3, H, W) of a data set, or scenes of their size where it is absent."""
    from minidl.data import Scenes, VOCDetection

    if not Path(folder).is_dir():
        print(f"{folder} is not there: synthetic scenes take the place of photographs")
        dataset = Scenes(train=False, length=count, size=SIZE)
    else:
        dataset = VOCDetection(folder, name)
    return [dataset[index][0] for index in range(min(count, len(dataset)))]


def measure(name: str, proposed: int, pictures) -> list[dict[str, float]]:
    """The seconds of each stage for each picture, once a first one has warmed up; of a part of the proposals they are scaled."""
    detector, clock = build(name, proposed)
    detector.predict(pictures[:1])
    found = []
    for picture in pictures:
        seconds = clock(detector.predict, [picture])
        found.append({stage: took if stage == "proposals" else took * PROPOSED / proposed for stage, took in seconds.items()})
    return found


def build(name: str, proposed: int):
    """A detector, made fast for inference, and the clock that watches its stages."""
    from minidl.models.detect.proposals import selective_search

    constructor, watched = DETECTORS[name]
    detector = getattr(importlib.import_module("minidl.models"), constructor)(CLASSES).eval().fuse()
    getattr(detector, "roi_heads", detector).score_threshold = 0.0
    if hasattr(detector, "proposer"):
        detector.proposer = lambda picture: np.resize(selective_search(picture), (proposed, 4))  # too few are repeated
    clock = Clock()
    for function, stage in watched.items():
        *owner, function = function.split(".")
        clock.watch(operator.attrgetter(*owner)(detector) if owner else detector, function, stage)
    return detector, clock


def _median(rows: list[dict[str, float]]) -> dict[str, float]:
    return {stage: statistics.median(row[stage] for row in rows) for stage in STAGES}


def ratios(table) -> dict[str, float]:
    """What the two later detectors gained over the one before."""
    behind = {name: sum(row.values()) - row["proposals"] for name, row in table.items()}
    return {"R-CNN / Fast R-CNN, all but the proposals": behind["R-CNN"] / behind["Fast R-CNN"],
            "Selective Search / RPN": table["Fast R-CNN"]["proposals"] / table["Faster R-CNN"]["proposals"]}


def show(report) -> None:
    """Print a report as a table."""
    print(f"seconds per picture, medians of {report['pictures']}; {report['cpu']}")
    print(f"R-CNN behind the proposals: {report['timed of R-CNN']} of {PROPOSED} timed, and scaled")
    print(f"{'':14}" + "".join(f"{stage:>18}" for stage in (*STAGES, "in all")))
    for name, row in report["seconds"].items():
        print(f"{name:14}" + "".join(f"{took:18.3f}" if took else f"{'-':>18}" for took in (*row.values(), sum(row.values()))))
    for name, ratio in report["ratios"].items():
        print(f"{name}: {ratio:.1f}")


def _draw(report, path) -> None:
    """Bars of the stages; R-CNN's are so long that the others have an axis of their own below."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    table = report["seconds"]
    figure, axes = plt.subplots(2, 1, figsize=(9, 4.2), height_ratios=(3, 2), layout="constrained")
    for axis, names in zip(axes, (list(table), list(table)[1:]), strict=True):
        left = np.zeros(len(names))
        for stage, color in zip(STAGES, ("#e08a2c", "#2a6fbb", "#6aa84f", "#8c8c8c"), strict=True):
            widths = np.array([table[name][stage] for name in names])
            axis.barh(names, widths, left=left, color=color, label=stage)
            left += widths
        for place, total in enumerate(left):
            axis.text(total, place, f" {total:.3g} s", va="center")
        axis.set(xlim=(0, left.max() * 1.1))
        axis.invert_yaxis()
    axes[0].legend()
    axes[1].set(xlabel=f"seconds per picture, {report['cpu']}, commit {report['commit']}")
    figure.savefig(path, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    main()
