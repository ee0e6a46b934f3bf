"""Models and data sets by the names that users type."""

import difflib
import importlib
from pathlib import Path

from minidl.errors import CheckpointError, UsageError

MODELS = {"lenet": "minidl.models.classify.lenet", "lenet-1998": "minidl.models.classify.lenet1998"}
DATA = ("digits", "mnist", "fashion-mnist")


def one_of(value: str, known, what: str) -> str:
    """``value`` if it is known; raises UsageError with a suggestion otherwise.

    >>> one_of("lnet", MODELS, "model")
    Traceback (most recent call last):
    ...
    minidl.errors.UsageError: unknown model 'lnet'; did you mean lenet?
    """
    if value in known:
        return value
    close = difflib.get_close_matches(value, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
    raise UsageError(f"unknown {what} {value!r}; {hint}")


def architecture(name: str):
    """The module of a model: it has ``build(num_classes)``, ``RECIPES`` by data set, ``training(model, config, data, batches)``,
    and ``input_coding`` if it reads images in a way of its own.
    """
    return importlib.import_module(MODELS[one_of(name, MODELS, "model")])


def build(name: str, num_classes: int = 10):
    """A model, by its name on the command line."""
    return architecture(name).build(num_classes)


def data_class(name: str):
    """The class of a data set; a folder is read as one in MNIST's format."""
    from minidl.data import MNIST, Digits, FashionMNIST

    if name not in DATA and Path(name).is_dir():
        return MNIST
    if "/" in name or "\\" in name:
        raise UsageError(f"there is no folder {name!r}; give one that holds the four idx files, or one of {', '.join(DATA)}")
    return {"digits": Digits, "mnist": MNIST, "fashion-mnist": FashionMNIST}[one_of(name, DATA, "data set")]


def data_set(name: str, train: bool, augment: bool = False, model: str = "lenet"):
    """Images of 28x28 with their labels, coded as a model reads them: a data set by name, or from the idx files in a folder."""
    cls = data_class(name)
    if name == "digits":
        found = cls(train=train, size=28, augment=augment)
    else:
        found = cls(root=None if name in DATA else name, train=train, augment=augment)
    found.transform = getattr(architecture(model), "input_coding", found.transform)
    return found


def trained(path) -> tuple:
    """Model and configuration of a run folder."""
    from minidl.train import RunFolder

    folder = RunFolder(path).open()
    config = folder.config
    if not isinstance(config.get("model"), str) or not isinstance(config.get("data"), str):
        raise CheckpointError(f"{folder.path} was not made by `minidl train`: its config.json names no model and data set")
    model = build(config["model"], len(data_class(config["data"]).classes))
    model.load_state_dict(folder.load_checkpoint()["model"])
    return model, config
