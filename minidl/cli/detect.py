"""Find objects in pictures: draw boxes, classes and scores, and write them down.

For each picture IMAGE a picture boxes-IMAGE.png, and for all of them detections.json: of each its path, width and height, and of
each object its box (x1, y1, x2, y2 in pixels), its class and its score. With --stages also stages-IMAGE.png: what each stage of
Faster R-CNN saw, from anchors to the last suppression.

examples:
  minidl detect street.jpg --run runs/faster-rcnn-voc2007
  minidl detect *.jpg --run runs/faster-rcnn-bccd --out found --threshold 0.7
  minidl detect street.jpg --model faster-rcnn-resnet50-fpn --weights coco
  minidl detect scene.png --run runs/faster-rcnn-scenes --stages
"""

import itertools
import json
from collections import Counter
from pathlib import Path

from minidl.cli import detectors
from minidl.cli.choices import DETECTORS, device_option, on_error, use_device
from minidl.errors import DataError, UsageError


def arguments(parser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files: PNG, JPEG, BMP, GIF, WebP or PPM")
    parser.add_argument("--run", metavar="RUN", dest="path", help="a run folder of a detector")
    parser.add_argument("--model", metavar="MODEL", help=f"with --weights, in place of a run: one of {', '.join(DETECTORS)}")
    parser.add_argument("--weights", metavar="coco|FILE", help="published weights, downloaded at first, or a file of such")
    parser.add_argument("--out", metavar="DIR", default="detections", help="where pictures and numbers go (default: detections)")
    parser.add_argument("--threshold", type=float, default=0.5, help="the least score that is told, from 0 to 1 (default: 0.5)")
    parser.add_argument("--stages", action="store_true", help="of Faster R-CNN: draw what each stage sees, too")
    parser.add_argument("--bad-images", default="stop", help="stop, or skip pictures that are damaged (default: stop)")
    device_option(parser)


def run(options) -> None:
    from minidl.io import write_text
    from minidl.models import FasterRCNN
    from minidl.train.progress import tracked
    from minidl.train.versions import command, versions

    if not 0 <= options.threshold <= 1:
        raise UsageError(f"--threshold must be from 0 to 1, got {options.threshold}")
    skip = on_error(options.bad_images) == "skip"
    missing = [path for path in options.images if not Path(path).is_file()]
    if missing and not skip:
        raise DataError(f"{missing[0]}: there is no such file")
    folder = Path(options.out)
    names = _names(options.images, folder)
    use_device(options.device)
    model, name = _chosen(options)
    if options.stages and not isinstance(model, FasterRCNN):
        raise UsageError(f"--stages are for Faster R-CNN, {name} is none")
    folder.mkdir(parents=True, exist_ok=True)
    found, skipped = [], []
    for path, called in zip(tracked(options.images, "pictures"), names, strict=True):
        try:
            found.append(_detected(model, path, folder, called, options))
        except DataError as error:
            if not skip:
                raise
            skipped.append(str(error))
    record = {"command": command(), "versions": versions(), "model": name, "threshold": options.threshold, "images": found}
    write_text(folder / "detections.json", json.dumps(record, indent=1) + "\n")
    for reason in skipped:
        print(f"left out: {reason}")
    for each in found:
        counts = ", ".join(f"{count} {label}" for label, count in sorted(Counter(each["labels"]).items()))
        print(f"{each['path']}: {counts or 'nothing'}")
    print(f"pictures and detections.json are in {folder}")


def _chosen(options) -> tuple:
    """Detector and the name of its model."""
    if options.path and not options.model and not options.weights:
        model, config = detectors.trained(options.path)
        return model, config["model"]
    if options.model and options.weights and not options.path:
        return detectors.published(options.model, options.weights), options.model
    raise UsageError("give --run, or --model and --weights together")


def _names(paths: list[str], folder: Path) -> list[str]:
    """How pictures are called in the folder: as their files, with numbers where several have the same name.

    Raises UsageError where a picture with boxes would take the place of one that is to be read.
    """
    names, inputs = [], {Path(path).resolve() for path in paths}
    for path in paths:
        stem = Path(path).stem
        numbered = (f"{stem}-{k}" for k in itertools.count(2))
        name = next(each for each in itertools.chain([stem], numbered) if each not in names)
        if inputs & {(folder / f"{kind}-{name}.png").resolve() for kind in ("boxes", "stages")}:
            raise UsageError(f"{path}: its boxes would replace a picture in {folder}: choose another --out")
        names.append(name)
    return names


def _detected(model, path: str, folder: Path, name: str, options) -> dict:
    """What is in a picture; it is drawn as well."""
    from minidl.cli.results import save_figure
    from minidl.data.image import read_image
    from minidl.io import atomic_write
    from minidl.models.detect import pictures

    image = read_image(path)
    boxes, labels, scores = pictures.above(model.predict([image])[0], options.threshold)
    with atomic_write(folder / f"boxes-{name}.png") as file:
        pictures.drawn(image, boxes, labels, scores, model.classes).save(file, format="PNG")
    if options.stages:
        from minidl.models.detect.stages import picture, stages

        save_figure(picture(image, stages(model, image), model.classes), folder / f"stages-{name}.png")
    return {"path": str(path), "width": image.shape[2], "height": image.shape[1],
            "labels": [model.classes[label] for label in labels], "boxes": boxes.astype(float).round(2).tolist(),
            "scores": scores.astype(float).round(4).tolist()}
