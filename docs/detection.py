"""The pictures of docs/detection.md: ``python docs/detection.py RUN``, where RUN is one of ``minidl train faster-rcnn``."""

import sys
from pathlib import Path

import numpy as np
import PIL.Image

import minidl
from minidl.cli.detectors import trained
from minidl.data import Scenes
from minidl.models.detect import pictures, stages
from minidl.models.detect.parts.inputs import Inputs
from minidl.models.detect.proposals import felzenszwalb, selective_search
from minidl.models.detect.rcnn import warp
from minidl.study.pictures import figure_of
from minidl.study.segments import draw_segments

HERE = Path(__file__).resolve().parent / "detection"
SCENE, SHOWN = 4, 24  # of the test scenes; proposals that are drawn


def proposals(image, boxes):
    """Segments, from which Selective Search starts, and the first of its boxes."""
    figure = figure_of(10, 3.6)
    grid = figure.subplots(1, 3)
    grid[0].imshow(image.transpose(1, 2, 0))
    grid[1].imshow(draw_segments(image, felzenszwalb(image, scale=50, sigma=0.8, min_size=50)))
    pictures.show(grid[2], image, boxes[:SHOWN])
    for axes, title in zip(grid, ("a scene", "its segments", f"the first {SHOWN} of {len(boxes)} boxes"), strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    return figure


def windows(image, boxes, size: int = 64):
    """What R-CNN's network sees of the first boxes."""
    batch = Inputs(min(image.shape[1:]), max(image.shape[1:]), mean=(0, 0, 0), deviation=(1, 1, 1), multiple=1)([image], "cpu")
    rois = minidl.tensor(np.concatenate([np.zeros((SHOWN, 1), np.float32), boxes[:SHOWN]], 1))
    figure = figure_of(10, 2.8)
    for axes, window in zip(figure.subplots(2, SHOWN // 2).ravel(), warp(batch.images, rois, size, 5).numpy(), strict=True):
        axes.imshow(np.clip(window.transpose(1, 2, 0), 0, 1))
        axes.set_axis_off()
    return figure


def main(run: str) -> None:
    HERE.mkdir(exist_ok=True)
    image, _ = Scenes(train=False)[SCENE]
    boxes = selective_search(image, min_side=8)
    model, _ = trained(run)
    drawn = {"proposals": proposals(image, boxes), "windows": windows(image, boxes),
             "stages": stages.picture(image, stages.stages(model, image), model.classes)}
    for name, figure in drawn.items():
        figure.savefig(HERE / f"{name}.png", dpi=80, bbox_inches="tight")
    for name in ("curves", "precision-recall", "detections"):
        (HERE / f"{name}.png").write_bytes((Path(run) / f"{name}.png").read_bytes())
    for path in HERE.glob("*.png"):  # noise makes large files of them
        PIL.Image.open(path).convert("RGB").quantize(256).save(path, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
