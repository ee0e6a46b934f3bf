"""What a person sees while a model trains: a line for each epoch, and on a terminal a live bar under them."""

import sys
import time
from collections.abc import Callable, Collection
from typing import NamedTuple

from minidl.errors import require


def loss(value: float) -> str:
    """A loss as text."""
    return f"{value:.4f}"


def percent(part: float) -> str:
    """A part of a whole as text.

    >>> percent(0.987)
    '98.70 %'
    """
    return f"{100 * part:.2f} %"


def speed(rate: float) -> str:
    """Images per second as text.

    >>> speed(12514.2), speed(3.14)
    ('12,514', '3.1')
    """
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"


class Column(NamedTuple):
    """A column of the table of epochs: its ``title``, as wide as the column, the ``name`` of the metric, and how its values are
    written.
    """

    title: str
    name: str
    written: Callable[[float], str] = loss

    def text(self, row: dict) -> str:
        """The metric of an epoch; a dash where it was not measured.

        >>> Column("   accuracy", "test_accuracy", percent).text({"test_accuracy": 0.987})
        '    98.70 %'
        """
        value = row.get(self.name)
        return ("-" if value is None else self.written(value)).rjust(len(self.title))


SPEED = Column("    images/s", "images_per_second", speed)


def progress_for(stream, epochs: int):
    """The display that fits ``stream``, as a context manager with ``begin``, ``advance`` and ``end``."""
    return Bar(stream, epochs) if stream.isatty() else Lines(stream, epochs)


class Lines:
    """A header and one line for each epoch, for logs."""

    def __init__(self, stream, epochs: int):
        self.stream, self.epochs, self.header = stream, epochs, None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begin(self, epoch: int, batches: int) -> None:
        """Epoch number ``epoch``, counted from 0, begins."""

    def advance(self, means: str, rate: float) -> None:
        """A batch is done: the means of the epoch so far, as text, and images per second."""

    def end(self, row: dict, columns: list[Column]) -> None:
        """An epoch is done: its metrics, and which are shown."""
        header = "  epoch" + "".join(column.title for column in columns)
        if self.header != header:
            self._print(header)
        self.header, epoch = header, f"{row['epoch']}/{self.epochs}"
        self._print(f"{epoch:>7}" + "".join(column.text(row) for column in columns))

    def _print(self, text: str) -> None:
        print(text, file=self.stream, flush=True)


class Bar(Lines):
    """The same lines, and under them a bar over the whole training, with means, images per second and time left."""

    def __init__(self, stream, epochs: int):
        super().__init__(stream, epochs)
        rich = require("rich.progress", extra="train")
        self.console = require("rich.console", extra="train").Console(file=stream, highlight=False)
        self.progress = rich.Progress(
            rich.TextColumn("{task.description}"), rich.BarColumn(bar_width=None), rich.TextColumn("{task.fields[means]}"),
            rich.TextColumn("{task.fields[rate]} images/s"), rich.TimeRemainingColumn(), rich.TextColumn("left"),
            console=self.console, transient=True, expand=True)
        self.task, self.waiting, self.due = None, 0, 0.0

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()

    def begin(self, epoch, batches):
        if self.task is None:
            self.task = self.progress.add_task("", total=self.epochs * batches, completed=epoch * batches, means="", rate="0")
        self.progress.update(self.task, description=f"epoch {epoch + 1}/{self.epochs}")

    def advance(self, means, rate):
        self.waiting += 1
        if time.monotonic() >= self.due:  # batches of one image come faster than a bar need move
            self.progress.update(self.task, advance=self.waiting, means=means, rate=speed(rate))
            self.waiting, self.due = 0, time.monotonic() + 0.1

    def _print(self, text):
        self.console.print(text, markup=False)


def tracked(items: Collection, what: str, stream=None):
    """The items of a collection, one after another, and on a terminal a bar that says how many of them are done. By default on
    stderr; under another bar there is none.

    >>> list(tracked([3, 5], "squares"))
    [3, 5]
    """
    stream = sys.stderr if stream is None else stream
    if not stream.isatty() or type(stream).__name__ == "FileProxy":  # rich's, in place of stderr while it shows another bar
        yield from items
        return
    console = require("rich.console", extra="train").Console(file=stream)
    yield from require("rich.progress", extra="train").track(items, what, console=console, transient=True)
