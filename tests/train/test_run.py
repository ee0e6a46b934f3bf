"""Run folders, versions, and what is shown while a model trains."""

import io
import json
import sys

import pytest

from minidl.errors import CheckpointError, UsageError
from minidl.io import save
from minidl.train import RunFolder, progress, versions
from minidl.train.run import check_history
from minidl.train.trainer import COLUMNS

ROW = {"epoch": 2, "train_loss": 0.5, "train_accuracy": 0.75, "test_loss": 0.25, "test_accuracy": 1.0,
       "images_per_second": 1234.5}


def test_create_and_open(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b").create({"lr": 0.1})
    assert RunFolder(tmp_path / "a" / "b").open().config == {"lr": 0.1}
    found = json.loads((folder.path / "versions.json").read_text())
    assert found["minidl"] and found["python"] and found["numpy"] and found["threads"] >= 1
    assert found["command"] and found["started"] and found["blas"]


def test_another_run_is_not_overwritten(tmp_path):
    folder = RunFolder(tmp_path).create({})
    folder.create({"again": "before the first checkpoint"})
    folder.save_checkpoint({})
    with pytest.raises(UsageError, match="holds a run already: continue it with --resume"):
        folder.create({})
    assert folder.config == {"again": "before the first checkpoint"}


def test_what_is_no_run(tmp_path):
    with pytest.raises(CheckpointError, match="not a run folder"):
        RunFolder(tmp_path).open()
    folder = RunFolder(tmp_path).create({})
    with pytest.raises(CheckpointError, match="cannot be read: No such file"):
        folder.load_checkpoint()
    for value in ([1], {"model": {}}):
        save(value, tmp_path / "checkpoint.safetensors")
        with pytest.raises(CheckpointError, match="is not a checkpoint of a training run"):
            folder.load_checkpoint()
    for text in ("{", "[]", "[" * 100_000, b"\xff"):
        (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
        with pytest.raises(CheckpointError, match="config.json"):
            _ = folder.config


def test_changes_since_the_start(tmp_path):
    folder = RunFolder(tmp_path).create({})
    assert folder.changes() == []
    found = json.loads((tmp_path / "versions.json").read_text())
    (tmp_path / "versions.json").write_text(json.dumps(found | {"threads": 77, "python": "2.7"}))
    assert folder.changes() == [f"threads was 77, is {found['threads']}"]


def test_sweep_removes_debris_alone(tmp_path):
    folder = RunFolder(tmp_path).create({})
    (tmp_path / ".checkpoint.safetensors.1a2b3c4d.tmp").write_bytes(b"half")
    (tmp_path / "notes.tmp").write_text("mine")
    folder.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "notes.tmp", "versions.json"]


def test_versions_name_blas():
    assert all("threads: " in library for library in versions.blas())


def test_lines_off_a_terminal():
    stream = io.StringIO()
    with progress.progress_for(stream, 12) as display:
        for _ in range(2):
            display.begin(1, 5)
            display.advance("loss 0.1", 3.0)
            display.end(ROW, COLUMNS)
    header, *rows = stream.getvalue().splitlines()
    assert header == "  epoch    train loss   accuracy    test loss   accuracy    images/s" and len(rows) == 2
    assert rows[0] == "   2/12        0.5000    75.00 %       0.2500   100.00 %       1,234"


def test_what_was_not_measured_is_a_dash():
    assert progress.Column("   mAP", "test_map").text({"test_map": None}) == "     -"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_bar_on_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with progress.progress_for(stream, 12) as display:
        display.begin(1, 5)
        display.advance("loss 0.1234  accuracy 98.70 %", 45678.0)
        display.progress.refresh()
        display.end(ROW, COLUMNS)
        assert display.progress.tasks[0].completed == 6 and display.progress.tasks[0].total == 60
    shown = stream.getvalue()
    for part in ("epoch 2/12", "loss 0.1234", "accuracy 98.70 %", "45,678 images/s", "left", "2/12        0.5000"):
        assert part in shown, part


def test_a_bar_over_the_items_of_a_collection(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        assert list(progress.tracked(["a", "b"], "letters", stream)) == ["a", "b"]
        assert ("letters" in stream.getvalue()) == shown


BOTH = {"epoch": 1, "train_loss": 0.5, "lr": 0.1, "seconds": 2.0, "images_per_second": 3.0}


@pytest.mark.parametrize("row", [
    {**BOTH, "train_accuracy": 0.5, "test_loss": 1.0, "test_accuracy": 0.5}, {**BOTH, "test_map": 0.5},
    {**BOTH, "test_map": None, "train_loss_rpn": 0.1}])
def test_histories_of_classifiers_and_detectors(row):
    check_history([row], 1)


@pytest.mark.parametrize("row", [
    BOTH, {**BOTH, "test_map": float("nan")}, {**BOTH, "test_map": 0.5, "train_loss_rpn": "x"},
    {**BOTH, "test_map": 0.5, "epoch": 2}, {**BOTH, "test_map": 0.5, "lr": None}, {**BOTH, "test_accuracy": 0.5},
    {"test_map": 0.5}, None])
def test_tampered_histories(row):
    with pytest.raises(CheckpointError, match="the metrics of epoch 1 are not the numbers"):
        check_history([row], 1)


def test_no_bar_under_another(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with progress.progress_for(Terminal(), 12):
        assert list(progress.tracked(["a", "b"], "letters")) == ["a", "b"]
    assert "letters" not in sys.stderr.getvalue()
    list(progress.tracked(["a"], "letters"))
    assert "letters" in sys.stderr.getvalue()
