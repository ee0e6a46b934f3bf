"""Few images of a new task: features learnt elsewhere against training from scratch.

Zeiler and Fergus 2014, section 5.3 and figure 9: on Caltech-101 and -256 a network that was trained on ImageNet, with a new last
layer alone, beats by far the same network trained on the new task's few images; with six images a class it passes what others
reached with sixty. Here the source is a ResNet trained on CIFAR-10, the new task ten classes of ImageNet, reduced to 32x32.
"""

import numpy as np

import minidl
from minidl import nn
from minidl.data import ImageArrays
from minidl.data.transforms import CenterCrop, Compose, Resize
from minidl.models.classify.cifar_resnet import CifarResNet, augmented, inputs
from minidl.models.classify.transfer import extract, parameter_groups, replace_head
from minidl.models.experiments.fit import COLOURS, axes_of, fit, seeded
from minidl.study.pictures import figure_of

WAYS = {"head": "a new head on fixed features", "all": "all layers trained on", "scratch": "from scratch"}
SIDE = 32
STEPS = 300  # at least, however few the images are


def small(dataset) -> ImageArrays:
    """A data set of pictures as arrays of 32x32 in memory, coded as the network reads them in evaluation."""
    reduce = Compose([Resize(SIDE), CenterCrop(SIDE)])
    pixels = np.concatenate([reduce(dataset.pixels(k)[None]) for k in range(len(dataset))])
    return ImageArrays(pixels, dataset.labels, inputs(SIDE))


def some(data: ImageArrays, each: int, seed: int, transform) -> ImageArrays:
    """So many images of each class, drawn at random."""
    rng = minidl.random.Generator(seed)
    chosen = np.concatenate([of_class[rng.permutation(len(of_class))[:each]]
                             for of_class in (np.flatnonzero(data.labels == k) for k in range(data.labels.max() + 1))])
    return ImageArrays(data.images[chosen], data.labels[chosen], transform)


def run(source: CifarResNet, train, test, each=(1, 5, 20, 75), seeds: int = 3, epochs: int = 30,
        report=print) -> tuple[dict, object]:
    """Accuracy against the number of images of each class, for three ways to train; ``train`` and ``test`` are sets of pictures.

    Every way gets as many epochs, but at least STEPS steps.
    """
    train, test = small(train), small(test)
    state, classes = source.state_dict(), int(train.labels.max()) + 1
    depth = sum(isinstance(layer, (nn.Conv2d, nn.Linear)) for layer in source.modules())
    results: dict = {way: {} for way in WAYS}
    for count in each:
        for way in WAYS:
            results[way][count] = [_one(way, state, depth, classes, train, test, count, seed, epochs) for seed in range(seeds)]
        report(f"{count:3} images of each class: " + ", ".join(
            f"{text} {100 * np.mean(results[way][count]):.1f} %" for way, text in WAYS.items()))
    return {"accuracy": results}, _picture(results, classes)


def _one(way: str, state: dict, depth: int, classes: int, train, test, count: int, seed: int, epochs: int) -> float:
    images = some(train, count, seed, inputs(SIDE) if way == "head" else augmented(SIDE))
    steps_an_epoch = -(-len(images) // 32)
    options = {"epochs": max(epochs, -(-STEPS // steps_an_epoch)), "batch_size": 32, "seed": seed, "test_each": False}
    model = seeded(seed, lambda: CifarResNet(depth, classes))
    if way == "scratch":
        return fit(model, images, test, lr=0.05, **options)[-1]["test"]
    head = model.fc
    model = CifarResNet(depth, len(state["fc.bias"]))
    model.load_state_dict(state)
    if way == "head":
        known = [extract(model, data) for data in (images, test)]
        return fit(head, *known, lr=0.05, **options)[-1]["test"]
    replace_head(model, classes)
    return fit(model, images, test, lr=0.02, parameters=parameter_groups(model, 0.02, 0.1), **options)[-1]["test"]


def _picture(results: dict, classes: int):
    figure = figure_of(7, 4)
    axes = axes_of(figure.add_subplot(), "test accuracy on the new task, %", "training images of each class")
    for (way, text), colour in zip(WAYS.items(), COLOURS, strict=False):
        counts = list(results[way])
        values = 100 * np.array([results[way][count] for count in counts])
        axes.plot(counts, values.mean(1), color=colour, marker="o", markersize=4, label=text)
        axes.fill_between(counts, values.min(1), values.max(1), color=colour, alpha=0.15, linewidth=0)
    axes.axhline(100 / classes, color="black", linestyle=":", linewidth=1, label="chance")
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.legend(frameon=False, fontsize=9)
    return figure
