"""Faster R-CNN in four steps, as its paper trained it: two networks at first, which come to share their convolutions.

    1  the region proposal network learns, with convolutions of its own
    2  a Fast R-CNN learns from these proposals, with other convolutions
    3  a region proposal network learns on the convolutions of step 2, which stay as they are
    4  so does the head, from the proposals of step 3

Source: Ren et al., "Faster R-CNN" (2015), section 3.2. Training all four losses at once takes two thirds of the time, with close
results, which is why everybody does so: ``FasterRCNN`` by itself.
"""

from collections.abc import Callable, Sequence

from minidl import nn
from minidl.models.detect.faster_rcnn import FasterRCNN
from minidl.models.detect.parts.detections import Detections
from minidl.models.detect.parts.detector import Detector
from minidl.models.detect.parts.inputs import Batch, for_training
from minidl.nn.utils import device_of
from minidl.tape import no_grad
from minidl.tensor import Tensor


def four_steps(make: Callable[[], FasterRCNN], train: Callable[[Detector], object]) -> FasterRCNN:
    """The detector after four steps of training.

    ``make`` gives a new detector, each time with the same pretrained convolutions, if any; ``train`` minimises the losses of the
    ``Detector`` that it is given, as a ``DetectionTrainer`` does, along those of its parameters that get gradients.
    Batch norms of what is kept are frozen.

    >>> from minidl.models import faster_rcnn_small
    >>> steps = []
    >>> detector = four_steps(lambda: faster_rcnn_small(["cat"]), steps.append)
    >>> [type(step).__name__ for step in steps]
    ['ProposalLosses', 'RegionLosses', 'ProposalLosses', 'RegionLosses']
    """
    proposer, detector = make(), make()
    train(ProposalLosses(proposer))
    _keep(proposer)
    train(RegionLosses(detector, proposer))
    _keep(detector.backbone)
    train(ProposalLosses(detector))
    _keep(detector.rpn)
    train(RegionLosses(detector, detector))
    return detector


def _keep(part: nn.Module) -> None:
    """Let it learn no more."""
    nn.FrozenBatchNorm2d.convert(part).requires_grad_(False)


class ProposalLosses(Detector):
    """A Faster R-CNN with the losses of its region proposal network alone."""

    def __init__(self, detector: FasterRCNN):
        super().__init__()
        self.classes, self.detector = detector.classes, detector

    def losses(self, images: Sequence, targets: Sequence[dict]) -> dict[str, Tensor]:
        """"loss_objectness" and "loss_rpn_box_reg"."""
        batch = self.detector.inputs(images, device_of(self))
        features = self.detector.backbone(batch.images)
        return self.detector.rpn(features, batch, for_training(targets, batch, len(self.classes)))[1]

    def detect(self, images: Sequence) -> list[Detections]:
        """What the detector finds, whose head knows nothing yet in the first step."""
        return self.detector.detect(images)


class RegionLosses(Detector):
    """A Faster R-CNN with the losses of its head alone, from the proposals of another one, or from its own."""

    def __init__(self, detector: FasterRCNN, proposer: FasterRCNN):
        super().__init__()
        self.classes, self.detector, self.proposer = detector.classes, detector, proposer

    def losses(self, images: Sequence, targets: Sequence[dict]) -> dict[str, Tensor]:
        """"loss_classifier" and "loss_box_reg"."""
        batch = self.detector.inputs(images, device_of(self))
        features = self.detector.backbone(batch.images)
        proposals = self._proposals(features, batch)
        return self.detector.roi_heads.losses(features, proposals, batch, for_training(targets, batch, len(self.classes)))

    def detect(self, images: Sequence) -> list[Detections]:
        """What the detector's head finds in the proposals that it learns from."""
        batch = self.detector.inputs(images, device_of(self))
        features = self.detector.backbone(batch.images)
        return self.detector.roi_heads.detect(features, self._proposals(features, batch), batch)

    @no_grad()
    def _proposals(self, features: list[Tensor], batch: Batch) -> list[Tensor]:
        theirs = features if self.proposer is self.detector else self.proposer.backbone(batch.images)
        return self.proposer.rpn(theirs, batch)[0]
