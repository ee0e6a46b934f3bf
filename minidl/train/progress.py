"""What a person sees while a model trains: a live bar on a terminal, one line an epoch elsewhere."""

from minidl.errors import require


def progress_for(stream, epochs: int):
    """The display that fits ``stream``, as a context manager with begin, advance and end."""
    return Bar(epochs) if stream.isatty() else Lines(stream, epochs)


def summary(row: dict, epochs: int) -> str:
    """One epoch in one line."""
    return (f"epoch {row['epoch']:>2}/{epochs}  train loss {row['train_loss']:.4f}  accuracy {row['train_accuracy']:.2%}  "
            f"test loss {row['test_loss']:.4f}  accuracy {row['test_accuracy']:.2%}  {row['images_per_second']:.0f} images/s")


class Lines:
    """One line an epoch, for logs."""

    def __init__(self, stream, epochs: int):
        self.stream, self.epochs = stream, epochs

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def begin(self, epoch: int, batches: int) -> None:
        pass

    def advance(self, loss: float, accuracy: float, rate: float) -> None:
        pass

    def end(self, row: dict) -> None:
        print(summary(row, self.epochs), file=self.stream, flush=True)


class Bar:
    """A live progress bar with loss, accuracy, images per second and time left; finished epochs stay as lines above it."""

    def __init__(self, epochs: int):
        rich = require("rich.progress", extra="train")
        self.epochs = epochs
        self.progress = rich.Progress(
            rich.TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"), rich.BarColumn(), rich.MofNCompleteColumn(),
            rich.TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2%}  {task.fields[rate]:.0f} images/s"),
            rich.TimeRemainingColumn(), transient=True)

    def __enter__(self):
        self.progress.start()
        return self

    def __exit__(self, *_):
        self.progress.stop()

    def begin(self, epoch: int, batches: int) -> None:
        for task in list(self.progress.task_ids):
            self.progress.remove_task(task)
        self.task = self.progress.add_task("", total=batches, epoch=epoch + 1, epochs=self.epochs, loss=0.0, accuracy=0.0, rate=0.0)

    def advance(self, loss: float, accuracy: float, rate: float) -> None:
        self.progress.update(self.task, advance=1, loss=loss, accuracy=accuracy, rate=rate)

    def end(self, row: dict) -> None:
        self.progress.print(summary(row, self.epochs))
