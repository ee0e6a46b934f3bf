"""Cost of one small op, forward and backward: a chain of adds and multiplies of 8x8 matrices."""

import importlib

import numpy as np

from benchmarks.harness import main, seconds

LENGTH = 200


def measure(framework: str) -> dict[str, float]:
    library = importlib.import_module(framework)
    x = library.tensor(np.ones((8, 8), np.float32), requires_grad=True)
    c = library.tensor(np.ones((8, 8), np.float32))

    def forward():
        y = x
        for _ in range(LENGTH // 2):
            y = (y + c) * c
        return y

    def both():
        forward().backward(c)

    return {"forward": seconds(forward) / LENGTH, "forward and backward": seconds(both) / LENGTH}


if __name__ == "__main__":
    main("benchmarks.op_overhead", __doc__)
