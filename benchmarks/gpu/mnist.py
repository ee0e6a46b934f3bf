"""LeNet-5 on MNIST to 99 % of the test images: seconds of training on a GPU, by a captured step on data that lies there.

Kernels are compiled before; recording the step counts. The data is where MINIDL_DATA says.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

import minidl
from benchmarks.harness import main
from minidl import nn, optim
from minidl.data.mnist import MNIST
from minidl.models.classify.lenet import lenet5

DATA = Path(os.environ.get("MINIDL_DATA", "")) / "mnist"
BATCH, EPOCHS, RATE = 128, 8, 0.05
GOAL = 99.0  # % of the test images


def measure(framework: str) -> dict[str, float]:
    images, tests = (set_.batch(np.arange(len(set_)), 0, 0) for set_ in (MNIST(train=True), MNIST(train=False)))
    took, accuracy = trained(images, tests, "cuda")
    if accuracy < GOAL:
        raise RuntimeError(f"{accuracy:.2f} % of the test images are right after {EPOCHS} epochs, {GOAL} are the goal")
    print(f"{accuracy:.2f} % of the test images are right", file=sys.stderr)
    return {f"training to {GOAL:.0f} % of the test images": took}


def trained(images, tests, device: str) -> tuple[float, float]:
    """Seconds of training on (images, labels), and the percentage of ``tests`` that is right then."""
    x, y = (minidl.tensor(each, device=device) for each in images)
    steps = len(x) // BATCH
    _, step, _ = _network(device, steps)
    step(x[:BATCH], y[:BATCH])  # compiles the kernels
    minidl.manual_seed(0)
    model, step, schedule = _network(device, steps)
    _wait(device)
    start = time.perf_counter()
    for _ in range(EPOCHS):
        order = minidl.randperm(len(x), device=device)
        for i in range(steps):
            chosen = order[i * BATCH : (i + 1) * BATCH]
            step(x[chosen], y[chosen])
            schedule.step()
    _wait(device)
    took = time.perf_counter() - start
    model.eval()
    with minidl.no_grad():
        right = model(minidl.tensor(tests[0], device=device)).argmax(1).cpu().numpy() == tests[1]
    return took, 100 * float(right.mean())


def _network(device: str, steps: int):
    """The network, its step of training, and a rate that falls to nothing."""
    model = lenet5().to(device)
    optimizer = optim.SGD(model.parameters(), lr=RATE, momentum=0.9, nesterov=True)

    @minidl.capture
    def step(x, y):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    return model, step, optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, EPOCHS * steps)


def _wait(device: str) -> None:
    if device != "cpu":
        minidl.cuda.synchronize()


if __name__ == "__main__":
    if not DATA.is_dir():
        sys.exit("skipped: MNIST is not here; set MINIDL_DATA to a folder that holds mnist/")
    main("benchmarks.gpu.mnist", __doc__, peers=())
