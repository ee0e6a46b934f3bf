"""Train a classifier or a detector, and leave a run folder with curves, pictures and a checkpoint.

examples:
  minidl train lenet                                   LeNet-5 on the digits in the package
  minidl train lenet --data mnist --epochs 3           fewer epochs than the recipe's 10
  minidl train lenet --data mnist --seed 1 --out runs/mnist-1
  minidl train lenet --data path/to/idx-files          images of 28x28 of your own, in MNIST's format
  minidl train lenet --resume runs/mnist-1             go on where a run stopped, to the same bits
  minidl train resnet20 --data cifar10 --epochs 15
  minidl train resnet50 --data imagenet --device cuda  on the GPU
  minidl train alexnet --data path/to/pictures         a folder for each class, perhaps in train/ and val/
  minidl train lenet --overfit 20                      can it learn 20 images by heart?
  minidl train lenet-1998 --data mnist                 as printed in 1998, one image at a time: half an hour
  minidl train faster-rcnn                             a small detector on the scenes in the package
  minidl train faster-rcnn --data bccd
  minidl train fast-rcnn --data path/to/pictures --proposals quality      more boxes, where objects are small
  minidl train faster-rcnn-vgg16 --data path/to/VOC2007 --backbone imagenet
"""

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path

from minidl.cli import classifiers, detectors
from minidl.cli.choices import DATA, DETECTORS, DEVICE, MODELS, on_error, one_of
from minidl.errors import CheckpointError, UsageError

STRETCHED = ("cosine", "steps")  # schedules over the whole of a training
RECIPES = "(default: the recipe's)"
OPTIONS = {  # name: kind, least value, help
    "data": (str, None, f"{', '.join(DATA)}, or a folder of class folders or of idx files (default for grey images: digits); "
                        f"for detectors {', '.join(detectors.DATA)}, or a folder in VOC's layout or with COCO's JSON (default: "
                        "scenes)"),
    "epochs": (int, 1, f"passes over the training images {RECIPES}"),
    "batch_size": (int, 1, f"images in a step {RECIPES}"),
    "accumulate": (int, 1, "batches whose gradients are added up before a step (default: 1)"),
    "lr": (float, 0, f"learning rate at the start {RECIPES}"),
    "schedule": (str, None, f"how the learning rate falls: {', '.join(classifiers.SCHEDULES)} {RECIPES}"),
    "momentum": (float, 0, f"of gradient descent {RECIPES}"),
    "weight_decay": (float, 0, f"pull of the weights towards 0 {RECIPES}"),
    "augment": (bool, None, f"move the training images a little at random {RECIPES}"),
    "warmup": (int, 0, f"detectors: steps at the start in which the rate rises {RECIPES}"),
    "clip_norm": (float, 0, f"detectors: the largest norm of the gradient, 0 for any {RECIPES}"),
    "every": (int, 1, f"detectors: epochs after which the test images are looked at {RECIPES}"),
    "backbone": (str, None, "detectors: pretrained weights of the convolutions, imagenet or a file (default: none)"),
    "min_size": (int, 0, "detectors: bring the shorter side of each picture to so many pixels (default: the detector's own)"),
    "proposals": (str, None, "R-CNN and Fast R-CNN: how thoroughly Selective Search looks, single, fast (some 2,000 boxes of a "
                             "photograph) or quality (10,000) (default: fast)"),
    "seed": (int, 0, "decides initial weights, order and augmentation (default: 0)"),
    "overfit": (int, 0, "train and test on the first N training images only, plain: what works learns them by heart (default: 0, "
                        "off)"),
    "workers": (int, 0, "processes that prepare batches; they change no result (default: 0)"),
    "bad_images": (str, None, "what to do about pictures that are damaged: stop, or skip them and say so (default: stop)"),
    "device": (str, None, DEVICE),
    "amp": (str, None, "mixed precision: bf16, or fp16 with a scaled loss (default: off)"),
    "capture": (bool, None, "on a GPU, record the steps of each epoch: small networks are much faster (default: off)"),
}
DEFAULTS = {"accumulate": 1, "seed": 0, "overfit": 0, "workers": 0, "bad_images": "stop", "device": "cpu", "amp": "off",
            "capture": False}
MOST_WORKERS = 256
ADDED = ("device", "amp", "capture", "proposals")  # options that older runs did not record
MAY_CHANGE = {"epochs", "workers", "bad_images", "device"}  # when a run goes on


def arguments(parser) -> None:
    parser.add_argument("model", help=f"one of {', '.join(MODELS)}; detectors: {', '.join(DETECTORS)}")
    add_options(parser)


def kind_of(model: str):
    """The module of what is particular to this model's kind; raises UsageError for an unknown model."""
    return detectors if one_of(model, (*MODELS, *DETECTORS), "model") in DETECTORS else classifiers


def add_options(parser, left_out=()) -> None:
    """The options of a training, for this command and for those that train otherwise."""
    for name, (kind, _, text) in OPTIONS.items():
        how = {"action": argparse.BooleanOptionalAction} if kind is bool else {"type": kind}
        if name not in left_out:
            parser.add_argument(_flag(name), help=text, **how)
    parser.add_argument("--out", metavar="DIR", help="the run folder (default: runs/MODEL-DATA-TIME)")
    parser.add_argument("--dry-run", action="store_true", help="run two batches of each kind, say what would run, write nothing")
    parser.add_argument("--resume", metavar="RUN", help="continue a run with its own options, of which only "
                                                        f"{', '.join(map(_flag, sorted(MAY_CHANGE)))} may be given anew")


def run(options) -> None:
    kind = kind_of(options.model)
    given = {name: value for name in OPTIONS if (value := getattr(options, name, None)) is not None}
    if options.dry_run:
        if options.resume or options.out:
            raise UsageError("--dry-run writes nothing: leave out --resume and --out")
        _try_out(options, given)
        return
    trainer, epochs = _resumed(options, given) if options.resume else _started(options, given)
    try:
        last = trainer.fit(epochs)
    except KeyboardInterrupt:
        if trainer.run.has_checkpoint:
            print(f"\n{trainer.epoch} of {epochs} epochs are kept; go on with: "
                  f"minidl {options.command} {options.model} --resume {trainer.run.path}", file=sys.stderr)
        raise
    report_skipped("training", trainer.train.skipped)
    report_skipped("test", trainer.test.skipped)
    print(f"pictures, metrics and checkpoint are in {trainer.run.path}")
    print(kind.result(trainer, last))


def report_skipped(what: str, skipped: dict[int, str]) -> None:
    """How many pictures were left out, and what is wrong with the first ten."""
    if skipped:
        print(f"{len(skipped)} {what} pictures were left out, since they cannot be read:", file=sys.stderr)
        print("\n".join(f"  {reason}" for reason in list(skipped.values())[:10]), file=sys.stderr)


def _try_out(options, given: dict) -> None:
    """What a run would start with, and nothing written."""
    config = new_config(options.model, given, getattr(options, "extra", {}))
    trainer = kind_of(options.model).trainer_of(config, None)
    start = time.perf_counter()
    trainer.try_out()
    print(f"two training and two test batches ran in {time.perf_counter() - start:.1f} s; nothing was written")
    print(", ".join(f"{name} {value}" for name, value in config.items()))
    print(f"{sum(p.numel() for p in trainer.model.parameters()):,} parameters, {len(trainer.train):,} batches an epoch")


def new_config(model: str, given: dict, extra: dict | None = None) -> dict:
    """The configuration of a new run: the recipe, changed by ``extra``, with what the command line overrides.

    Raises UsageError for odd options.
    """
    kind = kind_of(model)
    recipes = kind.recipes(model)
    chosen = DEFAULTS | {"data": given.get("data") or kind.default_data(model)} | given
    recipe = dataclasses.asdict(recipes.get(chosen["data"], next(iter(recipes.values()))))
    foreign = [_flag(name) for name in given if name not in {"data", *DEFAULTS, *recipe}]
    if foreign:
        raise UsageError(f"{model} has a recipe of its own, without {', '.join(foreign)}")
    config = {"model": model, **recipe, **(extra or {}), **chosen}
    _check(config)
    return config


def _started(options, given: dict):
    """Trainer and number of epochs of a new run."""
    from minidl.train import RunFolder

    config = new_config(options.model, given, getattr(options, "extra", {}))
    name = f"{options.model}-{Path(config['data']).name}-{time.strftime('%Y%m%d-%H%M%S')}"
    folder = RunFolder(options.out or Path("runs") / name)
    trainer = kind_of(options.model).trainer_of(config, folder)
    folder.create(config | {"classes": trainer.classes})
    return trainer, config["epochs"]


def _resumed(options, given: dict):
    """Trainer and number of epochs of a run that goes on."""
    from minidl.train import RunFolder

    folder = RunFolder(options.resume).open()
    known = DEFAULTS | _recipe(options.model)
    old = {name: known[name] for name in ADDED if name in known} | folder.config
    fixed = [_flag(name) for name in given if name not in MAY_CHANGE] + (["--out"] if options.out else [])
    if fixed:
        raise UsageError(f"a resumed run keeps its own options: leave out {', '.join(fixed)}")
    if old.get("model") != options.model:
        raise UsageError(f"{folder.path} is a run of {old.get('model')}, not of {options.model}")
    try:
        _check(old)
    except UsageError as error:
        raise CheckpointError(f"{folder.path / 'config.json'} was changed: {error}") from None
    config = old | given
    _check(config)
    trainer = kind_of(options.model).trainer_of(config, folder)
    trainer.resume()
    if trainer.epoch > config["epochs"]:
        raise UsageError(f"{trainer.epoch} epochs are done already, more than --epochs {config['epochs']}")
    for change in folder.changes():
        print(f"note: {change}; the last bits may differ from those of an uninterrupted run", file=sys.stderr)
    if config != old:
        folder.write_config(config)
    if config["epochs"] != old["epochs"] and config.get("schedule") in STRETCHED:
        print(f"note: the learning rate now falls over {config['epochs']} epochs, not {old['epochs']}", file=sys.stderr)
    return trainer, config["epochs"]


def _check(config: dict) -> None:
    """Raise UsageError if an option is missing, of another kind, or out of range."""
    trained = kind_of(config["model"])
    needed = {"data", *DEFAULTS, *_recipe(config["model"])}
    for name, (kind, least, _) in OPTIONS.items():
        if name not in config and name not in needed:
            continue
        value = config.get(name)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UsageError(f"{_flag(name)} must be of type {kind.__name__}, got {value!r}")
        if least is not None and not (least <= value < (math.inf if kind is float else 2**63)):
            raise UsageError(f"{_flag(name)} must be a finite number of at least {least}, got {value}")
        if name == "schedule":
            one_of(value, trained.SCHEDULES, "schedule")
        if name == "bad_images":
            on_error(value)
        if name == "proposals":
            detectors.mode(value)
        if name == "workers" and value > MOST_WORKERS:
            raise UsageError(f"--workers must be at most {MOST_WORKERS}, got {value}: each is a process")
    if "optimizer" in config:  # in a recipe, which no option overrides
        from minidl.models.classify.recipe import OPTIMIZERS

        one_of(str(config["optimizer"]), OPTIMIZERS, "optimizer")


def _recipe(model: str) -> dict:
    """The options that a model's recipe has."""
    return dataclasses.asdict(next(iter(kind_of(model).recipes(model).values())))


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
