"""Dry runs, overfitting, comparing runs, finding a rate, TensorBoard."""

import importlib.util

import pytest

from minidl.cli import main


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(capsys, *arguments):
    code = main(list(arguments))
    return code, *capsys.readouterr()


def test_dry_run_writes_nothing(here, capsys):
    code, out, err = run(capsys, "train", "lenet", "--dry-run", "--epochs", "3")
    assert code == 0 and not err and "nothing was written" in out and "epochs 3" in out and "45 batches" in out
    assert not list(here.iterdir())
    assert run(capsys, "train", "lenet", "--dry-run", "--out", "x")[0] == 2
    assert "at most 256" in run(capsys, "train", "lenet", "--dry-run", "--workers", "99999999")[2]


def test_overfit_learns_by_heart(here, capsys):
    code, out, _ = run(capsys, "train", "lenet", "--overfit", "20", "--epochs", "12", "--out", "run")
    assert code == 0 and out.splitlines()[-1] == "test accuracy 100.00 %"
    assert run(capsys, "train", "lenet", "--resume", "run", "--epochs", "13")[0] == 0
    assert run(capsys, "train", "lenet", "--overfit", "-1")[0] == 2


def test_runs_are_listed_and_laid_over_each_other(here, capsys):
    assert "there are no runs in runs" in run(capsys, "runs")[2]
    for name, seed in (("a", "0"), ("b", "1")):
        main(["train", "lenet", "--epochs", "1", "--seed", seed, "--out", f"runs/{name}"])
    (here / "runs/broken").mkdir()
    (here / "runs/broken/config.json").write_text("{")
    (here / "runs/a/metrics.jsonl").write_text((here / "runs/a/metrics.jsonl").read_text())
    capsys.readouterr()
    code, out, _ = run(capsys, "runs")
    assert code == 0 and "runs/a  " in out and "1/1" in out and "runs/broken  cannot be read" in out
    code, out, _ = run(capsys, "runs", "runs/a", "runs/b", "--out", "both.png")
    assert code == 0 and "seed" in out and "epochs_" not in out and (here / "both.png").read_bytes().startswith(b"\x89PNG")
    assert "model" not in out.split("differs")[1]
    assert run(capsys, "runs", "runs/none")[0] == 2
    assert run(capsys, "runs", "runs/a", "--out", "nowhere/x.png")[0] == 2
    (here / "runs/a/metrics.jsonl").write_text('{"epoch": 1}\n')
    code, _, err = run(capsys, "runs", "runs/a", "runs/b")
    assert code == 2 and "metrics.jsonl cannot be read" in err


def test_lr_find(here, capsys):
    code, out, _ = run(capsys, "lr-find", "lenet", "--steps", "40")
    assert code == 0 and "suggested learning rate" in out and "a tenth of the rate" in out
    assert (here / "lr-find.png").read_bytes().startswith(b"\x89PNG") and len(list(here.iterdir())) == 1
    assert run(capsys, "lr-find", "lenet-1998")[0] == 2
    assert run(capsys, "lr-find", "lenet", "--low", "2", "--high", "1")[0] == 2
    assert run(capsys, "lr-find", "lenet", "--out", "nowhere/x.png")[0] == 2


def test_tensorboard_where_it_is_installed(here, capsys, monkeypatch):
    main(["train", "lenet", "--epochs", "1", "--out", "with"])
    assert bool(list(here.glob("with/events.out.tfevents.*"))) == (importlib.util.find_spec("tensorboard") is not None)
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else found(name, *rest))
    main(["train", "lenet", "--epochs", "1", "--out", "without"])
    assert not list(here.glob("without/events*"))
