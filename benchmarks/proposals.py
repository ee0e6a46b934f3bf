"""Selective Search on photographs: how many of the objects it finds, by size, with how many boxes, in what time."""

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness import RESULTS, ROOT, circumstances

SIZES = {"all": (0, np.inf), "up to 32x32": (0, 32**2), "to 64x64": (32**2, 64**2), "to 128x128": (64**2, 128**2),
         "above": (128**2, np.inf), "64x64 and above": (64**2, np.inf)}
DATA = ROOT.parent / "shared" / "data" / "coco_mini_voc"


class Overlaps(NamedTuple):
    """Of each object its area and its largest overlap with a box; of each picture the number of boxes, and seconds."""

    sizes: np.ndarray
    best: np.ndarray
    counts: list[int]
    seconds: list[float]


def main() -> None:
    """Measure, print, write results/proposals.json, and draw a picture if asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default=DATA, help=f"a folder laid out like VOC's (default {DATA.name} beside the repository)")
    parser.add_argument("--set", default="test", help="the list of pictures (default test)")
    parser.add_argument("--modes", nargs="+", default=["fast"], help="single, fast, quality (default fast)")
    parser.add_argument("--picture", metavar="FILE", help="draw segments and boxes of three photographs")
    options = parser.parse_args()
    if not Path(options.data).is_dir():
        print(f"{options.data} is not there: nothing is measured")
        return
    from minidl.data import VOCDetection

    pictures = VOCDetection(options.data, options.set)
    results = {mode: _summary(overlaps(pictures, mode, range(len(pictures)))) for mode in options.modes}
    report = {"benchmark": "proposals", "description": __doc__, **circumstances(), "set": options.set, "modes": results}
    (RESULTS / "proposals.json").write_text(json.dumps(report, indent=1) + "\n")
    for mode, result in results.items():
        print(f"{mode}: {result['boxes']:.0f} boxes, {result['seconds']:.2f} s a picture (medians of {len(pictures)})")
        for name, row in result["sizes"].items():
            print(f"  {name:16}{row['objects']:5} objects   recall {row['recall']:.3f}   mean best overlap {row['overlap']:.3f}")
    if options.picture:
        _draw(pictures).save(options.picture)


def overlaps(pictures, mode: str, indices: Sequence[int]) -> Overlaps:
    """Run Selective Search on some pictures of a data set; difficult objects do not count."""
    from minidl import tensor
    from minidl.models.detect.proposals import selective_search
    from minidl.ops import box_iou

    sizes, best, counts, seconds = [], [], [], []
    selective_search(np.zeros((3, 8, 8), np.uint8))  # compiles
    for index in indices:
        image, target = pictures[index]
        start = time.perf_counter()
        boxes = selective_search(image, mode)
        seconds.append(time.perf_counter() - start)
        counts.append(len(boxes))
        true = np.asarray(target["boxes"])[~np.asarray(target["difficult"])]
        sizes.append((true[:, 2:] - true[:, :2]).prod(1))
        best.append(box_iou(tensor(true), tensor(boxes)).numpy().max(1, initial=0))
    return Overlaps(np.concatenate(sizes), np.concatenate(best), counts, seconds)


def _summary(found: Overlaps) -> dict:
    rows = {}
    for name, (least, most) in SIZES.items():
        best = found.best[(found.sizes >= least) & (found.sizes < most)]
        rows[name] = {"objects": len(best), "recall": float((best >= 0.5).mean()) if len(best) else float("nan"),
                      "overlap": float(best.mean()) if len(best) else float("nan")}
    return {"boxes": statistics.median(found.counts), "seconds": statistics.median(found.seconds), "sizes": rows}


def _draw(pictures, count: int = 3):
    """Photographs with several objects: their segments, the first twenty boxes, and each object with the best box for it."""
    from PIL import Image

    from minidl import tensor
    from minidl.models.detect.proposals import felzenszwalb, selective_search
    from minidl.ops import box_iou
    from minidl.study.boxes import draw_bounding_boxes
    from minidl.study.segments import draw_segments

    rows = []
    several = (sample for sample in map(pictures.__getitem__, range(len(pictures))) if 1 < len(sample[1]["boxes"]) < 7)
    for image, target in itertools.islice(several, count):
        boxes, true = selective_search(image), np.asarray(target["boxes"])
        best = boxes[box_iou(tensor(true), tensor(boxes)).numpy().argmax(1)]
        found = draw_bounding_boxes(image, np.concatenate([true, best]), [0] * len(true) + [1] * len(true))
        row = [draw_segments(image, felzenszwalb(image, 100, 0.8, 100)), draw_bounding_boxes(image, boxes[:20], range(20)), found]
        rows.append([picture.resize((400, round(400 * picture.height / picture.width))) for picture in row])
    canvas = Image.new("RGB", (3 * 410 - 10, sum(row[0].height + 10 for row in rows) - 10), "white")
    y = 0
    for row in rows:
        for k, picture in enumerate(row):
            canvas.paste(picture, (410 * k, y))
        y += row[0].height + 10
    return canvas


if __name__ == "__main__":
    main()
