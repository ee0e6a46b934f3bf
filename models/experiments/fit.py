"""What the experiments share: a short training on arrays, parts of CIFAR-10, and how curves look."""

from collections.abc import Callable

import numpy as np

import minidl
from minidl import nn, optim
from minidl.data import CIFAR10, DataLoader, ImageArrays, prefetch
from minidl.errors import UsageError
from minidl.models.classify.recipe import cosine
from minidl.nn.utils import device_of
from minidl.study.pictures import figure_of
from minidl.train import evaluate
from minidl.train.sums import Sums, classified

COLOURS = ("#2b6cb0", "#dd6b20", "#2f855a", "#805ad5", "#c53030", "#718096")


def fit(model: nn.Module, train, test, *, epochs: int, lr: float, batch_size: int = 64, weight_decay: float = 5e-4, seed: int = 0,
        parameters=None, watch: Callable | None = None, test_each: bool = True) -> list[dict]:
    """Train with momentum 0.9 and a cosine, where the model is; after each epoch mean training loss and accuracies: "loss",
    "train", "test".

    ``watch(model)`` is called after each backward pass, before the step. Without ``test_each``, only the last epoch is tested.
    The model is left trained, in evaluation mode.
    """
    loader, tests = DataLoader(train, batch_size, shuffle=True, seed=seed), DataLoader(test, 250)
    optimizer = optim.SGD(model.parameters() if parameters is None else parameters, lr, 0.9, weight_decay=weight_decay)
    schedule, rows = cosine(optimizer, {"epochs": epochs}, len(loader)), []
    for epoch in range(epochs):
        model.train()
        sums = Sums(device_of(model))
        for images, labels in prefetch(loader, device_of(model)):
            optimizer.zero_grad()
            logits = model(images)
            loss = nn.functional.cross_entropy(logits, labels)
            loss.backward()
            if watch is not None:
                watch(model)
            optimizer.step()
            schedule.step()
            sums.add(len(labels), classified(loss, logits, labels))
        sums.read()
        rows.append({"loss": sums.means["loss"], "train": sums.means["accuracy"]})
        if test_each or epoch == epochs - 1:
            rows[-1]["test"] = evaluate(model, tests)["accuracy"]
    model.eval()
    return rows


def part_of_cifar(images: int, augment: bool = True) -> tuple[ImageArrays, ImageArrays]:
    """So many training images of CIFAR-10, as many of each class, and 2,000 test images likewise."""
    parts = []
    for train, count in ((True, images), (False, 2000)):
        whole = CIFAR10(train=train, augment=augment and train)
        if count > len(whole):
            raise UsageError(f"CIFAR-10 has {len(whole):,} images, {count:,} were asked for")
        chosen = np.sort(np.concatenate([np.flatnonzero(whole.labels == k)[: count // 10] for k in range(10)]))
        part = ImageArrays(whole.images[chosen], whole.labels[chosen])
        part.transform = whole.transform
        parts.append(part)
    return parts[0], parts[1]


def axes_of(axes, title: str, x: str):
    """Axes in the manner of all our pictures."""
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel(x, fontsize=9)
    axes.tick_params(labelsize=8)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def bars(found: dict[str, list[float]], title: str, unit: str = "test accuracy, %"):
    """A bar for the mean of each, and a dot for each seed."""
    figure = figure_of(1.2 + 1.6 * len(found), 3.4)
    axes = axes_of(figure.add_subplot(), title, "")
    for place, values in enumerate(found.values()):
        axes.bar(place, np.mean(values), color=COLOURS[place % len(COLOURS)], alpha=0.6, width=0.6)
        axes.plot([place] * len(values), values, "o", color="black", markersize=3)
        axes.text(place, 0, f"{np.mean(values):.1f}", ha="center", va="bottom", fontsize=9)
    axes.set_xticks(range(len(found)), list(found), fontsize=9)
    axes.set_ylabel(unit, fontsize=9)
    axes.margins(y=0.15)
    return figure


def seeded(seed: int, build: Callable[[], nn.Module]) -> nn.Module:
    """A model with the initial weights of a seed."""
    minidl.manual_seed(seed)
    return build()
