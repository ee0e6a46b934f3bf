"""What a person sees while a model trains: a line for each epoch, and on a terminal a live bar under them."""

import sys
import time
from collections.abc import Collection

from minidl.errors import require

HEADER = "  epoch    train loss   accuracy    test loss   accuracy    images/s"


def progress_for(stream, epochs: int):
    """The display that fits ``stream``, as a context manager with ``begin``, ``advance`` and ``end``."""
    return Bar(stream, epochs) if stream.isatty() else Lines(stream, epochs)


def line(row: dict, epochs: int) -> str:
    """The metrics of one epoch under ``HEADER``.

    >>> print(HEADER); print(line({"epoch": 3, "train_loss": 0.0523, "train_accuracy": 0.9841, "test_loss": 0.0412,
    ...                            "test_accuracy": 0.987, "images_per_second": 12514.2}, 10))
      epoch    train loss   accuracy    test loss   accuracy    images/s
       3/10        0.0523    98.41 %       0.0412    98.70 %      12,514
    """
    epoch = f"{row['epoch']}/{epochs}"
    return (f"{epoch:>7}  {row['train_loss']:12.4f}  {100 * row['train_accuracy']:7.2f} %  {row['test_loss']:11.4f}"
            f"  {100 * row['test_accuracy']:7.2f} %  {row['images_per_second']:10,.0f}")


class Lines:
    """A header and one line for each epoch, for logs."""

    def __init__(self, stream, epochs: int):
        self.stream, self.epochs, self.begun = stream, epochs, False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begin(self, epoch: int, batches: int) -> None:
        """Epoch number ``epoch``, counted from 0, begins."""
        if not self.begun:
            self._print(HEADER)
        self.begun = True

    def advance(self, loss: float, accuracy: float, rate: float) -> None:
        """A batch is done: the means of the epoch so far, and images per second."""

    def end(self, row: dict) -> None:
        """An epoch is done."""
        self._print(line(row, self.epochs))

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Bar(Lines):
    """The same lines, and under them a bar over the whole training, with loss, accuracy, images per second and time left."""

    def __init__(self, stream, epochs: int):
        super().__init__(stream, epochs)
        rich = require("rich.progress", extra="train")
        self.console = require("rich.console", extra="train").Console(file=stream, highlight=False)
        self.progress = rich.Progress(
            rich.TextColumn("{task.description}"), rich.BarColumn(bar_width=None),
            rich.TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2f} %"),
            rich.TextColumn("{task.fields[rate]:,.0f} images/s"), rich.TimeRemainingColumn(), rich.TextColumn("left"),
            console=self.console, transient=True, expand=True)
        self.task, self.waiting, self.due = None, 0, 0.0

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()

    def begin(self, epoch, batches):
        super().begin(epoch, batches)
        if self.task is None:
            self.task = self.progress.add_task("", total=self.epochs * batches, completed=epoch * batches,
                                               loss=0.0, accuracy=0.0, rate=0.0)
        self.progress.update(self.task, description=f"epoch {epoch + 1}/{self.epochs}")

    def advance(self, loss, accuracy, rate):
        self.waiting += 1
        if time.monotonic() >= self.due:  # batches of one image come faster than a bar need move
            self.progress.update(self.task, advance=self.waiting, loss=loss, accuracy=100 * accuracy, rate=rate)
            self.waiting, self.due = 0, time.monotonic() + 0.1

    def _print(self, text):
        self.console.print(text, markup=False)


def tracked(items: Collection, what: str, stream=None):
    """The items of a collection, one after another, and on a terminal a bar that says how many of them are done. By default on
    stderr.

    >>> list(tracked([3, 5], "squares"))
    [3, 5]
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield from items
        return
    console = require("rich.console", extra="train").Console(file=stream)
    yield from require("rich.progress", extra="train").track(items, what, console=console, transient=True)
