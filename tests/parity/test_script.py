"""A training script written for PyTorch runs here with only its imports changed, and takes the same path."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl.data.digits import load

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = (Path(__file__).parent / "script_mnist.txt").read_text()
SHAPES = {"conv1.weight": (6, 1, 5, 5), "conv1.bias": (6,), "conv2.weight": (16, 6, 5, 5), "conv2.bias": (16,),
          "fc1.weight": (120, 400), "fc1.bias": (120,), "fc2.weight": (84, 120), "fc2.bias": (84,), "fc3.weight": (10, 84),
          "fc3.bias": (10,)}


def inputs(folder: Path) -> None:
    """Digits at 28x28 and one common starting point."""
    images, labels = load()
    np.save(folder / "images.npy", np.pad(images.repeat(3, 1).repeat(3, 2)[:640] * 15, ((0, 0), (2, 2), (2, 2))).astype(np.uint8))
    np.save(folder / "labels.npy", labels[:640].astype(np.int64))
    random = np.random.default_rng(0)
    np.savez(folder / "start.npz", **{name: (random.standard_normal(shape) * np.sqrt(1 / max(1, np.prod(shape[1:])))
                                             ).astype(np.float32) for name, shape in SHAPES.items()})


def run(folder: Path, library: str) -> dict:
    path = folder / f"train_{library}.py"
    path.write_text(SCRIPT.format(library=library))
    subprocess.run([sys.executable, path], cwd=folder, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, timeout=300)
    return dict(np.load(folder / f"{library}.npz"))


def test_script_runs(tmp_path):
    inputs(tmp_path)
    assert run(tmp_path, "minidl")["accuracy"] > 0.6  # after fifty steps; chance is 0.1


def test_script_takes_pytorchs_path(tmp_path):
    pytest.importorskip("torch")
    inputs(tmp_path)
    ours, theirs = run(tmp_path, "minidl"), run(tmp_path, "torch")
    # Fifty float32 steps: rounding differences grow from 1e-7 by a factor that the momentum steps set.
    assert np.allclose(ours["losses"], theirs["losses"], rtol=2e-3)
    assert abs(ours["accuracy"] - theirs["accuracy"]) < 0.02
