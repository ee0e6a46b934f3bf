"""The training loop: epochs of batches, metrics, checkpoints, and a resume that continues to the same bits."""

import math
import sys
import time
from collections.abc import Callable

import numpy as np

from minidl import random
from minidl.errors import CheckpointError, MinidlError
from minidl.ops.cross_entropy import cross_entropy
from minidl.ops.softmax import softmax
from minidl.tape import no_grad
from minidl.tensor import tensor
from minidl.train import plots
from minidl.train.progress import progress_for
from minidl.train.run import RunFolder


class DivergedError(MinidlError, ArithmeticError):
    """The loss became NaN or infinite."""


class Trainer:
    """Train a classifier and leave a run folder.

    ``train`` and ``test`` are loaders of (images, labels). ``schedule`` is stepped once a batch. Two batches of each are tried
    before the first epoch, without a trace, so that a mistake shows in seconds. Raises DivergedError when the loss becomes NaN
    or infinite; the last checkpoint stays.
    """

    def __init__(self, model, optimizer, train, test, run: RunFolder, *, schedule=None, loss: Callable = cross_entropy,
                 classes: list[str] | None = None, device="cpu"):
        self.model, self.optimizer, self.schedule, self.loss = model, optimizer, schedule, loss
        self.train, self.test, self.run, self.device = train, test, run, device
        self.classes = classes
        self.epoch, self.history = 0, []

    def fit(self, epochs: int) -> dict:
        """Train up to ``epochs`` epochs in all; returns the metrics of the last."""
        if self.epoch == 0:
            self._try_out()
        with progress_for(sys.stdout, epochs) as progress:
            while self.epoch < epochs:
                self.history.append(self._epoch(progress))
                self.epoch += 1
                self._keep()
        self._pictures()
        return self.history[-1] if self.history else {}

    def _epoch(self, progress) -> dict:
        self.model.train()
        self.train.set_epoch(self.epoch)
        start = time.perf_counter()
        total_loss = correct = count = 0
        progress.begin(self.epoch, len(self.train))
        for batch, (images, labels) in enumerate(self.train):
            logits, loss = self._step(images, labels)
            if not math.isfinite(loss):
                raise DivergedError(f"the loss became {loss} in epoch {self.epoch + 1}, batch {batch + 1}: lower the learning rate "
                                    "(--lr), or look for the cause with minidl.autograd.detect_anomaly()")
            total_loss += loss * len(labels)
            correct += int((logits.argmax(1) == labels.array).sum())
            count += len(labels)
            progress.advance(total_loss / count, correct / count, count / (time.perf_counter() - start))
        seconds = time.perf_counter() - start
        tested = evaluate(self.model, self.test, self.loss, self.device)
        row = {"epoch": self.epoch + 1, "train_loss": total_loss / count, "train_accuracy": correct / count,
               "test_loss": tested["loss"], "test_accuracy": tested["accuracy"], "lr": self.optimizer.param_groups[0]["lr"],
               "seconds": round(seconds, 3), "images_per_second": round(count / seconds, 1)}
        progress.end(row)
        return row

    def _step(self, images, labels) -> tuple[np.ndarray, float]:
        """One update; returns the logits and the loss."""
        logits = self.model(images.to(self.device))
        loss = self.loss(logits, labels.to(self.device))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
        return logits.detach().cpu().array, loss.item()

    def _try_out(self) -> None:
        """Two training and two test batches, after which everything is as it was, bit for bit."""
        before = random.get_rng_state()
        state = {name: t.array.copy() for name, t in self.model.state_dict().items()}
        self.model.train()
        for _, (images, labels) in zip(range(2), self.train, strict=False):
            self.loss(self.model(images.to(self.device)), labels.to(self.device)).backward()
        evaluate(self.model, _First(self.test, 2), self.loss, self.device)
        self.optimizer.zero_grad()
        self.model.load_state_dict(state)
        random.set_rng_state(before)

    # Keeping and resuming

    def _keep(self) -> None:
        self.run.save_checkpoint({
            "model": dict(self.model.state_dict()), "optimizer": self.optimizer.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(), "epoch": self.epoch,
            "rng": list(random.get_rng_state()), "loader_seed": self.train.seed, "history": self.history})
        self.run.write_metrics(self.history)
        self.run.picture("curves.png", plots.curves(self.history))

    def resume(self) -> None:
        """Go back to the last checkpoint of the run folder; raises CheckpointError if it belongs to another model."""
        state = self.run.load_checkpoint()
        try:
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            if self.schedule is not None:
                self.schedule.load_state_dict(state["schedule"])
            random.set_rng_state(state["rng"])
            self.train.seed, self.epoch, self.history = state["loader_seed"], state["epoch"], state["history"]
        except CheckpointError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"{self.run.path}: the checkpoint is incomplete or of another kind: {error!r}") from None
        self.run.write_metrics(self.history)

    def _pictures(self) -> None:
        tested = evaluate(self.model, self.test, self.loss, self.device, keep=True)
        self.run.save_weights(self.model.state_dict())
        first = next((p for p in self.model.parameters() if p.ndim == 4), None)
        if first is not None:
            self.run.picture("filters.png", plots.filters(first.detach().cpu().array))
        self.run.picture("confusion.png", plots.confusion(tested["labels"], tested["predicted"], self.classes))
        self.run.picture("mistakes.png", plots.mistakes(self.test.dataset, tested["labels"], tested["probabilities"], self.classes))


class _First:
    """The first batches of a loader."""

    def __init__(self, loader, batches: int):
        self.loader, self.batches = loader, batches

    def __iter__(self):
        return (batch for _, batch in zip(range(self.batches), self.loader, strict=False))


def evaluate(model, loader, loss: Callable = cross_entropy, device="cpu", keep=False) -> dict:
    """Mean loss and accuracy of a classifier, in evaluation mode; with ``keep`` also labels, predictions and probabilities.

    >>> from minidl import nn
    >>> from minidl.data import DataLoader, Digits
    >>> found = evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), DataLoader(Digits(train=False), batch_size=90))
    >>> sorted(found), found["count"]
    (['accuracy', 'count', 'loss'], 360)
    """
    was_training = model.training
    model.eval()
    total, count, labels_seen, rows = 0.0, 0, [], []
    with no_grad():
        for images, labels in loader:
            logits = model(images.to(device))
            total += loss(logits, labels.to(device)).item() * len(labels)
            count += len(labels)
            labels_seen.append(labels.array)
            rows.append(logits.cpu().array)
    model.train(was_training)
    if not count:
        raise MinidlError("there is nothing to evaluate: the loader gave no batch")
    logits, labels = np.concatenate(rows), np.concatenate(labels_seen)
    predicted = logits.argmax(1)
    found = {"loss": total / count, "accuracy": float((predicted == labels).mean()), "count": count}
    if keep:
        found |= {"labels": labels, "predicted": predicted, "probabilities": softmax(tensor(logits), 1).array}
    return found
