"""Test accuracy of a classifier, or average precisions of a detector: of a run, or of published weights.

examples:
  minidl eval runs/lenet-digits
  minidl eval runs/lenet-digits --data mnist           on other data than its own
  minidl eval runs/alexnet-imagenette --views ten      the mean over ten crops of each picture
  minidl eval runs/vgg16-imagenette --views dense --scales 256,384,512
  minidl eval --model resnet18 --weights imagenet --data path/to/imagenet
  minidl eval runs/faster-rcnn-scenes                  VOC's average precision of each class, and their curves
  minidl eval runs/faster-rcnn-bccd --metric coco      COCO's twelve numbers
  minidl eval --model faster-rcnn-resnet50-fpn --weights coco --data coco2017
"""

from minidl.cli import detection_scores, detectors
from minidl.cli.choices import (
    DATA,
    DETECTORS,
    MODELS,
    build,
    data_set,
    device_option,
    on_error,
    one_of,
    recorded,
    trained,
    use_device,
)
from minidl.cli.classifiers import evaluation_batch
from minidl.cli.train import MOST_WORKERS
from minidl.errors import UsageError

VIEWS = ("single", "ten", "dense")


def arguments(parser) -> None:
    parser.add_argument("path", metavar="RUN", nargs="?", help="a run folder")
    parser.add_argument("--data", metavar="NAME|DIR", help=f"{', '.join(DATA)}, for detectors "
                        f"{', '.join(detectors.DATA)}, or a folder (default: the data of the run)")
    parser.add_argument("--model", metavar="MODEL", help="with --weights and --data, in place of a run")
    parser.add_argument("--weights", metavar="imagenet|coco|FILE", help="published weights, or a file of weights")
    parser.add_argument("--views", default="single", help=f"of each picture: {', '.join(VIEWS)} (default: single)")
    parser.add_argument("--scales", metavar="N,N,...", default="", help="for dense views, the shorter side (default: 256)")
    parser.add_argument("--metric", default="voc", help="of a detector: voc, or coco's twelve numbers (default: voc)")
    parser.add_argument("--out", metavar="PNG", help="of a detector: the picture of precision and recall (default: "
                                                     "precision-recall.png in the run folder, or here)")
    parser.add_argument("--workers", type=int, default=0, help="processes that decode pictures (default: 0)")
    parser.add_argument("--bad-images", default="stop", help="stop, or skip pictures that are damaged (default: stop)")
    device_option(parser)


def run(options) -> None:
    from minidl.data import DataLoader
    from minidl.train import evaluate

    one_of(options.views, VIEWS, "kind of views")
    if not 0 <= options.workers <= MOST_WORKERS:
        raise UsageError(f"--workers must be from 0 to {MOST_WORKERS}, got {options.workers}")
    use_device(options.device)
    if _is_detector(options):
        detection_scores.run(options)
        return
    model, test, batch = _chosen(options)
    loader = DataLoader(test, batch, num_workers=options.workers, on_error=on_error(options.bad_images))
    found = evaluate(model, loader)
    for reason in loader.skipped.values():
        print(f"left out: {reason}")
    print(f"{len(found['labels']):,} images, loss {found['loss']:.4f}")
    if found["probabilities"].shape[1] > 10:
        print(f"top-1 error {100 - 100 * found['accuracy']:.2f} %, top-5 error {100 - 100 * found['top5_accuracy']:.2f} %")
    print(f"test accuracy {100 * found['accuracy']:.2f} %")


def _is_detector(options) -> bool:
    """Whether a detector is to be judged; raises UsageError for options that are not for its kind."""
    found = (recorded(options.path)[1]["model"] if options.path else options.model) in DETECTORS
    if found and (options.views != "single" or options.scales):
        raise UsageError("--views and --scales are for classifiers")
    if not found and (options.metric != "voc" or options.out):
        raise UsageError("--metric and --out are for detectors")
    return found


def _chosen(options) -> tuple:
    """Model, test set and batch size."""
    if options.path and not options.model and not options.weights:
        model, config = trained(options.path)
    elif options.model and options.weights and options.data and not options.path:
        one_of(options.model, (*MODELS, *DETECTORS), "model")
        model, config = None, {"model": options.model}
    else:
        raise UsageError("give a run folder, or --model, --weights and --data")
    name, views, scales = config["model"], options.views, _scales(options.scales)
    if scales and views != "dense":
        raise UsageError("--scales are for --views dense")
    size = MODELS[name].input_shape[1]
    if views != "single" and (size <= 32 or MODELS[name].module == "linear"):
        raise UsageError(f"{name} reads whole images of {size}x{size}: --views are for networks of larger pictures")
    test = data_set(options.data or config["data"], train=False, model=name)
    classes = len(config.get("classes", test.classes))
    if len(test.classes) != classes:
        raise UsageError(f"the run knows {classes} classes, {options.data} has {len(test.classes)}")
    model = build(name, classes, options.weights) if model is None else model
    batch = evaluation_batch(name)
    if views != "single":
        from minidl.data.transforms import Compose
        from minidl.models.evaluate.ilsvrc import many_views

        model, transform, batch = many_views(model, size, views, scales)
        test.transform = Compose([transform] if transform else [])
    return model, test, batch


def _scales(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",") if part]
    except ValueError:
        raise UsageError(f"--scales takes whole numbers with commas between them, such as 256,384,512, got {text!r}") from None
