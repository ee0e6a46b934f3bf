"""One training step of AlexNet at batch 32, 224x224 pixels: time, and peak memory above the built model."""

import importlib

import numpy as np

from benchmarks.harness import built, main, seconds

BATCH = 32


def alexnet(nn):
    """AlexNet in one column, as a user of either framework would write it."""
    return nn.Sequential(
        nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
        nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        nn.AdaptiveAvgPool2d(6), nn.Flatten(), nn.Dropout(), nn.Linear(9216, 4096), nn.ReLU(),
        nn.Dropout(), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, 1000),
    )


def measure(framework: str) -> dict[str, float]:
    library = importlib.import_module(framework)
    nn, optim = (importlib.import_module(f"{framework}.{part}") for part in ("nn", "optim"))
    random = np.random.default_rng(0)
    x = library.tensor(random.standard_normal((BATCH, 3, 224, 224)).astype(np.float32))
    y = library.tensor(random.integers(0, 1000, BATCH))
    model = alexnet(nn)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    loss_function = nn.CrossEntropyLoss()
    built()

    def step():
        optimizer.zero_grad()
        loss_function(model(x), y).backward()
        optimizer.step()

    return {"training step": seconds(step, repeat=5, at_least=3.0)}


if __name__ == "__main__":
    main("benchmarks.alexnet_step", __doc__)
