"""Architectures, detectors and evaluation, each with its paper's recipe."""

if __name__ == "models":
    raise ImportError("`models` is imported as `minidl.models`: write `from minidl import models`")

from minidl.models.classify.lenet import LeNet5, lenet5
from minidl.models.classify.lenet1998 import LeNet5Of1998

__all__ = ["LeNet5", "LeNet5Of1998", "lenet5"]
