"""`minidl eval` for detectors: average precisions in a table, and their curves."""

from pathlib import Path

from minidl.cli import detectors
from minidl.cli.choices import on_error, one_of
from minidl.errors import UsageError

METRICS = ("voc", "coco")


def run(options) -> None:
    from minidl.data import DataLoader, detection_collate
    from minidl.models.detect.training import detections

    one_of(options.metric, METRICS, "metric")
    out = Path(options.out or Path(options.path or ".") / "precision-recall.png")
    if options.out and options.metric == "coco":
        raise UsageError("--out is for the curves of --metric voc")
    if not out.parent.is_dir():
        raise UsageError(f"--out: there is no folder {out.parent}")
    model, test, batch = _chosen(options)
    loader = DataLoader(test, batch, num_workers=options.workers, collate_fn=detection_collate,
                        on_error=on_error(options.bad_images))
    places = _places(model.classes, test.classes)
    found, targets = [], []
    for each, target in detections(model, _tracked(loader)):
        found.append(_renumbered(each, places))
        targets.append(target)
    for reason in loader.skipped.values():
        print(f"left out: {reason}")
    print(f"{len(targets):,} images, {sum(len(target['labels']) for target in targets):,} objects")
    if options.metric == "voc":
        _voc(found, targets, test.classes, out)
    else:
        _coco(found, targets, test.classes)


def _chosen(options) -> tuple:
    """Detector, test set and batch size, on which the last digits depend: for a run that of its training."""
    if options.path and not options.model and not options.weights:
        model, config = detectors.trained(options.path)
        # In VOC's layout, the classes decide about the labels of the data.
        return model, detectors.data_set(options.data or config["data"], False, model.classes), config.get("batch_size", 1)
    if options.model and options.weights and options.data and not options.path:
        return detectors.published(options.model, options.weights), detectors.data_set(options.data, False), 1
    raise UsageError("give a run folder, or --model, --weights and --data")


def _places(known, wanted) -> dict[int, int]:
    """From the detector's labels to those of the data, which may have fewer classes, or others in their order."""
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise UsageError(f"the detector does not know {', '.join(unknown)}; it knows {', '.join(known)}")
    return {known.index(name): label for label, name in enumerate(wanted)}


def _renumbered(found, places: dict[int, int]):
    """Detections with the labels of the data; those of other classes are left out."""
    import numpy as np

    kept = np.isin(found.labels, list(places))
    labels = np.array([places[label] for label in found.labels[kept].tolist()], np.int64)
    return found._replace(boxes=found.boxes[kept], labels=labels, scores=found.scores[kept])


def _tracked(loader):
    from minidl.train.progress import tracked

    return tracked(loader, "images")


def _voc(found, targets, classes, out: Path) -> None:
    from minidl.cli.results import save_figure
    from minidl.cli.summary import print_table
    from minidl.models.evaluate.voc import evaluate_voc, precision_recall

    result = evaluate_voc(found, targets, classes)
    rows = [(name, f"{curve.objects:,}", _percent(curve.ap)) for name, curve in result.curves.items()]
    print_table([("class", "objects", "AP@0.5"), *rows], 1)
    save_figure(precision_recall(result), out)
    print(f"curves are in {out}")
    print(f"test mAP@0.5 {_percent(result.mean_ap)}")


def _coco(found, targets, classes) -> None:
    from minidl.cli.summary import print_table
    from minidl.models.evaluate.coco import evaluate_coco

    result = evaluate_coco(found, targets, classes)
    print_table([("class", "AP"), *((name, _percent(ap)) for name, ap in result.ap.items())], 1)
    for name, value in result.stats.items():
        print(f"{name:9}  {_percent(value)}")


def _percent(part: float) -> str:
    return "-" if part != part else f"{100 * part:.2f} %"
