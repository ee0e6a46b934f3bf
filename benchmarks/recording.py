"""What study.record costs: LeNet-5 forward and backward, plain, recorded, and plain again after a recording."""

import numpy as np

import minidl
from benchmarks.harness import main, seconds
from benchmarks.lenet import lenet5_relu
from minidl import nn
from minidl.study import record


def measure(framework: str) -> dict[str, float]:
    times = {}
    for batch in (64, 1):
        random = np.random.default_rng(0)
        x = minidl.tensor(random.standard_normal((batch, 1, 28, 28)).astype(np.float32))
        y = minidl.tensor(random.integers(0, 10, batch))
        model = lenet5_relu(nn)

        def plain(model=model, x=x, y=y):
            nn.functional.cross_entropy(model(x), y).backward()

        def recorded(model=model, plain=plain):
            with record(model):
                plain()

        times[f"batch {batch}, plain"] = seconds(plain, at_least=0.5)
        times[f"batch {batch}, recorded"] = seconds(recorded, at_least=0.5)
        times[f"batch {batch}, plain after"] = seconds(plain, at_least=0.5)
    return times


if __name__ == "__main__":
    main("benchmarks.recording", __doc__, peers=())
