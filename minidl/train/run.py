"""A run folder: configuration, versions, metrics, pictures, checkpoint. Every file is replaced whole."""

import json
import time
from pathlib import Path

from minidl.errors import CheckpointError, UsageError
from minidl.io import load, save
from minidl.io.atomic import write_text
from minidl.train.versions import command, versions


class RunFolder:
    """Where a run keeps what it makes.

    ``create`` makes a new one and refuses a folder that holds another run; ``open`` takes up an old one. Files: config.json,
    versions.json, metrics.jsonl (a line for each epoch), checkpoint.safetensors, model.safetensors (the weights alone), PNGs.
    """

    def __init__(self, path):
        self.path = Path(path)

    @classmethod
    def create(cls, path, config: dict) -> "RunFolder":
        """A new run folder with its configuration and versions written down."""
        run = cls(path)
        if (run.path / "checkpoint.safetensors").exists():
            raise UsageError(f"{path} holds a run already: continue it with --resume {path}, or choose another --out")
        run.path.mkdir(parents=True, exist_ok=True)
        run.write_json("config.json", config)
        run.write_json("versions.json", versions() | {"command": command(), "started": time.strftime("%Y-%m-%d %H:%M:%S")})
        return run

    @classmethod
    def open(cls, path) -> "RunFolder":
        """An old run; raises CheckpointError if there is none."""
        run = cls(path)
        if not (run.path / "config.json").is_file():
            raise CheckpointError(f"{path} is not a run folder: it has no config.json")
        return run

    @property
    def config(self) -> dict:
        """The configuration that the run was started with."""
        try:
            found = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{self.path / 'config.json'} cannot be read: {error}") from None
        if not isinstance(found, dict):
            raise CheckpointError(f"{self.path / 'config.json'} holds no table of options")
        return found

    def write_json(self, name: str, value) -> None:
        write_text(self.path / name, json.dumps(value, indent=1) + "\n")

    def write_metrics(self, history: list[dict]) -> None:
        """One line of JSON for each epoch."""
        write_text(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in history))

    def save_checkpoint(self, state: dict) -> None:
        save(state, self.path / "checkpoint.safetensors")

    def load_checkpoint(self) -> dict:
        """The last checkpoint; raises CheckpointError if it is missing, damaged, or not a checkpoint of a run."""
        state = load(self.path / "checkpoint.safetensors")
        if not isinstance(state, dict) or not {"model", "optimizer", "epoch", "history"} <= set(state):
            raise CheckpointError(f"{self.path / 'checkpoint.safetensors'} is not a checkpoint of a training run")
        return state

    def save_weights(self, state_dict) -> None:
        save(dict(state_dict), self.path / "model.safetensors")

    def picture(self, name: str, figure) -> None:
        """A matplotlib figure as PNG."""
        from minidl.io.atomic import atomic_write

        with atomic_write(self.path / name) as file:
            figure.savefig(file, format="png", dpi=120)
