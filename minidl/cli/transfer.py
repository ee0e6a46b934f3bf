"""Use what a network has learnt on one task for another.

--tune says how: "head" computes the features of all pictures once, keeps them on disk, and trains a new last layer on them; "all"
trains everything, the lower layers at a fraction of the rate; "upper" keeps the lower layers as they are and trains the last
--layers. The run folder is as that of `minidl train`: eval and predict take it, and --resume goes on.

examples:
  minidl transfer --from runs/resnet20-cifar10 --data imagenette
  minidl transfer --from runs/resnet20-cifar10 --data path/to/pictures --tune all
  minidl transfer resnet18 --from imagenet --data path/to/pictures --tune upper --layers 5
"""

from pathlib import Path

from minidl.cli import train
from minidl.cli.choices import MODELS, build, one_of, trained
from minidl.errors import UsageError

TUNE = ("head", "all", "upper")
# A few passes at a small rate: the weights are good already.
RECIPE = {"epochs": 20, "batch_size": 32, "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4, "schedule": "cosine"}
LEFT_OUT = ("overfit",)


def arguments(parser) -> None:
    parser.add_argument("model", nargs="?", help=f"with --from imagenet or FILE: one of {', '.join(MODELS)}")
    parser.add_argument("--from", dest="source", metavar="RUN|imagenet|FILE",
                        help="the weights to begin with: of a run, published ones, or a file")
    parser.add_argument("--tune", default="head", help=f"what is trained: {', '.join(TUNE)} (default: head)")
    parser.add_argument("--layers", type=int, default=3, help="how many layers --tune upper trains (default: 3)")
    parser.add_argument("--lower", type=float, default=0.1, help="rate below the head, as a part of --lr (default: 0.1)")
    train.add_options(parser, LEFT_OUT)


def run(options) -> None:
    if options.resume:
        if options.model or options.source:
            raise UsageError("--resume takes model and weights from the run: leave out MODEL and --from")
        from minidl.train import RunFolder

        options.model = RunFolder(options.resume).open().config.get("model")
    else:
        options.model, options.extra = _chosen(options)
    options.overfit = None
    train.run(options)


def _chosen(options) -> tuple[str, dict]:
    """The model, and what the configuration has beyond that of a training."""
    if options.source is None or options.data is None:
        raise UsageError("transfer needs --from, the weights to begin with, and --data, what to learn now")
    one_of(options.tune, TUNE, "kind of tuning")
    if not options.lower >= 0 or options.layers < 1:
        raise UsageError(f"--lower must be at least 0 and --layers at least 1, got {options.lower} and {options.layers}")
    is_run = (Path(options.source) / "config.json").is_file()
    if is_run == (options.model is not None):
        raise UsageError("a run says itself which model it has: leave out MODEL" if is_run else
                         f"say which model the weights are of: minidl transfer MODEL --from {options.source} ...")
    model = trained(options.source)[1]["model"] if is_run else one_of(options.model, MODELS, "model")
    extra = RECIPE | {"source": str(options.source), "tune": options.tune, "layers": options.layers, "lower": options.lower,
                      "augment": options.tune != "head"}
    return model, extra


def prepared(config: dict, data, test) -> tuple:
    """Model, training and test set of a transfer."""
    from minidl.data.places import user_folder
    from minidl.models.classify import transfer

    one_of(config["tune"], TUNE, "kind of tuning")
    source = config["source"]
    model = trained(source)[0] if (Path(source) / "config.json").is_file() else _loaded(config["model"], source)
    model = transfer.replace_head(model, len(data.classes))
    if config["tune"] == "upper":
        transfer.freeze(model, config["layers"])
    if config["tune"] != "head":
        return model, data, test
    folder = user_folder().parent / "features"
    features = [transfer.extract(model, each, folder, workers=config["workers"]) for each in (data, test)]
    return transfer.HeadOnly(model), *features


def _loaded(name: str, source: str):
    """A model with published weights, or with those in a file, for as many classes as it says."""
    if source == "imagenet":
        return build(name, 1000, source)
    from minidl.io import load

    state = load(source)
    last = [value for value in state.values() if getattr(value, "ndim", 0) == 2] if isinstance(state, dict) else []
    if not last:
        raise UsageError(f"{source} is no state dict of a classifier: it has no matrix of weights")
    return build(name, last[-1].shape[0], source)
