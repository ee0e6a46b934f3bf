"""One whole epoch of LeNet-5 on MNIST, batch 64. The peer holds the set in memory as tensors and indexes it by batches."""

import importlib
import os
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.harness import main
from benchmarks.lenet import lenet5_relu

BATCH = 64
DATA = Path(os.environ.get("MINIDL_DATA", "")) / "mnist"


def measure(framework: str) -> dict[str, float]:
    from minidl.data.mnist import MNIST

    library = importlib.import_module(framework)
    nn, optim = (importlib.import_module(f"{framework}.{part}") for part in ("nn", "optim"))
    train = MNIST(train=True)
    images, labels = train.batch(np.arange(len(train)), 0, 0)
    model = lenet5_relu(nn)
    optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    loss_function = nn.CrossEntropyLoss()
    if framework == "minidl":
        batches = library.data.DataLoader(train, batch_size=BATCH, shuffle=True)
    else:
        batches = _Indexed(library, library.tensor(images), library.tensor(labels).long())

    def epoch():
        for x, y in batches:
            optimizer.zero_grad()
            loss_function(model(x), y).backward()
            optimizer.step()

    epoch()  # warm
    start = time.perf_counter()
    epoch()
    return {"one epoch": time.perf_counter() - start}


class _Indexed:
    """The fastest simple loader of the peer: one permutation, one gather for each batch."""

    def __init__(self, library, images, labels):
        self.library, self.images, self.labels = library, images, labels

    def __iter__(self):
        order = self.library.randperm(len(self.images))
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            yield self.images[chosen], self.labels[chosen]


if __name__ == "__main__":
    if not DATA.is_dir():
        sys.exit("skipped: MNIST is not here; set MINIDL_DATA to a folder that holds mnist/")
    main("benchmarks.mnist_epoch", __doc__)
