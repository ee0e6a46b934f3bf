"""The loop: what it computes, that trying out leaves no trace, that a run continues to the same bits, and how it ends early."""

import itertools
import json
import math
import os

import numpy as np
import pytest

import minidl
from minidl import nn, optim, random
from minidl.data import DataLoader, TensorDataset
from minidl.data.dataset import ImageArrays
from minidl.data.transforms import Compose, RandomShift, ToTensor
from minidl.errors import CheckpointError, DataError, MinidlError, UsageError
from minidl.train import DivergedError, RunFolder, Trainer, evaluate, loop

EPOCHS = 4


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than the training; one test undoes this."""
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)


def images(n, seed):
    """Images (n, 1, 9, 7) whose class, 0 to 2, is the third of the columns that is bright."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, n)
    pixels = rng.integers(0, 120, (n, 1, 9, 7), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[:, :, 2 * label : 2 * label + 3] += 100
    return pixels, labels


def make(folder, seed=3, lr=0.05, workers=0, run=None, amp="off"):
    """A trainer of a model that has everything that a run must keep: buffers, dropout, momentum, a schedule, augmentation."""
    minidl.manual_seed(seed)
    moved = Compose([RandomShift(1), ToTensor()])
    train = DataLoader(ImageArrays(*images(50, 0), moved), 8, shuffle=True, seed=seed, num_workers=workers)
    test = DataLoader(ImageArrays(*images(23, 1), ToTensor()), 10)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
                          nn.Linear(4 * 7 * 5, 3))
    optimizer = optim.SGD(model.parameters(), lr, momentum=0.9)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS * len(train))
    return Trainer(model, optimizer, train, test, run or RunFolder(folder).create({}), schedule=schedule,
                   amp=amp)


def metrics(folder):
    """The rows of metrics.jsonl but for what depends on the clock."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key not in ("seconds", "images_per_second", "waited_for_data")} for row in rows]


def bits(value):
    """Anything in a checkpoint, with arrays as bytes."""
    if isinstance(value, dict):
        return {key: bits(item) for key, item in value.items() if key not in ("seconds", "images_per_second", "waited_for_data")}
    if isinstance(value, (list, tuple)):
        return [bits(item) for item in value]
    return value.numpy().tobytes() if isinstance(value, minidl.Tensor) else value


def test_it_learns_and_leaves_a_run_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    run = make(tmp_path)
    last = run.fit(EPOCHS)
    assert last["test_accuracy"] > 0.8 and last["epoch"] == EPOCHS and last["lr"] == 0
    left = sorted(name for name in os.listdir(tmp_path) if not name.startswith("events."))
    assert left == ["checkpoint.safetensors", "config.json", "confusion.png", "curves.png", "filters.png", "metrics.jsonl",
                    "mistakes.png", "model.safetensors", "versions.json"]
    assert len(capsys.readouterr().out.splitlines()) == 1 + EPOCHS
    found = evaluate(run.model, run.test)
    assert (found["loss"], found["accuracy"]) == (last["test_loss"], last["test_accuracy"])
    weights = minidl.load(tmp_path / "model.safetensors")
    assert bits(weights) == bits(dict(run.model.state_dict()))


def test_training_metrics_are_means_over_images(tmp_path, monkeypatch):
    """Of batches of 8 and a last one of 2, by a rate of 0, so that the model stands still."""
    run = make(tmp_path, lr=0.0)
    run.model[3].p = 0.0
    run.model[1].momentum = 0.0
    losses = []
    forward = run._forward

    def watched(images, labels):
        logits, loss = forward(images, labels)
        losses.append((loss.item() * len(labels), (logits.argmax(1) == labels).sum().item(), len(labels)))
        return logits, loss

    monkeypatch.setattr(loop, "TRIED", 0)
    monkeypatch.setattr(Trainer, "try_out", lambda self: None)
    monkeypatch.setattr(run, "_forward", watched)
    row = run.fit(1)
    total, correct, count = np.sum(losses, axis=0)
    assert count == 50 and losses[-1][2] == 2
    assert math.isclose(row["train_loss"], total / 50, rel_tol=1e-12) and row["train_accuracy"] == correct / 50


@pytest.mark.parametrize("workers", [0, 2])
def test_resumed_runs_end_with_the_same_bits(tmp_path, workers):
    """4 epochs at once, and 2 that another process (another seed, other weights) continues."""
    straight = make(tmp_path / "straight")
    straight.fit(EPOCHS)
    make(tmp_path / "parts", workers=workers).fit(2)
    resumed = make(None, seed=99, workers=workers, run=RunFolder(tmp_path / "parts").open())
    random.default_generator.uniform(size=5)
    resumed.resume()
    assert resumed.epoch == 2
    resumed.fit(EPOCHS)
    a, b = (RunFolder(tmp_path / name).load_checkpoint() for name in ("straight", "parts"))
    assert bits(a) == bits(b)
    assert metrics(tmp_path / "straight") == metrics(tmp_path / "parts") and len(a["history"]) == EPOCHS


@pytest.mark.parametrize(("amp", "low"), [("bf16", "bfloat16"), ("fp16", "float16")])
def test_mixed_precision(tmp_path, amp, low):
    """It computes as autocast does, and a run that goes on ends with the same bits."""
    if amp == "bf16":
        pytest.importorskip("ml_dtypes")
    straight = make(tmp_path / "straight", amp=amp)
    seen = set()
    straight.model[5].register_forward_hook(lambda module, inputs, output: seen.add(output.dtype.name))
    assert straight.fit(EPOCHS)["test_accuracy"] > 0.9 and seen == {low}
    assert {p.dtype.name for p in straight.model.parameters()} == {"float32"}
    make(tmp_path / "parts", amp=amp).fit(2)
    resumed = make(None, seed=99, run=RunFolder(tmp_path / "parts").open(), amp=amp)
    resumed.resume()
    resumed.fit(EPOCHS)
    a, b = (RunFolder(tmp_path / name).load_checkpoint() for name in ("straight", "parts"))
    assert bits(a) == bits(b) and ("scale" in a["scaler"]) == (amp == "fp16")


def test_an_unknown_precision(tmp_path):
    with pytest.raises(UsageError, match="off, bf16, fp16"):
        make(tmp_path, amp="tf32")


def test_a_finished_run_resumes_to_its_result(tmp_path):
    last = make(tmp_path).fit(2)
    resumed = make(None, seed=5, run=RunFolder(tmp_path).open())
    resumed.resume()
    assert resumed.fit(2) == last


def test_trying_out_leaves_no_trace(tmp_path):
    run = make(tmp_path)
    before = bits([dict(run.model.state_dict()), run.optimizer.state_dict(), run.schedule.state_dict(), run.train.state_dict(),
                   random.get_rng_state()])
    run.try_out()
    assert bits([dict(run.model.state_dict()), run.optimizer.state_dict(), run.schedule.state_dict(), run.train.state_dict(),
                 random.get_rng_state()]) == before
    assert all(p.grad is None for p in run.model.parameters())


def test_trying_out_changes_no_result(tmp_path, monkeypatch):
    make(tmp_path / "tried").fit(1)
    monkeypatch.setattr(Trainer, "try_out", lambda self: None)
    make(tmp_path / "not").fit(1)
    assert metrics(tmp_path / "tried") == metrics(tmp_path / "not")


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_mistake_shows_before_the_first_epoch(tmp_path, part):
    run = make(tmp_path)
    loader = getattr(run, part)
    loader.dataset.labels = loader.dataset.labels + 1  # one class too many for the last layer
    run._epoch = lambda progress: pytest.fail("the epoch began")
    with pytest.raises(IndexError):
        run.fit(1)
    assert not run.run.has_checkpoint


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_stops_and_keeps_the_last_checkpoint(tmp_path, value):
    run = make(tmp_path)
    run.fit(2)
    kept = (tmp_path / "checkpoint.safetensors").read_bytes()
    calls, forward = itertools.count(1), run._forward

    def poisoned(images, labels):
        logits, loss = forward(images, labels)
        return logits, loss * value if next(calls) == 5 else loss

    run._forward = poisoned
    seen = "32" if run.device.type == "cpu" else r"\d+"  # a GPU is asked ten times a second
    with pytest.raises(DivergedError, match=rf"became (nan|inf) in epoch 3, after {seen} images: lower the") as info:
        run.fit(EPOCHS)
    assert isinstance(info.value, MinidlError)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == kept
    assert all(np.isfinite(p.numpy()).all() for p in minidl.load(tmp_path / "checkpoint.safetensors")["model"].values())


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_overflows_in_float16_is_left_out(tmp_path, value):
    """The scale falls; metrics know nothing of it. An epoch of nothing else is another matter."""
    run = make(tmp_path, amp="fp16")
    calls, forward, wrong = itertools.count(1), run._forward, set()

    def poisoned(images, labels):
        logits, loss = forward(images, labels)
        return logits, loss * value if run.model.training and next(calls) in wrong else loss

    run._forward = poisoned
    wrong.update((5, 6))  # two are tried
    row = run.fit(1)
    assert run.scaler.get_scale() == 2.0**14 and math.isfinite(row["train_loss"]) and row["train_accuracy"] <= 1
    wrong.update(range(1, 99))
    with pytest.raises(DivergedError, match="became nan in epoch 2, after 50 images"):  # no loss at all
        run.fit(2)
    assert all(np.isfinite(p.numpy()).all() for p in run.model.state_dict().values())


@pytest.mark.parametrize("accumulate", [1, 2])
def test_what_overflows_in_float16_leaves_no_trace_in_running_statistics(tmp_path, accumulate):
    run = make(tmp_path, amp="fp16")
    run.accumulate = accumulate
    calls, forward, seen = itertools.count(1), run._forward, []

    def poisoned(images, labels):
        if run.model.training:
            call = next(calls)
            seen.append([buffer.tolist() for buffer in run.model.buffers()])
            images = images * math.inf if call == 5 else images  # two are tried: the first of a group
        return forward(images, labels)

    run._forward = poisoned
    assert math.isfinite(run.fit(1)["test_loss"])
    after = 4 + accumulate
    assert seen[after] == seen[4] and seen[after + 1] != seen[after] != seen[3]
    assert all(np.isfinite(buffer.numpy()).all() for buffer in run.model.buffers())


def test_more_overflows_in_a_row_than_the_scale_explains(tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "MOST_OVERFLOWS", 3)
    run = make(tmp_path, amp="fp16")
    forward, seen = run._forward, []

    def poisoned(images, labels):
        logits, loss = forward(images, labels)
        seen.append(len(labels))
        return logits, loss * math.inf if len(seen) > 2 else loss  # two are tried

    run._forward = poisoned
    with pytest.raises(DivergedError, match="became inf in epoch 1, after"):
        run.fit(1)
    assert len(seen) >= 2 + 4  # a GPU is asked ten times a second


def test_divergence_of_itself(tmp_path):
    """A rate of 1e30 makes weights, and then the loss, infinite or NaN."""
    run = make(tmp_path, lr=1e30)
    with pytest.raises(DivergedError, match="in epoch 1, after"):
        run.fit(1)


def test_interrupted_in_an_epoch(tmp_path, monkeypatch):
    """Ctrl-C in the third epoch: the checkpoint is that of the second, nothing half-written lies about, and it goes on."""
    make(tmp_path / "straight").fit(EPOCHS)
    run = make(tmp_path / "cut")
    calls, forward = itertools.count(), run._forward

    def interrupted(images, labels):
        if next(calls) == 2 + 2 * 7 + 3:  # two tried, two epochs of seven batches
            raise KeyboardInterrupt
        return forward(images, labels)

    run._forward = interrupted
    with pytest.raises(KeyboardInterrupt):
        run.fit(EPOCHS)
    assert not [name for name in os.listdir(tmp_path / "cut") if name.startswith(".")]
    resumed = make(None, seed=8, run=RunFolder(tmp_path / "cut").open())
    resumed.resume()
    assert resumed.epoch == 2
    resumed.fit(EPOCHS)
    assert metrics(tmp_path / "straight") == metrics(tmp_path / "cut")


def test_a_run_stopped_in_its_first_epoch_goes_on(tmp_path):
    run = make(tmp_path / "cut")
    run._epoch = lambda progress: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        run.fit(1)
    resumed = make(None, seed=8, run=RunFolder(tmp_path / "cut").open())
    resumed.resume()
    resumed.fit(1)
    make(tmp_path / "straight").fit(1)
    assert metrics(tmp_path / "straight") == metrics(tmp_path / "cut")


def test_a_checkpoint_of_another_model_or_optimizer(tmp_path):
    make(tmp_path).fit(1)
    other = make(None, run=RunFolder(tmp_path).open())
    other.model = nn.Linear(3, 2)
    with pytest.raises(CheckpointError, match="does not fit: this state does not fit Linear"):
        other.resume()
    other = make(None, run=RunFolder(tmp_path).open())
    other.optimizer = optim.Adam(other.model.parameters())
    with pytest.raises(CheckpointError, match="does not fit: Adam needs"):
        other.resume()


@pytest.mark.parametrize(("name", "value"), [
    ("rng", [1, 2]), ("rng", "seed"), ("loader", {}), ("loader", None), ("schedule", None), ("optimizer", []), ("model", 3),
    ("loader", {"seed": 2**70, "epoch": 1, "position": 0}), ("loader", {"seed": 0, "epoch": "x", "position": 0}),
    ("schedule", {"last_epoch": "x"}), ("epoch", "x"), ("epoch", -5), ("epoch", 1.0), ("epoch", True), ("epoch", 7),
    ("epoch", minidl.ones(3)), ("history", None), ("history", []), ("history", "a"), ("history", [{"epoch": 1}]),
    ("history", [3])])
def test_a_tampered_checkpoint(tmp_path, name, value):
    run = make(tmp_path)
    run.fit(1)
    state = run.run.load_checkpoint()
    minidl.save({**state, name: value}, tmp_path / "checkpoint.safetensors")
    with pytest.raises(CheckpointError, match="does not fit"):
        run.resume()


def test_no_batches(tmp_path):
    run = make(tmp_path)
    run.train.drop_last, run.train.batch_size = True, 64
    with pytest.raises(DataError, match="nothing to train on"):
        run.fit(1)
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(run.model, [])


def test_evaluate_by_hand():
    """Batches of 4 and 1, dropout off; modes come back as they were, each module its own."""
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.9))
    model[1].training = False
    x, y = minidl.randn(5, 6), minidl.tensor([0, 2, 1, 1, 0])
    found = evaluate(model, DataLoader(TensorDataset(x, y), 4))
    logits, y = model[0](x).detach().numpy().astype(float), y.numpy()
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert np.allclose(found["probabilities"], probabilities, rtol=1e-5)
    assert math.isclose(found["loss"], -np.log(probabilities[np.arange(5), y]).mean(), rel_tol=1e-5)
    assert found["accuracy"] == (logits.argmax(1) == y).mean() and found["labels"].tolist() == y.tolist()
    assert model.training and not model[1].training


def test_evaluate_restores_modes_after_an_error():
    model = nn.Linear(2, 2)
    with pytest.raises(MinidlError):
        evaluate(model, [(minidl.zeros(1, 5), minidl.zeros(1))])
    assert model.training


@pytest.mark.parametrize("accumulate", [2, 3])
def test_accumulated_batches_are_one_large_batch(tmp_path, accumulate):
    """50 images: the last group is smaller, and so is its last batch."""
    found = []
    for size, count in ((4 * accumulate, 1), (4, accumulate)):
        minidl.manual_seed(1)
        model = nn.Sequential(nn.Flatten(), nn.Linear(63, 3))
        train, test = (DataLoader(ImageArrays(*images(50, 0), ToTensor()), size, shuffle=True, seed=2) for _ in range(2))
        before = model[1].weight.detach().numpy().copy()
        trainer = Trainer(model, optim.SGD(model.parameters(), 0.1, momentum=0.9), train, test,
                          RunFolder(tmp_path / str(count)).create({}), accumulate=count)
        trainer.fit(2)
        found.append(model[1].weight.detach().numpy())
        assert not np.allclose(before, found[-1], atol=1e-3)
    assert np.allclose(*found, atol=1e-6)
