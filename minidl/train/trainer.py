"""The training loop: epochs of batches, metrics, checkpoints, and a resume that continues to the same bits."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import islice

import numpy as np

from minidl import random
from minidl.amp import GradScaler, autocast
from minidl.cuda.graph import capture
from minidl.data.dataset import Subset
from minidl.data.prefetch import prefetch
from minidl.device import Device
from minidl.errors import CheckpointError, DataError, MinidlError, UsageError, require
from minidl.nn.utils import device_of, preserved
from minidl.ops.cross_entropy import cross_entropy
from minidl.ops.join import cat
from minidl.ops.softmax import softmax
from minidl.optim.lr_scheduler import ReduceLROnPlateau
from minidl.study import pictures
from minidl.tape import no_grad
from minidl.train import plots
from minidl.train.events import EventWriter
from minidl.train.progress import progress_for
from minidl.train.run import RunFolder, check_alike, check_history
from minidl.train.sums import Sums

MOST_CLASSES = 100  # in a confusion matrix that can be drawn
AMP = {"off": None, "bf16": "bfloat16", "fp16": "float16"}
MOST_OVERFLOWS = 16  # of the loss, which is not scaled yet, in a row: one comes of an odd batch, so many of the weights
TRIED = 2  # batches of each kind that run before the first epoch


class DivergedError(MinidlError, ArithmeticError):
    """The loss became NaN or infinite."""


class Trainer:
    """Trains a classifier and leaves a run folder.

    ``train`` and ``test`` are loaders of (images, labels), which are sent to ``device`` (default: where the model is).
    ``schedule`` is stepped with the optimizer, ``before_epoch(epoch)`` is called before each epoch, counted from 0. The optimizer
    steps after every ``accumulate`` batches, along the gradient of their mean loss, as if they were one. ``classes`` are names
    for the pictures. ``amp`` "bf16" or "fp16" computes in mixed precision (see ``minidl.amp``), the latter with a scaled loss. On
    a GPU, with ``captured``, each epoch records its steps (``minidl.capture``): small models are then many times faster, and what
    cannot be recorded raises CaptureError. Everything that a continued run needs is in the checkpoint, which is written before
    the first epoch and after each: weights, state of optimizer, schedule, scaler and loader, the random state, and the metrics so
    far.

    Raises UsageError for another ``amp``, MissingDependencyError for "bf16" without the package ml_dtypes.

    >>> import tempfile
    >>> from minidl import nn, optim
    >>> from minidl.data import DataLoader, Digits
    >>> model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> train, test = DataLoader(Digits(), 50, shuffle=True, seed=0), DataLoader(Digits(train=False), 50)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trainer = Trainer(model, optim.SGD(model.parameters(), 0.1), train, test, RunFolder(folder).create({}))
    ...     trainer.fit(epochs=1)["test_accuracy"] > 0.7  # doctest: +ELLIPSIS
      epoch    train loss   accuracy    test loss   accuracy    images/s
        1/1 ...
    True
    """

    def __init__(self, model, optimizer, train, test, run: RunFolder, *, schedule=None, loss: Callable = cross_entropy,
                 before_epoch: Callable[[int], None] | None = None, accumulate: int = 1,
                 classes: list[str] | None = None, device=None, amp: str = "off", captured: bool = False):
        if amp not in AMP:
            raise UsageError(f"amp must be one of {', '.join(AMP)}, got {amp!r}")
        self.model, self.optimizer, self.schedule, self.loss = model, optimizer, schedule, loss
        self.train, self.test, self.run = train, test, run
        self.device = device_of(model) if device is None else device
        self.before_epoch, self.accumulate, self.captured = before_epoch, accumulate, captured
        self.classes = classes
        kind = Device.parse(self.device).type
        self.precision = autocast(kind, AMP[amp], enabled=amp != "off")
        self.scaler = GradScaler(kind, enabled=amp == "fp16")
        self.epoch, self.history = 0, []
        self._kept: list[tuple] = []  # buffers, and what they were before the step, as far as that may be left out

    def fit(self, epochs: int) -> dict:
        """Train up to ``epochs`` epochs in all, and return the metrics of the last.

        Before the first, two batches of each loader are tried without a trace, so that a mistake shows in seconds. Raises
        DivergedError when the loss becomes NaN or infinite, with ``amp`` "fp16" more than 16 times in a row in one epoch: a
        single one makes the scaler leave out a step, moves no running statistics, and is left out of the metrics. The last
        checkpoint stays.
        """
        require("matplotlib", extra="train")  # which is needed after the first epoch: say so before it
        if self.epoch == 0:
            self.try_out()
            self._save()
        with progress_for(sys.stdout, epochs) as progress, closing(EventWriter(self.run.path)) as events:
            while self.epoch < epochs:
                self.history.append(self._epoch(progress))
                self.epoch += 1
                self._save()
                self.run.write_metrics(self.history)
                self.run.picture("curves.png", plots.curves(self.history))
                events.write(self.history[-1])
                progress.end(self.history[-1])
        self._finish()
        return self.history[-1]

    def resume(self) -> None:
        """Go back to the last checkpoint of the run folder; raises CheckpointError if it belongs to another model."""
        self.run.sweep()
        state = self.run.load_checkpoint()
        try:
            check_history(state["history"], state["epoch"])
            if self.schedule is not None:
                check_alike(state["schedule"], self.schedule.state_dict(), "schedule")
            check_alike(state["loader"], self.train.state_dict(), "loader")
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state.get("scaler", {}))  # older runs scaled nothing
            if self.schedule is not None:
                self.schedule.load_state_dict(state["schedule"])
            random.set_rng_state(state["rng"])
            self.train.load_state_dict(state["loader"])
            self.epoch, self.history = state["epoch"], state["history"]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            reason = error if isinstance(error, CheckpointError) else f"it is incomplete or of another kind ({error!r})"
            raise CheckpointError(f"{self.run.path}: the checkpoint does not fit: {reason}") from None
        self.run.write_metrics(self.history)

    # An epoch

    def _epoch(self, progress) -> dict:
        if self.before_epoch is not None:
            self.before_epoch(self.epoch)
        self.model.train()
        progress.begin(self.epoch, len(self.train))
        by_epoch = isinstance(self.schedule, ReduceLROnPlateau)
        sums, count, overflows, start = Sums(), 0, 0, time.perf_counter()
        self._kept = [(buffer, buffer.detach().clone()) for buffer in self.model.buffers()] if self.scaler.is_enabled() else []
        batches = _Timed(prefetch(self.train, self.device))
        step = capture(self._step) if self.captured else self._step
        while group := list(islice(batches, self.accumulate)):
            for (_, labels), (output, loss) in zip(group, step(group), strict=True):
                overflows = overflows + 1 if self._overflowed(loss) else 0
                if overflows:
                    for buffer, before in self._kept:  # the step was left out, and its running statistics are of no use
                        buffer.copy_(before)
                if not 0 < overflows <= MOST_OVERFLOWS:
                    sums.add(loss, output, labels)
                    if sums.due:
                        self._check(sums.read(), count)
                count += len(labels)
                progress.advance(*sums.means, count / (time.perf_counter() - start))
            if self.schedule is not None and not by_epoch:
                self.schedule.step()
        if not count:
            raise DataError("there is nothing to train on: the loader gave no batch")
        self._check(sums.read() if sums.count else math.nan, count)
        seconds = time.perf_counter() - start
        tested = self._evaluate(self.test)
        row = {"epoch": self.epoch + 1, "train_loss": sums.means[0], "train_accuracy": sums.means[1],
               "test_loss": tested["loss"], "test_accuracy": tested["accuracy"], "test_top5_accuracy": tested["top5_accuracy"],
               "lr": self.optimizer.param_groups[0]["lr"], "seconds": round(seconds, 3),
               "images_per_second": round(count / seconds, 1), "waited_for_data": round(batches.seconds / seconds, 4)}
        if by_epoch:
            self.schedule.step(1 - row["test_accuracy"])
        return row

    def _step(self, group) -> list:
        """A step of the optimizer along the mean loss of these batches: of each what the model gave, and its mean loss."""
        share, found = 1 / sum(len(labels) for _, labels in group), []
        for buffer, before in self._kept:  # here, so that it is recorded with the step
            before.copy_(buffer)
        self.optimizer.zero_grad()
        for images, labels in group:
            output, loss = self._forward(images, labels)
            self.scaler.scale(loss if len(group) == 1 else loss * (len(labels) * share)).backward()
            found.append((getattr(output, "logits", output), loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return found

    def _forward(self, images, labels) -> tuple:
        with self.precision:
            output = self.model(images)
            return output, self.loss(output, labels)

    def _evaluate(self, loader) -> dict:
        with self.precision:
            return evaluate(self.model, loader, self.loss, self.device)

    def _overflowed(self, loss) -> bool:
        """Whether the loss, before it was scaled, made the scaler, which waits for the GPU as this does, leave out the step."""
        return self.scaler.is_enabled() and not math.isfinite(loss.item())

    def _check(self, loss: float, count: int) -> None:
        if not math.isfinite(loss):
            raise DivergedError(f"the loss became {loss} in epoch {self.epoch + 1}, after {count:,} images: lower the learning "
                                "rate, or look for the cause with minidl.autograd.detect_anomaly()")

    def try_out(self) -> None:
        """A few batches forward and backward, after which everything is as it was, bit for bit. ``fit`` does it by itself."""
        handed_out = self.train.state_dict()
        with preserved(self.model):
            self.model.train()
            for images, labels in prefetch(islice(self.train, TRIED), self.device):
                self._forward(images, labels)[1].backward()
            self._evaluate(islice(self.test, TRIED))
        self.optimizer.zero_grad()
        self.train.load_state_dict(handed_out)

    # What a run leaves

    def _save(self) -> None:
        self.run.save_checkpoint({
            "model": self.model.state_dict(), "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "schedule": None if self.schedule is None else self.schedule.state_dict(),
            "rng": random.get_rng_state(), "loader": self.train.state_dict(), "epoch": self.epoch, "history": self.history})

    def _finish(self) -> None:
        """Weights, and pictures of what was learnt and what was not."""
        self.run.save_weights(self.model.state_dict())
        first = next((p for p in self.model.parameters() if p.ndim == 4), None)
        if first is not None:
            self.run.picture("filters.png", pictures.filters(first.detach().cpu().array))
        tested = self._evaluate(self.test)
        labels, probabilities = tested["labels"], tested["probabilities"]
        classes = self.classes or [str(number) for number in range(probabilities.shape[1])]
        if len(classes) <= MOST_CLASSES:
            self.run.picture("confusion.png", plots.confusion(labels, probabilities.argmax(1), classes))
        kept = np.setdiff1d(np.arange(len(self.test.dataset)), list(self.test.skipped))
        self.run.picture("mistakes.png", plots.mistakes(Subset(self.test.dataset, kept), labels, probabilities, classes))


def evaluate(model, loader: Iterable, loss: Callable = cross_entropy, device=None) -> dict:
    """A classifier in evaluation mode: mean "loss", "accuracy", "top5_accuracy", "labels" (N,) and "probabilities" (N, classes).

    Batches are sent to ``device`` (default: where the model is); what is returned is on the CPU.

    Raises DataError if the loader gives no batch.

    >>> from minidl import nn
    >>> from minidl.data import DataLoader, Digits
    >>> found = evaluate(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), DataLoader(Digits(train=False), batch_size=90))
    >>> sorted(found), found["probabilities"].shape
    (['accuracy', 'labels', 'loss', 'probabilities', 'top5_accuracy'], (360, 10))
    """
    losses, all_labels, all_logits = [], [], []
    with preserved(model), no_grad():
        model.eval()
        for images, labels in prefetch(loader, device_of(model) if device is None else device):
            logits = model(images)
            losses.append((loss(logits, labels), len(labels)))
            all_labels.append(labels)
            all_logits.append(logits)
    if not all_labels:
        raise DataError("there is nothing to evaluate: the loader gave no batch")
    labels, probabilities = cat(all_labels).numpy(), softmax(cat(all_logits), 1).cpu().array
    total = sum(value.item() * count for value, count in losses)
    return {"loss": total / len(labels), "accuracy": float((probabilities.argmax(1) == labels).mean()),
            "top5_accuracy": top_k_accuracy(probabilities, labels, 5), "labels": labels, "probabilities": probabilities}


def top_k_accuracy(probabilities: np.ndarray, labels: np.ndarray, k: int) -> float:
    """The share of samples whose label is among the k most probable classes; of equally probable ones the first counts.

    ILSVRC's error is 1 minus this, for k = 5.

    >>> top_k_accuracy(np.array([[0.1, 0.6, 0.3], [0.8, 0.1, 0.1]]), np.array([2, 1]), 2)
    1.0
    """
    best = np.argsort(-probabilities, 1, kind="stable")[:, :k]
    return float((best == labels[:, None]).any(1).mean())


class _Timed:
    """An iterator that counts how long it was waited for: ``seconds``."""

    def __init__(self, source: Iterable):
        self.source, self.seconds = iter(source), 0.0

    def __iter__(self):
        return self

    def __next__(self):
        start = time.perf_counter()
        try:
            return next(self.source)
        finally:
            self.seconds += time.perf_counter() - start
