"""The lecture's networks: ours from ``minidl.models``, the peer's from torchvision or as its users write them."""

import contextlib
import importlib
from typing import NamedTuple

import numpy as np


class Network(NamedTuple):
    """Where the network comes from, the input (N, C, H, W), and the number of classes."""

    module: str
    constructor: str
    shape: tuple[int, int, int, int]
    classes: int


NETWORKS = {
    "LeNet-5": Network("lenet", "lenet5", (64, 1, 28, 28), 10),
    "AlexNet": Network("alexnet", "alexnet", (32, 3, 224, 224), 1000),
    "VGG-16": Network("vgg", "vgg16", (4, 3, 224, 224), 1000),
    "GoogLeNet": Network("googlenet", "googlenet", (8, 3, 224, 224), 1000),
    "ResNet-18": Network("resnet", "resnet18", (8, 3, 224, 224), 1000),
    "ResNet-50": Network("resnet", "resnet50", (8, 3, 224, 224), 1000),
    "ResNet-20": Network("cifar_resnet", "resnet20", (128, 3, 32, 32), 10),
}


def build(framework: str, name: str):
    """The network, new, in training mode."""
    network = NETWORKS[name]
    if framework == "minidl":
        module = importlib.import_module(f"minidl.models.classify.{network.module}")
        return getattr(module, network.constructor)(num_classes=network.classes)
    if name in ("LeNet-5", "ResNet-20"):
        from benchmarks import torch_networks

        return getattr(torch_networks, network.constructor)()
    from tests.parity.vision import torchvision

    options = {"vgg16": {"init_weights": False}, "googlenet": {"init_weights": False, "aux_logits": True}}
    return getattr(torchvision().models, network.constructor)(**options.get(network.constructor, {}))


class Case:
    """A network, a batch of random images, and what is done with them; ``variant`` is a way to run PyTorch. ``precision`` makes
    the context in which it computes, such as autocast.
    """

    precision = contextlib.nullcontext

    def __init__(self, framework: str, name: str, variant: str = "", shape=None, device="cpu"):
        self.library = importlib.import_module(framework)
        nn, optim = (importlib.import_module(f"{framework}.{part}") for part in ("nn", "optim"))
        random, shape = np.random.default_rng(0), shape or NETWORKS[name].shape
        self.model = build(framework, name).to(device)
        self.x = self.library.tensor(random.standard_normal(shape, np.float32), device=device)
        self.y = self.library.tensor(random.integers(0, NETWORKS[name].classes, shape[0]), device=device)
        # A rate so small that weights stay what they are: a network that diverges to NaN would time something else.
        self.optimizer = optim.SGD(self.model.parameters(), lr=1e-6, momentum=0.9, weight_decay=1e-4)
        self.loss = nn.CrossEntropyLoss()
        self.run = self.model
        if variant == "channels_last":
            self.model.to(memory_format=self.library.channels_last)
            self.x = self.x.to(memory_format=self.library.channels_last)
        if variant == "compile":
            self.run = self.library.compile(self.model)

    def step(self, *batch) -> None:
        """One step of training, on the images or on a batch of others with their classes."""
        x, y = batch or (self.x, self.y)
        self.optimizer.zero_grad()
        with self.precision():
            output = self.run(x)
            if isinstance(output, tuple):  # GoogLeNet's, of which torchvision also trains the first alone if asked so
                output = output[0]
            loss = self.loss(output, y)
        loss.backward()
        self.optimizer.step()

    def infer(self, x=None):
        """The logits alone, after ``eval``; of the images or of others."""
        with self.library.no_grad(), self.precision():
            return self.run(self.x if x is None else x)

    def eval(self) -> None:
        """Make ready for inference; ours fuses."""
        self.model.eval()
        if hasattr(self.model, "fuse"):
            self.model.fuse()
