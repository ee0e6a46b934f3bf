"""The training loop: epochs of batches, metrics, checkpoints, and a resume that continues to the same bits."""

import math
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from itertools import islice

from minidl import random
from minidl.amp import GradScaler, autocast
from minidl.cuda.graph import capture
from minidl.data.prefetch import prefetch
from minidl.device import Device
from minidl.errors import CheckpointError, DataError, MinidlError, UsageError, require
from minidl.nn.utils import clip_grad_norm_, device_of, preserved
from minidl.optim.lr_scheduler import ReduceLROnPlateau
from minidl.study import pictures
from minidl.train.events import EventWriter
from minidl.train.progress import Column, progress_for
from minidl.train.run import RunFolder, check_alike, check_history, score
from minidl.train.sums import Sums

AMP = {"off": None, "bf16": "bfloat16", "fp16": "float16"}
MOST_OVERFLOWS = 16  # of the loss, which is not scaled yet, in a row: one comes of an odd batch, so many of the weights
TRIED = 2  # batches of each kind that run before the first epoch


class DivergedError(MinidlError, ArithmeticError):
    """The loss became NaN or infinite."""


class BaseTrainer:
    """What the trainers share: a loop over epochs that leaves a run folder. Subclasses say what is computed and shown.

    ``train`` and ``test`` are loaders of (images, targets), which are sent to ``device`` (default: where the model is); the
    length of the targets is the number of images. ``schedule`` is stepped with the optimizer, ``before_epoch(epoch)`` is called
    before each epoch, counted from 0. The optimizer steps after every ``accumulate`` batches, along the gradient of their mean
    loss, as if they were one; if ``clip_norm`` is not 0, the gradient is made shorter where its norm exceeds that. ``classes``
    are names for the pictures. ``amp`` "bf16" or "fp16" computes in mixed precision (see ``minidl.amp``), the latter with a
    scaled loss. On a GPU, with ``captured``, each epoch records its steps (``minidl.capture``): small models are then many times
    faster, and what cannot be recorded raises CaptureError. Everything that a continued run needs is in the checkpoint, which is
    written before the first epoch and after each: weights, state of optimizer, schedule, scaler and loader, the random state, and
    the metrics so far.

    Raises UsageError for another ``amp``, MissingDependencyError for "bf16" without the package ml_dtypes.
    """

    each_batch = False  # whether a GPU is waited for after each batch, to know which one made the loss NaN

    def __init__(self, model, optimizer, train, test, run: RunFolder, *, schedule=None,
                 before_epoch: Callable[[int], None] | None = None, accumulate: int = 1, clip_norm: float = 0,
                 classes: list[str] | None = None, device=None, amp: str = "off", captured: bool = False):
        if amp not in AMP:
            raise UsageError(f"amp must be one of {', '.join(AMP)}, got {amp!r}")
        self.model, self.optimizer, self.schedule, self.train, self.test, self.run = model, optimizer, schedule, train, test, run
        self.device = device_of(model) if device is None else device
        self.before_epoch, self.accumulate, self.clip_norm, self.captured = before_epoch, accumulate, clip_norm, captured
        self.classes = classes
        kind = Device.parse(self.device).type
        self.precision = autocast(kind, AMP[amp], enabled=amp != "off")
        self.scaler = GradScaler(kind, enabled=amp == "fp16")
        self.epoch, self.epochs, self.history = 0, 0, []
        self._kept: list[tuple] = []  # buffers, and what they were before the step, as far as that may be left out

    # What subclasses write

    def forward(self, images, targets) -> tuple:
        """What the model gives for a batch, and its mean loss."""
        raise NotImplementedError(f"{type(self).__name__} has no forward")

    def totals(self, output, loss, targets) -> dict:
        """Sums over the images of a batch, by name, scalar arrays: the metrics of the training images, "loss" among them."""
        raise NotImplementedError(f"{type(self).__name__} has no totals")

    def evaluate(self, loader: Iterable):
        """What the model makes of the test images."""
        raise NotImplementedError(f"{type(self).__name__} has no evaluate")

    def tested(self) -> dict:
        """The metrics of the test images after an epoch, by their names in the run folder."""
        raise NotImplementedError(f"{type(self).__name__} has no tested")

    def columns(self, row: dict) -> list[Column]:
        """What of the metrics of an epoch is shown in the table."""
        raise NotImplementedError(f"{type(self).__name__} has no columns")

    def shown(self, means: dict) -> str:
        """The metrics of the training images so far, as text."""
        raise NotImplementedError(f"{type(self).__name__} has no shown")

    def curves(self):
        """The picture of all epochs so far."""
        raise NotImplementedError(f"{type(self).__name__} has no curves")

    def pictures(self) -> None:
        """Leave pictures of what was learnt and what was not, at the end."""

    def whose(self, targets) -> str:
        """Which images a batch has, as text for an error; by default, nothing of them is known."""
        return ""

    # Epochs

    def fit(self, epochs: int) -> dict:
        """Train up to ``epochs`` epochs in all, and return the metrics of the last.

        Before the first, two batches of each loader are tried without a trace, so that a mistake shows in seconds. Raises
        DivergedError when the loss becomes NaN or infinite, with ``amp`` "fp16" more than 16 times in a row in one epoch: a
        single one makes the scaler leave out a step, moves no running statistics, and is left out of the metrics. The last
        checkpoint stays.
        """
        require("matplotlib", extra="train")  # which is needed after the first epoch: say so before it
        self.epochs = epochs
        if self.epoch == 0:
            self.try_out()
            self._save()
        with progress_for(sys.stdout, epochs) as progress, closing(EventWriter(self.run.path)) as events:
            while self.epoch < epochs:
                row = self._epoch(progress)
                self.history.append(row)
                self.epoch += 1
                self._save()
                self.run.write_metrics(self.history)
                self.run.picture("curves.png", self.curves())
                events.write(row)
                progress.end(row, self.columns(row))
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

    def _epoch(self, progress) -> dict:
        if self.before_epoch is not None:
            self.before_epoch(self.epoch)
        self.model.train()
        progress.begin(self.epoch, len(self.train))
        by_epoch = isinstance(self.schedule, ReduceLROnPlateau)
        sums, count, overflows, targets, start = Sums(self.device), 0, 0, [], time.perf_counter()
        self._kept = [(buffer, buffer.detach().clone()) for buffer in self.model.buffers()] if self.scaler.is_enabled() else []
        batches = _Timed(prefetch(self.train, self.device))
        step = capture(self._step) if self.captured else self._step
        while group := list(islice(batches, self.accumulate)):
            for (_, targets), (output, loss) in zip(group, step(group), strict=True):
                overflows = overflows + 1 if self._overflowed(loss) else 0
                if overflows:
                    for buffer, before in self._kept:  # the step was left out, and its running statistics are of no use
                        buffer.copy_(before)
                if not 0 < overflows <= MOST_OVERFLOWS:
                    sums.add(len(targets), self.totals(output, loss, targets))
                    if self.each_batch or sums.due:
                        self._check(sums.read(), count, targets)
                count += len(targets)
                progress.advance(self.shown(sums.means), count / (time.perf_counter() - start))
            if self.schedule is not None and not by_epoch:
                self.schedule.step()
        if not count:
            raise DataError("there is nothing to train on: the loader gave no batch")
        self._check(sums.read() if sums.count else math.nan, count, targets)
        seconds = time.perf_counter() - start
        row = {"epoch": self.epoch + 1, **{f"train_{name}": mean for name, mean in sums.means.items()}, **self.tested(),
               "lr": self.optimizer.param_groups[0]["lr"], "seconds": round(seconds, 3),
               "images_per_second": round(count / seconds, 1), "waited_for_data": round(batches.seconds / seconds, 4)}
        if by_epoch and score(row) is not None:  # detectors are not tested after each epoch
            self.schedule.step(1 - score(row))
        return row

    def _step(self, group) -> list:
        """A step of the optimizer along the mean loss of these batches: of each what the model gave, and its mean loss."""
        share, found = 1 / sum(len(targets) for _, targets in group), []
        for buffer, before in self._kept:  # here, so that it is recorded with the step
            before.copy_(buffer)
        self.optimizer.zero_grad()
        for images, targets in group:
            output, loss = self._forward(images, targets)
            self.scaler.scale(loss if len(group) == 1 else loss * (len(targets) * share)).backward()
            found.append((output, loss))
        if self.clip_norm:
            self.scaler.unscale_(self.optimizer)
            clip_grad_norm_(self.model.parameters(), self.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return found

    def _forward(self, images, targets) -> tuple:
        with self.precision:
            return self.forward(images, targets)

    def _evaluate(self, loader):
        with self.precision:
            return self.evaluate(loader)

    def _overflowed(self, loss) -> bool:
        """Whether the loss, before it was scaled, made the scaler, which waits for the GPU as this does, leave out the step."""
        return self.scaler.is_enabled() and not math.isfinite(loss.item())

    def _check(self, loss: float, count: int, targets) -> None:
        if not math.isfinite(loss):
            raise DivergedError(f"the loss became {loss} in epoch {self.epoch + 1}, after {count:,} images{self.whose(targets)}: "
                                "lower the learning rate, or look for the cause with minidl.autograd.detect_anomaly()")

    def try_out(self) -> None:
        """A few batches forward and backward, after which everything is as it was, bit for bit. ``fit`` does it by itself."""
        handed_out = self.train.state_dict()
        with preserved(self.model):
            self.model.train()
            for images, targets in prefetch(islice(self.train, TRIED), self.device):
                self._forward(images, targets)[1].backward()
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
        self.pictures()


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
