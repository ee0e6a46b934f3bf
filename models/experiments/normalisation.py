"""VGG's A against A-LRN: does local response normalisation help?

Simonyan and Zisserman 2015, section 4.1: it does not (29.6 against 29.7 % top-1 error), and costs memory and time. Here both
with a quarter of the maps, on images of 32x32, whose maps end as single pixels.
"""

import time
from functools import partial

from minidl import nn
from minidl.models.classify.vgg import CONFIGURATIONS
from minidl.models.experiments.fit import bars, fit, part_of_cifar, seeded

PART = 4  # of the maps, one in so many


def network(configuration: str) -> nn.Sequential:
    """A configuration of VGG's table 1 with a quarter of the maps and one linear layer.   x (N, 3, 32, 32) -> (N, 10)."""
    layers: list[nn.Module] = []
    channels = 3
    for entry in CONFIGURATIONS[configuration].split():
        if entry == "M":
            layers.append(nn.MaxPool2d(2))
        elif entry == "N":
            layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))
        else:
            layers += [nn.Conv2d(channels, int(entry) // PART, 3, padding=1), nn.ReLU()]
            nn.init.kaiming_normal_(layers[-2].weight, mode="fan_out", nonlinearity="relu")
            channels = int(entry) // PART
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels, 10))


def run(images: int = 5000, epochs: int = 10, seeds: int = 3, report=print) -> tuple[dict, object]:
    """Train A and A-LRN with each seed; accuracies and seconds."""
    train, test = part_of_cifar(images)
    results = {}
    for name in ("A", "A-LRN"):
        start = time.perf_counter()
        accuracies = [fit(seeded(seed, partial(network, name)), train, test, epochs=epochs, lr=0.02, seed=seed)[-1]["test"]
                      for seed in range(seeds)]
        results[name] = {"test_accuracy": accuracies, "seconds": round((time.perf_counter() - start) / seeds, 1)}
        report(f"{name}: test accuracy {', '.join(f'{100 * a:.1f}' for a in accuracies)} %, {results[name]['seconds']} s each")
    found = {name: [100 * a for a in values["test_accuracy"]] for name, values in results.items()}
    return results, bars(found, f"VGG A without and with normalisation: {images:,} images of CIFAR-10, {epochs} epochs")
