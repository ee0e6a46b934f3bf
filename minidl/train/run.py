"""A run folder: configuration, versions, metrics, pictures, checkpoint. Every file is replaced whole."""

import json
import math
import time
from pathlib import Path

from minidl.errors import CheckpointError, UsageError
from minidl.io import atomic_write, load, save, write_text
from minidl.io.atomic import SUFFIX
from minidl.train.versions import command, differences, versions


class RunFolder:
    """Where a run keeps what it makes; ``create`` makes a new one, ``open`` takes up an old one.

    config.json             the options of the run
    versions.json           what it was made with, and the command
    metrics.jsonl           one line of JSON for each epoch
    checkpoint.safetensors  everything that continues the run, after the last whole epoch
    model.safetensors       the weights alone, at the end
    curves.png              after each epoch; filters.png and pictures of what was found and missed at the end
    """

    def __init__(self, path):
        self.path = Path(path)

    def create(self, config: dict) -> "RunFolder":
        """Make the folder and write configuration and versions down; raises UsageError if another run is there."""
        if self.has_checkpoint:
            raise UsageError(f"{self.path} holds a run already: continue it with --resume {self.path}, or choose another --out")
        self.path.mkdir(parents=True, exist_ok=True)
        self.sweep()
        self.write_config(config)
        self._write_json("versions.json", versions() | {"command": command(), "started": time.strftime("%Y-%m-%d %H:%M:%S")})
        return self

    def open(self) -> "RunFolder":
        """Take up an old run; raises CheckpointError if there is none."""
        if not (self.path / "config.json").is_file():
            raise CheckpointError(f"{self.path} is not a run folder: it has no config.json")
        return self

    @property
    def has_checkpoint(self) -> bool:
        """Whether the run can be continued."""
        return (self.path / "checkpoint.safetensors").is_file()

    @property
    def config(self) -> dict:
        """The configuration that the run was started with."""
        return self._read_json("config.json")

    def write_config(self, config: dict) -> None:
        """Replace the configuration."""
        self._write_json("config.json", config)

    def changes(self) -> list[str]:
        """What has changed since the run was started, of that which decides the last bits of a training."""
        return differences(self._read_json("versions.json"))

    def write_metrics(self, history: list[dict]) -> None:
        """One line of JSON for each epoch."""
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))

    def metrics(self) -> list[dict]:
        """The metrics of all finished epochs; raises CheckpointError if the file is damaged."""
        path = self.path / "metrics.jsonl"
        try:
            rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
            check_history(rows, len(rows))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{path} cannot be read: {error}") from None
        return rows

    def save_checkpoint(self, state: dict) -> None:
        """Replace the checkpoint."""
        save(state, self.path / "checkpoint.safetensors")

    def load_checkpoint(self) -> dict:
        """The last checkpoint; raises CheckpointError if it is missing, damaged, or not a checkpoint of a run."""
        state = load(self.path / "checkpoint.safetensors")
        if not isinstance(state, dict) or not {"model", "optimizer", "epoch", "history"} <= state.keys():
            raise CheckpointError(f"{self.path / 'checkpoint.safetensors'} is not a checkpoint of a training run")
        return state

    def save_weights(self, state_dict) -> None:
        """The weights alone, for others to load."""
        save(dict(state_dict), self.path / "model.safetensors")

    def picture(self, name: str, figure) -> None:
        """A matplotlib figure as PNG."""
        with atomic_write(self.path / name) as file:
            figure.savefig(file, format="png", dpi=120)

    def sweep(self) -> None:
        """Remove what a killed process left half-written."""
        for path in self.path.glob(f".*{SUFFIX}"):
            path.unlink(missing_ok=True)

    def _read_json(self, name: str) -> dict:
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise CheckpointError(f"{self.path / name} cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise CheckpointError(f"{self.path / name} holds no JSON object")
        return found

    def _write_json(self, name: str, value) -> None:
        write_text(self.path / name, json.dumps(value, indent=1) + "\n")


METRICS = {"epoch", "train_loss", "lr", "seconds", "images_per_second"}  # of every epoch
OF_CLASSIFIERS = METRICS | {"train_accuracy", "test_loss", "test_accuracy"}
OF_DETECTORS = METRICS | {"test_map"}  # the mean average precision, None where it was not measured


def check_history(history, epochs) -> None:
    """Raise CheckpointError unless ``history`` has the metrics of so many epochs, as finite numbers."""
    if type(epochs) is not int or not isinstance(history, list) or len(history) != epochs:
        raise CheckpointError(f"it should have the metrics of each of its epochs, and says that it has run {epochs!r}")
    for number, row in enumerate(history, 1):
        if not isinstance(row, dict) or not _has_metrics(row) or row["epoch"] != number:
            raise CheckpointError(f"the metrics of epoch {number} are not the numbers {', '.join(sorted(METRICS))}, and what "
                                  "classifiers or detectors have besides")


def _has_metrics(row: dict) -> bool:
    """Whether the metrics of a classifier or of a detector are in a row, and nothing in it but numbers."""
    numbers = all(_is_number(value) for name, value in row.items() if (name, value) != ("test_map", None))
    return numbers and (OF_CLASSIFIERS <= row.keys() or OF_DETECTORS <= row.keys())


def score(row: dict) -> float | None:
    """What a run is judged by: the accuracy of a classifier, the mean average precision of a detector, where it was measured."""
    return row.get("test_accuracy", row.get("test_map"))


def check_alike(found, expected, what: str) -> None:
    """Raise CheckpointError unless ``found`` has the keys and types of ``expected``, a state dict of a new object."""
    if isinstance(expected, dict) and isinstance(found, dict) and found.keys() == expected.keys():
        for key, value in expected.items():
            check_alike(found[key], value, f"{what}.{key}")
    elif isinstance(expected, (list, tuple)) and isinstance(found, (list, tuple)) and len(found) == len(expected):
        for i, (one, other) in enumerate(zip(found, expected, strict=True)):
            check_alike(one, other, f"{what}[{i}]")
    elif not (_is_number(found) and type(expected) in (int, float) or found == expected):
        raise CheckpointError(f"its {what} is {found!r}, where a new one has {expected!r}")


def _is_number(value) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 2**63
