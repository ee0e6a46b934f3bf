"""Means over the images of an epoch, without waiting for a GPU after each batch."""

import math
import time

import numpy as np

from minidl.device import Device


class Sums:
    """Sums over the images of an epoch so far, and their ``means`` by name when they were last read.

    They are added up where they are computed. To read them is to wait until a GPU has done all that it was told, so there it is
    ``due`` ten times in a second, and on the CPU always.
    """

    def __init__(self, device):
        self.device = Device.parse(device)
        self.totals, self.count, self.means, self.last = {}, 0, {}, -math.inf

    def add(self, count: int, totals: dict) -> None:
        """A batch of so many images: sums over them by name, scalar arrays, of which one is the "loss"."""
        self.totals = {name: self.totals.get(name, 0) + total for name, total in totals.items()}
        self.count += count

    @property
    def due(self) -> bool:
        """Whether it is time to read them."""
        return self.device.type == "cpu" or time.monotonic() > self.last + 0.1

    def read(self) -> float:
        """The sum of the losses."""
        self.means, self.last = {name: total.item() / self.count for name, total in self.totals.items()}, time.monotonic()
        return self.totals["loss"].item()


def total(loss, count: int):
    """The sum that a mean loss of so many images stands for, as an array of double precision."""
    return loss.array.astype(np.float64) * count


def classified(loss, logits, labels) -> dict:
    """Loss and hits of a classifier, summed over a batch: from its mean loss, the logits, and the labels."""
    return {"loss": total(loss, len(labels)), "accuracy": (logits.array.argmax(1) == labels.array).sum()}
