"""Mean loss and accuracy of an epoch, without waiting for a GPU after each batch."""

import math
import time

import numpy as np


class Sums:
    """The sums of losses and hits in an epoch so far, and their means when they were last read.

    They are added up where they are computed. To read them is to wait until a GPU has done all that it was told, so there it is
    ``due`` ten times in a second, and on the CPU always.
    """

    def __init__(self):
        self.loss, self.hits, self.count, self.means, self.last = 0.0, 0, 0, (0.0, 0.0), -math.inf

    def add(self, loss, logits, labels) -> None:
        """A batch: its mean loss, the logits, and the labels."""
        self.device = loss.device
        self.loss = self.loss + loss.array.astype(np.float64) * len(labels)
        self.hits = self.hits + (logits.array.argmax(1) == labels.array).sum()
        self.count += len(labels)

    @property
    def due(self) -> bool:
        """Whether it is time to read them."""
        return self.device.type == "cpu" or time.monotonic() > self.last + 0.1

    def read(self) -> float:
        """The sum of the losses."""
        total, self.last = float(self.loss), time.monotonic()
        self.means = total / self.count, int(self.hits) / self.count
        return total
