"""One 7x7 convolution against three 3x3: the same pixels seen, fewer weights, more non-linearities.

Simonyan and Zisserman 2015, section 2.3: three layers of 3x3 see 7x7 pixels with 27 C^2 weights, one of 7x7 has 49 C^2; and two
ReLUs more make the decision more discriminative.
"""

from minidl import nn
from minidl.models.experiments.fit import bars, fit, part_of_cifar, seeded
from minidl.study import summarize

CHANNELS = 32


def network(layers: list[nn.Module]) -> nn.Sequential:
    """The layers between a common beginning, which halves the image, and a common end.   x (N, 3, 32, 32) -> (N, 10).

    Weights are drawn as He et al. 2015 advise for ReLU, so that the deeper network does not begin with fainter signals.
    """
    model = nn.Sequential(nn.Conv2d(3, CHANNELS, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), *layers,
                          nn.MaxPool2d(4), nn.Flatten(), nn.Linear(CHANNELS * 16, 10))
    for layer in model:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return model


def one_large() -> nn.Sequential:
    """One convolution with a window of 7x7."""
    return network([nn.Conv2d(CHANNELS, CHANNELS, 7, padding=3), nn.ReLU()])


def three_small() -> nn.Sequential:
    """Three convolutions with windows of 3x3."""
    return network([layer for _ in range(3) for layer in (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.ReLU())])


NETWORKS = {"one 7x7": one_large, "three 3x3": three_small}


def run(images: int = 5000, epochs: int = 10, seeds: int = 3, report=print) -> tuple[dict, object]:
    """Train both with each seed; results with receptive field, weights and multiply-adds of the part that differs."""
    train, test = part_of_cifar(images)
    results = {}
    for name, build in NETWORKS.items():
        rows = [row for row in summarize(build(), (1, 3, 32, 32)) if row.layer == "Conv2d"][1:]
        accuracies = [fit(seeded(seed, build), train, test, epochs=epochs, lr=0.01, seed=seed)[-1]["test"]
                      for seed in range(seeds)]
        results[name] = {"receptive_field": rows[-1].receptive_field,
                         "parameters": sum(row.parameters for row in rows),
                         "multiply_adds": sum(row.multiply_adds for row in rows), "test_accuracy": accuracies}
        report(f"{name}: sees {rows[-1].receptive_field} pixels, {results[name]['parameters']:,} parameters, "
               f"{results[name]['multiply_adds']:,} multiply-adds, test accuracy "
               f"{', '.join(f'{100 * a:.1f}' for a in accuracies)} %")
    labels = {f"{name}\n{found['parameters']:,} parameters": [100 * a for a in found["test_accuracy"]]
              for name, found in results.items()}
    return results, bars(labels, f"{images:,} images of CIFAR-10, {epochs} epochs")
