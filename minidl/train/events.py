"""TensorBoard's event files, where its writer is installed."""

import importlib.util
from pathlib import Path

TAGS = {"train_loss": "loss/train", "test_loss": "loss/test", "train_accuracy": "accuracy/train",
        "test_accuracy": "accuracy/test", "test_map": "mean average precision/test", "lr": "learning rate",
        "images_per_second": "images per second"}


class EventWriter:
    """Metrics as scalars in ``folder``; does nothing where the package tensorboard is not installed."""

    def __init__(self, folder: Path):
        self._folder, self._writer = folder, None

    def write(self, row: dict) -> None:
        """The metrics of an epoch."""
        if importlib.util.find_spec("tensorboard") is None:
            return
        if self._writer is None:
            from tensorboard.summary import Writer  # a third of a second

            self._writer = Writer(str(self._folder))
        for name, value in row.items():
            tag = TAGS.get(name) or name.startswith("train_loss_") and f"{name[6:]}/train"
            if tag and value is not None:
                self._writer.add_scalar(tag, float(value), row["epoch"])
        self._writer.flush()

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
