"""Names that users type, and what they stand for."""

import difflib
from pathlib import Path

from minidl.errors import UsageError

MODELS = ("lenet",)
DATA = ("digits", "mnist", "fashion-mnist")


def one_of(value: str, known, what: str) -> str:
    """``value`` if it is known; raises UsageError with a suggestion."""
    if value in known:
        return value
    close = difflib.get_close_matches(value, known, 1)
    raise UsageError(f"unknown {what} {value!r}" + (f"; did you mean {close[0]}?" if close else f": choose from {', '.join(known)}"))


def build(name: str, num_classes: int = 10):
    """A model by its name on the command line."""
    from minidl.models import LeNet5

    return {"lenet": LeNet5}[one_of(name, MODELS, "model")](num_classes)


def data_set(name: str, train: bool, augment: bool = False):
    """Images of 28x28: a data set by name, or the idx files in a folder."""
    from minidl.data import MNIST, Digits, FashionMNIST

    if name == "digits":
        return Digits(train=train, size=28, augment=augment)
    if name in DATA:
        return {"mnist": MNIST, "fashion-mnist": FashionMNIST}[name](train=train, augment=augment)
    if Path(name).is_dir():
        return MNIST(root=name, train=train, augment=augment)
    if "/" in name or "\\" in name:
        raise UsageError(f"there is no folder {name!r}; name a folder with the four idx files, or one of {', '.join(DATA)}")
    one_of(name, DATA, "data set")
    raise AssertionError(name)
