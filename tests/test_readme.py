"""Every command and example in the README works, with settings that make it short."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from minidl.data import Imagenette
from tests.data.pictures import encoded, noise
from tests.data.test_cifar import pack

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.S)
COMMANDS = [line.split("#")[0].strip() for kind, body in BLOCKS if not kind for line in body.splitlines()]


LAYERS = """
from minidl import nn

class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x).tanh()
"""


def run(arguments: list[str], folder: Path, data: Path | None = None) -> str:
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | ({"MINIDL_DATA": str(data)} if data else {})
    result = subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True,
                            timeout=300)
    assert result.returncode == 0, result.stderr
    return result.stdout


def little_data(folder: Path) -> Path:
    """A few pictures in the places of CIFAR-10 and Imagenette."""
    pictures = [encoded(noise(32, 32, seed)) for seed in range(20)]
    train = pack(pictures, [k % 10 for k in range(20)])
    (folder / "cifar10").mkdir(parents=True)
    np.savez(folder / "cifar10/cifar-10-jpeg.npz", **train | {key.replace("train", "test"): train[key] for key in train})
    for part in ("train", "val"):
        for name in Imagenette.names:
            (folder / "imagenette" / part / name).mkdir(parents=True)
            (folder / "imagenette" / part / name / "a.jpg").write_bytes(encoded(noise(180, 200), "JPEG"))
    return folder


@pytest.mark.parametrize("body", [body for kind, body in BLOCKS if kind == "python"])
def test_examples(body, tmp_path):
    assert run(["-c", body.replace("range(2)", "range(1)")], tmp_path)


def test_minidl_commands(tmp_path):
    """In the order in which the README has them: later ones use the run of the first."""
    (tmp_path / "layers.py").write_text(LAYERS)
    (tmp_path / "digit.png").write_bytes((ROOT / "docs/lenet-digits/filters.png").read_bytes())
    (tmp_path / "scene.png").write_bytes(encoded(noise(96, 128)))
    data = little_data(tmp_path / "data")
    seen = []
    for command in COMMANDS:
        words = command.replace(".venv/bin/", "").split()
        if words[:1] != ["minidl"] or "mnist" in command:  # MNIST is not there: these are checked below
            continue
        if words[1:3] == ["data", "get"]:  # from the network; tests/data/test_download.py has a server of its own
            continue
        words += ["--epochs", "1"] if words[1] in ("train", "transfer") else []
        words += ["--overfit", "4"] if words[1:3] == ["train", "faster-rcnn"] else []
        seen.append(run(["-m", *words], tmp_path, data))
    assert len(seen) >= 10 and "test accuracy" in seen[0]


def test_commands_on_mnist_say_how_to_get_it(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MINIDL_DATA": str(tmp_path)}
    for command in (c for c in COMMANDS if c.startswith("minidl train") and "mnist" in c):
        result = subprocess.run([sys.executable, "-m", *command.split()], cwd=tmp_path, env=environment, capture_output=True,
                                text=True, timeout=60)
        assert result.returncode == 2 and "minidl data get mnist" in result.stderr and "Traceback" not in result.stderr


def test_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {word for command in COMMANDS if command.startswith("make") for word in command.split()[1:]}
    assert targets and all(re.search(rf"^{target}:", makefile, re.M) for target in targets)
    assert "train lenet --data digits" in makefile
