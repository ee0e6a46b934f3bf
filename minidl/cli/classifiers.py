"""What `minidl train` needs to train a classifier; ``detectors`` has the same for a detector."""

from minidl.cli.choices import COLOUR, MODELS, architecture, build, data_set, one_of, use_device
from minidl.cli.loaders import few, loaders
from minidl.errors import UsageError

SCHEDULES = ("cosine", "steps", "plateau", "exponential", "constant")


def recipes(model: str) -> dict:
    """How a model is trained, by data set; the first is for all others."""
    return architecture(model).RECIPES


def evaluation_batch(name: str) -> int:
    """How many images are evaluated at once: so many that it is quick, so few that they fit into memory."""
    return 500 if MODELS[name].input_shape[1] <= 32 else 32


def default_data(name: str) -> str:
    """The data set that a model is trained on if none is named; raises UsageError, with the choices, for one that needs a name.
    """
    if MODELS[one_of(name, MODELS, "model")].input_shape[0] == 1:
        return "digits"
    raise UsageError(f"say what to train {name} on with --data: {', '.join(COLOUR)}, or a folder with a folder of pictures for "
                     "each class. `minidl data list` says what can be downloaded")


def trainer_of(config: dict, folder):
    """Everything that a run consists of."""
    import minidl
    from minidl.train import Trainer

    use_device(config["device"])
    minidl.manual_seed(config["seed"])
    train = data_set(config["data"], True, config.get("augment", False), config["model"])
    classes = train.classes
    test = data_set(config["data"], False, model=config["model"])
    if config.get("overfit"):
        plain = data_set(config["data"], True, model=config["model"])
        train, test = few(plain, config["overfit"], config.get("batch_size", 1))
    if "tune" in config:
        from minidl.cli.transfer import prepared

        model, train, test = prepared(config, train, test, folder)
    else:
        model = build(config["model"], len(classes))
    loader, tested = loaders(config, train, test, evaluation_batch(config["model"]))
    pieces = architecture(config["model"]).training(model, config, train, -(-len(loader) // config["accumulate"]))
    return Trainer(model, train=loader, test=tested, run=folder, classes=classes, accumulate=config["accumulate"],
                   amp=config["amp"], captured=config["capture"], **pieces)


def result(trainer, last: dict) -> str:
    """What came of a training, in a line."""
    top5 = f", top-5 {100 * last['test_top5_accuracy']:.2f} %" if len(trainer.classes) > 10 else ""
    return f"test accuracy {100 * last['test_accuracy']:.2f} %{top5}"
