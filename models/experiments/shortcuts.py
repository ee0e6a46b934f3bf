"""A plain network of 56 layers against a residual one: which trains, and what gradient reaches each layer?

He et al. 2016, figure 6: the plain network of 56 layers has a larger training error than one of 20; with shortcuts the deeper
one is better. The lecture explains it by gradients that reach the first layers. (The paper itself is more careful: with batch
normalisation gradients do not vanish, section 4.1. So their norms are measured here, layer by layer, before the first step and
over the training.)
"""

import numpy as np

from minidl import nn
from minidl.models.classify.cifar_resnet import CifarResNet
from minidl.models.experiments.fit import COLOURS, axes_of, fit, part_of_cifar, seeded
from minidl.study.pictures import figure_of


class GradientNorms:
    """The norm of the gradient of each convolution's weights: ``first``, and ``mean`` over all steps."""

    def __init__(self):
        self.steps: list[list[float]] = []

    def __call__(self, model: nn.Module) -> None:
        self.steps.append([float(np.linalg.norm(layer.weight.grad.numpy())) for layer in model.modules()
                           if isinstance(layer, nn.Conv2d)])

    @property
    def first(self) -> list[float]:
        return self.steps[0]

    @property
    def mean(self) -> list[float]:
        return np.mean(self.steps, 0).tolist()


def run(images: int = 5000, epochs: int = 10, depth: int = 56, report=print) -> tuple[dict, object]:
    """Train both on the same images in the same order."""
    train, test = part_of_cifar(images)
    results = {}
    for name, residual in ((f"plain-{depth}", False), (f"ResNet-{depth}", True)):
        norms = GradientNorms()
        model = seeded(0, lambda residual=residual: CifarResNet(depth, residual=residual))
        history = fit(model, train, test, epochs=epochs, lr=0.05, batch_size=128, weight_decay=1e-4, watch=norms)
        results[name] = {"history": history, "first_gradient": norms.first, "mean_gradient": norms.mean}
        report(f"{name}: training loss {history[-1]['loss']:.3f}, test accuracy {100 * history[-1]['test']:.1f} %; gradient of "
               f"the first layer {norms.mean[0]:.2g}, of the last {norms.mean[-1]:.2g}, largest over smallest "
               f"{max(norms.mean) / min(norms.mean):.0f}")
    return results, _picture(results, images)


def _picture(results: dict, images: int):
    figure = figure_of(10, 3.4)
    loss, accuracy, gradient = figure.subplots(1, 3)
    for (name, found), colour in zip(results.items(), COLOURS, strict=False):
        epochs = range(1, len(found["history"]) + 1)
        loss.plot(epochs, [row["loss"] for row in found["history"]], color=colour, label=name)
        accuracy.plot(epochs, [100 * row["test"] for row in found["history"]], color=colour, label=name)
        layers = range(1, len(found["mean_gradient"]) + 1)
        gradient.plot(layers, found["mean_gradient"], color=colour, label=name)
        gradient.plot(layers, found["first_gradient"], color=colour, linestyle=":", linewidth=1)
    gradient.set_yscale("log")
    axes_of(loss, f"training loss, {images:,} images", "epoch").legend(frameon=False, fontsize=8)
    axes_of(accuracy, "test accuracy, %", "epoch")
    axes_of(gradient, "norm of the gradient of each convolution", "convolution; dotted: at the first step, else the mean")
    return figure
