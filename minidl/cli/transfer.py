"""Use what a network has learnt on one task for another.

--tune says how: "head" computes the features of all pictures once, keeps them on disk, and trains a new last layer on them; "all"
trains everything, the lower layers at a fraction of the rate; "upper" keeps the lower layers as they are and trains the last
--layers. The run folder is as that of `minidl train`: eval and predict take it, and --resume goes on.

examples:
  minidl transfer --from runs/resnet20-cifar10 --data imagenette
  minidl transfer --from runs/resnet20-cifar10 --data path/to/pictures --tune all
  minidl transfer resnet18 --from imagenet --data path/to/pictures --tune upper --layers 5
"""

import math
from pathlib import Path

from minidl.cli import train
from minidl.cli.choices import MODELS, build, on_error, one_of, trained
from minidl.errors import CheckpointError, UsageError

TUNE = ("head", "all", "upper")
# A few passes at a small rate: the weights are good already.
RECIPE = {"epochs": 20, "batch_size": 32, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"}
LEFT_OUT = ("overfit", "warmup", "clip_norm", "every", "backbone", "min_size")
MOST_CLASSES = 100_000  # in a file of weights


def arguments(parser) -> None:
    parser.add_argument("model", nargs="?", help=f"with --from imagenet or FILE: one of {', '.join(MODELS)}")
    parser.add_argument("--from", dest="source", metavar="RUN|imagenet|FILE",
                        help="the weights to begin with: of a run, published ones, or a file")
    parser.add_argument("--tune", help=f"what is trained: {', '.join(TUNE)} (default: head)")
    parser.add_argument("--layers", type=int, help="how many layers --tune upper trains (default: 3)")
    parser.add_argument("--lower", type=float, help="rate below the head, as a part of --lr (default: 0.1)")
    train.add_options(parser, LEFT_OUT)


def run(options) -> None:
    if options.resume:
        from minidl.train import RunFolder

        if options.model or any(getattr(options, name) is not None for name in ("source", "tune", "layers", "lower")):
            raise UsageError("a resumed run keeps its model and tuning: leave out MODEL, --from, --tune, --layers and --lower")
        folder = RunFolder(options.resume).open()
        _check(folder.config, folder.path / "config.json")
        options.model = folder.config["model"]
    else:
        options.model, options.extra = _chosen(options)
    train.run(options)


def _chosen(options) -> tuple[str, dict]:
    """The model, and what the configuration has beyond that of a training."""
    if options.source is None or options.data is None:
        raise UsageError("transfer needs --from, the weights to begin with, and --data, what to learn now")
    given = {name: value for name in ("tune", "layers", "lower") if (value := getattr(options, name)) is not None}
    tuning = {"tune": "head", "layers": 3, "lower": 0.1} | given
    one_of(tuning["tune"], TUNE, "kind of tuning")
    if not 0 <= tuning["lower"] < math.inf or tuning["layers"] < 1:
        raise UsageError(f"--lower must be at least 0 and --layers at least 1, got {tuning['lower']} and {tuning['layers']}")
    if tuning["tune"] == "head" and options.augment:
        raise UsageError("--tune head computes the features of each picture once, so there is nothing to augment")
    is_run = (Path(options.source) / "config.json").is_file()
    if is_run == (options.model is not None):
        raise UsageError("a run says itself which model it has: leave out MODEL" if is_run else
                         f"say which model the weights are of: minidl transfer MODEL --from {options.source} ...")
    model = trained(options.source)[1]["model"] if is_run else one_of(options.model, MODELS, "model")
    if MODELS[model].input_shape[0] != 3:
        raise UsageError(f"transfer is for networks of colour pictures, {model} reads grey ones")
    return model, RECIPE | {"source": str(options.source), **tuning, "augment": tuning["tune"] != "head"}


def _check(config: dict, path) -> None:
    """Raise CheckpointError for a configuration that no transfer has written."""
    kinds = {"model": str, "source": str, "tune": str, "layers": int, "lower": (int, float), "classes": list}
    wrong = [name for name, kind in kinds.items() if not isinstance(config.get(name), kind)]
    if wrong or config["model"] not in MODELS or config["tune"] not in TUNE or config["layers"] < 1:
        raise CheckpointError(f"{path} is not of a transfer, or was changed: {', '.join(wrong) or 'model, tune or layers'}")


def prepared(config: dict, data, test, folder) -> tuple:
    """Model, training and test set of a transfer; ``folder`` is that of the run, whose weights a resumed run begins with."""
    from minidl.data.places import user_folder
    from minidl.models.classify import transfer

    classes, source = len(data.classes), config["source"]
    if folder is not None and folder.has_checkpoint:
        _check(config, folder.path / "config.json")
        model = build(config["model"], classes)
        model.load_state_dict(folder.load_checkpoint()["model"])
    else:
        model = trained(source)[0] if (Path(source) / "config.json").is_file() else _loaded(config["model"], source)
        model = transfer.replace_head(model, classes)
    if config["tune"] == "upper":
        transfer.freeze(model, config["layers"])
    if config["tune"] != "head":
        return model, data, test
    features = []
    for what, each in (("training", data), ("test", test)):
        features.append(transfer.extract(model, each, user_folder().parent / "features", workers=config["workers"],
                                         on_error=on_error(config["bad_images"])))
        train.report_skipped(what, features[-1].skipped)
    return transfer.HeadOnly(model), *features


def _loaded(name: str, source: str):
    """A model with published weights, or with those in a file, for as many classes as it says."""
    if source == "imagenet":
        return build(name, 1000, source)
    from minidl.io import load

    state = load(source)
    last = [value for value in state.values() if getattr(value, "ndim", 0) == 2] if isinstance(state, dict) else []
    if not last or not 0 < last[-1].shape[0] <= MOST_CLASSES:
        raise UsageError(f"{source} is no state dict of a classifier of up to {MOST_CLASSES:,} classes")
    return build(name, last[-1].shape[0], source)
