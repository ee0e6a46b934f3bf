"""One training step and one inference of LeNet-5 at batch 64 (tanh and average pooling; ReLU and max pooling)."""

import importlib

import numpy as np

from benchmarks.harness import main, seconds
from benchmarks.lenet import lenet5, lenet5_relu

BATCH = 64


def measure(framework: str) -> dict[str, float]:
    random = np.random.default_rng(0)
    images, labels = random.standard_normal((BATCH, 1, 28, 28)).astype(np.float32), random.integers(0, 10, BATCH)
    if framework == "mygrad":
        from benchmarks.lenet_mygrad import LeNet5

        model = LeNet5()
        return {"training step, relu": seconds(lambda: model.step(images, labels))}
    library = importlib.import_module(framework)
    nn, optim = (importlib.import_module(f"{framework}.{part}") for part in ("nn", "optim"))
    x, y = library.tensor(images), library.tensor(labels)
    times = {}
    for name, build in (("tanh", lenet5), ("relu", lenet5_relu)):
        model = build(nn)
        optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
        loss_function = nn.CrossEntropyLoss()

        def step(model=model, optimizer=optimizer, loss_function=loss_function):
            optimizer.zero_grad()
            loss_function(model(x), y).backward()
            optimizer.step()

        def inference(model=model):
            with library.no_grad():
                model(x)

        times[f"training step, {name}"] = seconds(step, at_least=1.0)
        times[f"inference, {name}"] = seconds(inference, at_least=0.5)
    return times


if __name__ == "__main__":
    main("benchmarks.lenet_step", __doc__, peers=("torch", "mygrad"))
