"""The trainer of detectors, and what a detector is worth."""

from collections.abc import Iterable, Iterator
from functools import reduce
from operator import add

import numpy as np

from minidl.data.collate import arrays
from minidl.data.prefetch import prefetch
from minidl.errors import DataError
from minidl.models.detect import pictures
from minidl.models.evaluate.voc import VOCResult, evaluate_voc, precision_recall
from minidl.nn.utils import device_of
from minidl.train import BaseTrainer, RunFolder, plots
from minidl.train.progress import SPEED, Column, percent
from minidl.train.sums import total

NAMES = 10  # of a batch, in an error
SHOWN = 4  # test images whose detections are drawn


class DetectionTrainer(BaseTrainer):
    """Trains any ``Detector`` and leaves a run folder.

    ``train`` and ``test`` are loaders of (images, targets) by ``detection_collate``. The sum of the detector's losses is
    minimised; each of them is in the metrics, and VOC's mAP@0.5 of the test images after every ``every`` epochs and after the
    last, as "test_map". The other arguments are those of ``minidl.train.loop.BaseTrainer``; ``classes`` are the detector's. A
    loss that becomes NaN or infinite raises DivergedError with the names of the batch's images.

    Beside curves and filters, precision-recall.png and detections.png are left: a few test images with what is there, and with
    what was found.

    >>> import tempfile
    >>> from minidl import optim
    >>> from minidl.data import DataLoader, Scenes, detection_collate
    >>> from minidl.models import faster_rcnn_small
    >>> model = faster_rcnn_small(Scenes.classes)
    >>> train, test = (DataLoader(Scenes(part, length=2), 2, collate_fn=detection_collate, seed=0) for part in (True, False))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     trainer = DetectionTrainer(model, optim.SGD(model.parameters(), 0.01), train, test, RunFolder(folder).create({}))
    ...     row = trainer.fit(epochs=1)  # doctest: +ELLIPSIS
      epoch    train loss   objectness   rpn_box_reg   classifier   box_reg   test mAP    images/s
        1/1 ...
    >>> 0 <= row["test_map"] <= 1 and row["train_loss"] > row["train_loss_classifier"] > 0
    True
    """

    each_batch = True

    def __init__(self, model, optimizer, train, test, run: RunFolder | None, *, every: int = 1, **options):
        super().__init__(model, optimizer, train, test, run, classes=list(model.classes), **options)
        self.every = every
        self.result: VOCResult | None = None  # of the latest epoch, if its weights were tested

    def forward(self, images, targets):
        losses = self.model(images, targets)
        return losses, reduce(add, losses.values())

    def totals(self, output, loss, targets):
        return {name: total(value, len(targets)) for name, value in ({"loss": loss} | output).items()}

    def evaluate(self, loader):
        return evaluate(self.model, loader, self.device)

    def tested(self):
        epoch = self.epoch + 1
        self.result = self._evaluate(self.test) if epoch % self.every == 0 or epoch == self.epochs else None
        known = self.result is not None and np.isfinite(self.result.mean_ap)
        return {"test_map": self.result.mean_ap if known else None}

    def columns(self, row):
        losses = [Column(f"   {short:>7}", name) for short, name in _losses(row).items()]
        return [Column("    train loss", "train_loss"), *losses, Column("   test mAP", "test_map", percent), SPEED]

    def shown(self, means):
        return f"loss {means.get('loss', 0):.4f}"

    def curves(self):
        losses = plots.Panel("training loss", {"sum": "train_loss", **_losses(self.history[-1])})
        score = plots.Panel("mAP@0.5 of the test images, %", {"test": "test_map"}, "{:.2f} %", 100, is_loss=False)
        return plots.curves(self.history, (losses, score))

    def pictures(self):
        result = self._evaluate(self.test) if self.result is None else self.result
        self.run.picture("precision-recall.png", precision_recall(result))
        whole = [index for index in range(len(self.test.dataset)) if index not in self.test.skipped]
        samples = [self.test.dataset[index] for index in whole[:: -(-len(whole) // SHOWN) or 1]]
        found = self.model.predict([image for image, _ in samples])
        self.run.picture("detections.png", pictures.beside(samples, found, self.classes))

    def whose(self, targets):
        names = [name_of(self.train.dataset, target) for target in targets]
        more = f" and {len(names) - NAMES} more" if len(names) > NAMES else ""
        return f", in the batch of {', '.join(names[:NAMES])}{more}"


def evaluate(model, loader: Iterable, device=None) -> VOCResult:
    """Average precisions of a detector at an overlap of 0.5, by VOC's rules; arguments and errors as of ``detections``."""
    found = list(detections(model, loader, device))
    return evaluate_voc((each for each, _ in found), (target for _, target in found), model.classes)


def detections(model, loader: Iterable, device=None) -> Iterator[tuple]:
    """What a detector finds in each image of a loader, and the target, as arrays on the CPU, without masks and keypoints.

    Batches are sent to ``device`` (default: where the model is). Raises DataError if the loader gives no batch.
    """
    empty = True
    for images, targets in prefetch(loader, device_of(model) if device is None else device):
        empty = False
        for found, target in zip(model.predict(images), targets, strict=True):
            kept = {name: value for name, value in target.items() if name not in ("masks", "keypoints", "proposals")}
            yield arrays(found), arrays(kept)
    if empty:
        raise DataError("there is nothing to evaluate: the loader gave no batch")


def name_of(dataset, target: dict) -> str:
    """What the data set calls the picture of a target; of one that has no names, its number.

    >>> from minidl.data import Scenes, Subset
    >>> name_of(Subset(Scenes(), [3]), Scenes()[3][1])
    'image 3'
    """
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    number = int(arrays(target["image_id"]))
    return dataset.name(number) if hasattr(dataset, "name") else f"image {number}"


def _losses(row: dict) -> dict[str, str]:
    """The metrics of the detector's own losses by what they are called, without "loss"."""
    own = [name for name in row if name.startswith("train_") and name != "train_loss"]
    return {name.removeprefix("train_").removeprefix("loss_"): name for name in own}
