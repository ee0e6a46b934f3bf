"""How a training step grows with the batch, the width and the size of the image, and shrinks with a second thread."""

import importlib

import numpy as np

from benchmarks.harness import main, seconds
from benchmarks.networks import Case

BATCHES, SIDES, WIDTHS = (1, 2, 4, 8, 16), (64, 96, 128, 192, 256), (16, 32, 64, 128, 256)


def measure(framework: str) -> dict[str, float]:
    times = {}
    for batch in BATCHES:
        times[f"ResNet-18, batch {batch}"] = _step(framework, "ResNet-18", (batch, 3, 128, 128))
    for side in SIDES:
        times[f"ResNet-18, {side} pixels"] = _step(framework, "ResNet-18", (4, 3, side, side))
    for width in WIDTHS:
        times[f"two 3x3 layers, {width} maps"] = _layers(framework, width)
    for name in ("LeNet-5", "ResNet-18"):
        for threads in (1, 2):
            importlib.import_module(framework).set_num_threads(threads)
            times[f"{name}, threads {threads}"] = _step(framework, name, None)
    return times


def _step(framework, name, shape) -> float:
    return seconds(Case(framework, name, shape=shape).step, repeat=3, at_least=0.5)


def _layers(framework, width) -> float:
    library, nn = importlib.import_module(framework), importlib.import_module(f"{framework}.nn")
    model = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
    x = library.tensor(np.random.default_rng(0).standard_normal((8, width, 28, 28)).astype(np.float32), requires_grad=True)
    return seconds(lambda: model(x).sum().backward(), repeat=5, at_least=0.3)


if __name__ == "__main__":
    main("benchmarks.growth", __doc__)
