"""Surviving: kills at random moments, and faults at every write, fsync and rename of a save. All resume to the same bits."""

import builtins
import errno
import os
import random
import signal
import subprocess
import sys
import time

import pytest

from minidl.cli import main
from minidl.io import atomic
from minidl.train import RunFolder
from tests.train.test_trainer import EPOCHS, bits, make, metrics

posix = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill")


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take most of the time of so short a training."""
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)


def bits_of(folder):
    return bits(RunFolder(folder).load_checkpoint()), metrics(folder)


def train_in_a_child(folder) -> int:
    """Start the run in ``folder``, or go on with it, in a forked process."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        run = RunFolder(folder)
        trainer = make(folder, run=run if run.has_checkpoint else None)
        if run.has_checkpoint:
            trainer.resume()
        trainer.fit(EPOCHS)
        status = 0
    finally:
        os._exit(status)


def survive(folder, kills, rng, longest):
    """Train with up to ``kills`` kills at random moments until the run is done; returns how many there were."""
    done = 0
    while True:
        child = train_in_a_child(folder)
        if done < kills:
            time.sleep(rng.uniform(0, longest))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status):
            assert os.WEXITSTATUS(status) == 0
            return done
        done += 1


@posix
@pytest.mark.parametrize("kills", [5, pytest.param(300, marks=pytest.mark.slow)])
def test_killed_runs_end_with_the_same_bits(tmp_path, kills):
    """At most ten kills a run, so that every stage of a training is hit."""
    make(tmp_path / "warm").fit(EPOCHS)  # compiles
    start = time.perf_counter()
    make(tmp_path / "straight").fit(EPOCHS)
    longest = time.perf_counter() - start
    expected, rng, survived, runs = bits_of(tmp_path / "straight"), random.Random(kills), 0, 0
    while survived < kills:
        folder = tmp_path / f"run{runs}"
        survived += survive(folder, min(10, kills - survived), rng, longest)
        runs += 1
        assert bits_of(folder) == expected
        assert not [name for name in os.listdir(folder) if name.endswith(atomic.SUFFIX)]
    print(f"{survived} kills in {runs} runs")


@posix
@pytest.mark.slow
def test_the_killed_command_line_ends_with_the_same_bits(tmp_path):
    command = [sys.executable, "-m", "minidl", "train", "lenet", "--epochs", "6"]
    straight, cut = tmp_path / "straight", tmp_path / "cut"
    start = time.perf_counter()
    subprocess.run([*command, "--out", str(straight)], check=True, capture_output=True)
    longest, rng, kills = time.perf_counter() - start, random.Random(0), 0
    while kills < 10:
        resumed = (cut / "checkpoint.safetensors").is_file()
        process = subprocess.Popen([*command, *(["--resume", str(cut)] if resumed else ["--out", str(cut)])],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        time.sleep(rng.uniform(0.2, 1.1) * longest)
        process.kill()
        error = process.communicate()[1].decode()
        assert process.returncode in (0, -signal.SIGKILL), error
        kills += process.returncode != 0
        if process.returncode == 0 and kills < 10:
            for path in cut.iterdir():
                path.unlink()
    subprocess.run([*command, *(["--resume", str(cut)] if (cut / "checkpoint.safetensors").is_file() else ["--out", str(cut)])],
                   check=True, capture_output=True)
    assert bits_of(cut) == bits_of(straight)
    assert (cut / "model.safetensors").read_bytes() == (straight / "model.safetensors").read_bytes()


class Faults:
    """Counts writes, fsyncs, renames and openings, and fails at number ``at`` with a full disk."""

    def __init__(self, monkeypatch, at):
        self.count, self.at = 0, at
        for module, name in ((os, "fsync"), (os, "replace"), (os, "open")):
            monkeypatch.setattr(module, name, self.counted(getattr(module, name)))
        monkeypatch.setattr(atomic, "open", self.open, raising=False)

    def counted(self, function):
        def call(*args, **kwargs):
            self.count += 1
            if self.count == self.at:
                raise OSError(errno.ENOSPC, "No space left on device")
            return function(*args, **kwargs)

        return call

    def open(self, *args, **kwargs):
        file = builtins.open(*args, **kwargs)
        file_write = self.counted(file.write)

        class Writer:
            write = staticmethod(file_write)

            def __getattr__(self, name):
                return getattr(file, name)

            def __enter__(self):
                return self

            def __exit__(self, *error):
                return file.__exit__(*error)

        return Writer()


def operations(tmp_path, monkeypatch) -> int:
    """How many there are in one epoch with its save."""
    with monkeypatch.context() as patched:
        trainer = make(tmp_path / "counted")
        trainer.fit(1)
        faults = Faults(patched, at=0)
        trainer.fit(2)
        return faults.count


def test_a_fault_at_any_step_leaves_a_checkpoint_that_resumes(tmp_path, monkeypatch):
    make(tmp_path / "straight").fit(3)
    expected = bits_of(tmp_path / "straight")
    count = operations(tmp_path, monkeypatch)
    assert count > 8
    for at in range(1, count + 1):
        folder = tmp_path / f"fault{at}"
        trainer = make(folder)
        trainer.fit(1)
        with monkeypatch.context() as patched:
            Faults(patched, at)
            with pytest.raises(OSError, match="No space left"):
                trainer.fit(3)
        assert RunFolder(folder).load_checkpoint()["epoch"] in (1, 2)
        assert not [name for name in os.listdir(folder) if name.endswith(atomic.SUFFIX)]
        again = make(folder, run=RunFolder(folder))
        again.resume()
        again.fit(3)
        assert bits_of(folder) == expected


@posix
def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch, capsys):
    main(["train", "lenet", "--epochs", "1", "--out", str(tmp_path / "run")])
    capsys.readouterr()
    with monkeypatch.context() as patched:
        Faults(patched, at=6)
        assert main(["train", "lenet", "--resume", str(tmp_path / "run"), "--epochs", "2"]) == 2
    assert "No space left on device" in capsys.readouterr().err


MEMORY = """
import gc, resource, sys
gc.disable()
import numpy as np, minidl
from minidl import nn, optim
from minidl.models import LeNet5
model = LeNet5()
optimizer = optim.SGD(model.parameters(), 0.001, momentum=0.9)
x, y = minidl.randn(2, 1, 28, 28), minidl.tensor([3, 8])
def run(steps):
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
before = run(1000)
print((run(int(sys.argv[1])) - before) / int(sys.argv[1]))
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs /proc")
@pytest.mark.parametrize("steps", [2000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_memory_is_flat_without_the_garbage_collector(steps):
    found = subprocess.run([sys.executable, "-c", MEMORY, str(steps)], check=True, capture_output=True, text=True)
    growth = float(found.stdout)
    print(f"{growth:.1f} bytes a step")
    assert growth < 1024
