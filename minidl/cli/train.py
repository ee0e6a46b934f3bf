"""Train a model, and leave a run folder with curves, pictures and a checkpoint.

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
"""

import argparse
import dataclasses
import math
import sys
import time
from pathlib import Path

import numpy as np

from minidl.cli.choices import (
    DATA,
    DEVICE,
    MODELS,
    architecture,
    build,
    data_set,
    default_data,
    evaluation_batch,
    on_error,
    one_of,
    use_device,
)
from minidl.errors import CheckpointError, UsageError

SCHEDULES = ("cosine", "steps", "plateau", "exponential", "constant")
STRETCHED = ("cosine", "steps")  # schedules over the whole of a training
RECIPES = "(default: the recipe's)"
OPTIONS = {  # name: kind, least value, help
    "data": (str, None, f"{', '.join(DATA)}, or a folder of class folders or of idx files (default for grey images: digits)"),
    "epochs": (int, 1, f"passes over the training images {RECIPES}"),
    "batch_size": (int, 1, f"images in a step {RECIPES}"),
    "accumulate": (int, 1, "batches whose gradients are added up before a step (default: 1)"),
    "lr": (float, 0, f"learning rate at the start {RECIPES}"),
    "schedule": (str, None, f"how the learning rate falls: {', '.join(SCHEDULES)} {RECIPES}"),
    "momentum": (float, 0, f"of gradient descent {RECIPES}"),
    "weight_decay": (float, 0, f"pull of the weights towards 0 {RECIPES}"),
    "augment": (bool, None, f"move the training images a little at random {RECIPES}"),
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
OVERFIT_STEPS = 25  # an epoch goes through the few images again and again
MOST_WORKERS = 256
MAY_CHANGE = {"epochs", "workers", "bad_images", "device"}  # when a run goes on


def arguments(parser) -> None:
    parser.add_argument("model", help=f"one of {', '.join(MODELS)}")
    add_options(parser)


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
    architecture(options.model)
    given = {name: value for name in OPTIONS if (value := getattr(options, name)) is not None}
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
    print(f"test accuracy {100 * last['test_accuracy']:.2f} %" + top5(last["test_top5_accuracy"], len(trainer.classes)))


def report_skipped(what: str, skipped: dict[int, str]) -> None:
    """How many pictures were left out, and what is wrong with the first ten."""
    if skipped:
        print(f"{len(skipped)} {what} pictures were left out, since they cannot be read:", file=sys.stderr)
        print("\n".join(f"  {reason}" for reason in list(skipped.values())[:10]), file=sys.stderr)


def top5(accuracy: float, classes: int) -> str:
    """The top-5 accuracy as text, where there are enough classes for it to mean something."""
    return f", top-5 {100 * accuracy:.2f} %" if classes > 10 else ""


def _try_out(options, given: dict) -> None:
    """What a run would start with, and nothing written."""
    config = new_config(options.model, given, getattr(options, "extra", {}))
    trainer = trainer_of(config, None)
    start = time.perf_counter()
    trainer.try_out()
    print(f"two training and two test batches ran in {time.perf_counter() - start:.1f} s; nothing was written")
    print(", ".join(f"{name} {value}" for name, value in config.items()))
    print(f"{sum(p.numel() for p in trainer.model.parameters()):,} parameters, {len(trainer.train):,} batches an epoch")


def new_config(model: str, given: dict, extra: dict | None = None) -> dict:
    """The configuration of a new run: the recipe, changed by ``extra``, with what the command line overrides.

    Raises UsageError for odd options.
    """
    chosen = DEFAULTS | {"data": given.get("data") or default_data(model)} | given
    recipes = architecture(model).RECIPES
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
    trainer = trainer_of(config, folder)
    folder.create(config | {"classes": trainer.classes})
    return trainer, config["epochs"]


def _resumed(options, given: dict):
    """Trainer and number of epochs of a run that goes on."""
    from minidl.train import RunFolder

    folder = RunFolder(options.resume).open()
    old = {name: DEFAULTS[name] for name in ("device", "amp", "capture")} | folder.config  # which older runs did not record
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
    trainer = trainer_of(config, folder)
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
    needed = {"epochs", "data", *DEFAULTS, *(("schedule",) if "lr" in config else ())}
    for name, (kind, least, _) in OPTIONS.items():
        if name not in config and name not in needed:
            continue
        value = config.get(name)
        if type(value) is not kind and not (kind is float and type(value) is int):
            raise UsageError(f"{_flag(name)} must be of type {kind.__name__}, got {value!r}")
        if least is not None and not (least <= value < (math.inf if kind is float else 2**63)):
            raise UsageError(f"{_flag(name)} must be a finite number of at least {least}, got {value}")
        if name == "schedule":
            one_of(value, SCHEDULES, "schedule")
        if name == "bad_images":
            on_error(value)
        if name == "workers" and value > MOST_WORKERS:
            raise UsageError(f"--workers must be at most {MOST_WORKERS}, got {value}: each is a process")


def trainer_of(config: dict, folder):
    """Everything that a run consists of."""
    import minidl
    from minidl.data import DataLoader, Subset
    from minidl.train import Trainer

    use_device(config["device"])
    minidl.manual_seed(config["seed"])
    train = data_set(config["data"], True, config.get("augment", False), config["model"])
    classes = train.classes
    test = data_set(config["data"], False, model=config["model"])
    if config.get("overfit"):
        few = np.arange(min(config["overfit"], len(train)))
        plain = data_set(config["data"], True, model=config["model"])
        train, test = Subset(plain, np.resize(few, OVERFIT_STEPS * config.get("batch_size", 1))), Subset(plain, few)
    if "tune" in config:
        from minidl.cli.transfer import prepared

        model, train, test = prepared(config, train, test, folder)
    else:
        model = build(config["model"], len(classes))
    loader = DataLoader(train, config.get("batch_size", 1), shuffle=True, num_workers=config["workers"], seed=config["seed"],
                        persistent_workers=True, on_error=on_error(config["bad_images"]))
    pieces = architecture(config["model"]).training(model, config, train, -(-len(loader) // config["accumulate"]))
    tested = DataLoader(test, evaluation_batch(config["model"]), num_workers=config["workers"],
                        persistent_workers=True, on_error=on_error(config["bad_images"]))
    return Trainer(model, train=loader, test=tested, run=folder, classes=classes, accumulate=config["accumulate"],
                   amp=config["amp"], captured=config["capture"], **pieces)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")
