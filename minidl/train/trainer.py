"""The trainer of classifiers, and what a classifier is worth."""

from collections.abc import Callable, Iterable

import numpy as np

from minidl.data.dataset import Subset
from minidl.data.prefetch import prefetch
from minidl.errors import DataError
from minidl.nn.utils import device_of, preserved
from minidl.ops.cross_entropy import cross_entropy
from minidl.ops.join import cat
from minidl.ops.softmax import softmax
from minidl.tape import no_grad
from minidl.train import plots
from minidl.train.loop import BaseTrainer
from minidl.train.progress import SPEED, Column, percent
from minidl.train.run import RunFolder
from minidl.train.sums import classified

MOST_CLASSES = 100  # in a confusion matrix that can be drawn
COLUMNS = [Column("    train loss", "train_loss"), Column("   accuracy", "train_accuracy", percent),
           Column("    test loss", "test_loss"), Column("   accuracy", "test_accuracy", percent), SPEED]


class Trainer(BaseTrainer):
    """Trains a classifier and leaves a run folder.

    ``train`` and ``test`` are loaders of (images, labels); ``loss(output, labels)`` is the mean loss of a batch. The other
    arguments are those of ``minidl.train.loop.BaseTrainer``.

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

    def __init__(self, model, optimizer, train, test, run: RunFolder, *, loss: Callable = cross_entropy, **options):
        super().__init__(model, optimizer, train, test, run, **options)
        self.loss = loss

    def forward(self, images, targets):
        output = self.model(images)
        return getattr(output, "logits", output), self.loss(output, targets)

    def totals(self, output, loss, targets):
        return classified(loss, output, targets)

    def evaluate(self, loader):
        return evaluate(self.model, loader, self.loss, self.device)

    def tested(self):
        found = self._evaluate(self.test)
        return {f"test_{name}": found[name] for name in ("loss", "accuracy", "top5_accuracy")}

    def columns(self, row):
        return COLUMNS

    def shown(self, means):
        return f"loss {means.get('loss', 0):.4f}  accuracy {percent(means.get('accuracy', 0))}"

    def curves(self):
        return plots.curves(self.history)

    def pictures(self):
        found = self._evaluate(self.test)
        labels, probabilities = found["labels"], found["probabilities"]
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
