"""Fast R-CNN: the picture goes through the convolutions once, and each proposal takes its part of the feature map.

    picture -> backbone -> feature map -> RoIPool at each proposal -> two layers -> classes and better boxes, in one loss

Source: Girshick, "Fast R-CNN" (2015).

What it changed: R-CNN ran its network on each of two thousand proposals, and trained classifier, SVMs and regressors one after
another, with features on disk. Here one pass serves all proposals and one loss trains everything. Samples are hierarchical: two
pictures a step with 64 proposals each share most of the work. What is left to do outside is finding proposals.

Different from the paper: offsets are divided by fixed deviations, as in its author's later code, not by measured ones.
"""

from collections.abc import Callable, Sequence

import numpy as np

from minidl import nn
from minidl.errors import UsageError
from minidl.models.classify.vgg import vgg16
from minidl.models.detect.faster_rcnn import small_head, vgg_head
from minidl.models.detect.parts.backbones import SmallBackbone, VGGBackbone
from minidl.models.detect.parts.detections import Detections
from minidl.models.detect.parts.detector import Detector
from minidl.models.detect.parts.inputs import Inputs, for_training, rescaled
from minidl.models.detect.parts.roi_heads import RoIHeads
from minidl.models.detect.proposals import selective_search
from minidl.nn.utils import device_of
from minidl.tensor import Tensor, astensor, from_numpy


class FastRCNN(Detector):
    """Fast R-CNN of parts: see ``minidl.models.detect.parts``. Losses: "loss_classifier" and "loss_box_reg".

    Targets have ``proposals`` (P, 4) as well. ``proposer`` finds them in pictures to be judged: from (3, H, W) to an array
    (P, 4), by default Selective Search in its fast mode.
    """

    def __init__(self, classes: Sequence[str], backbone: nn.Module, roi_heads: RoIHeads, inputs: Inputs,
                 proposer: Callable = selective_search):
        super().__init__()
        self.classes, self.inputs, self.proposer = tuple(classes), inputs, proposer
        self.backbone, self.roi_heads = backbone, roi_heads

    def losses(self, images: Sequence, targets: Sequence[dict]) -> dict[str, Tensor]:
        """The two losses by name; raises DataError for targets without proposals, and for boxes that are none."""
        batch = self.inputs(images, device_of(self))
        targets = for_training(targets, batch, len(self.classes), with_proposals=True)
        features = self.backbone(batch.images)
        return self.roi_heads.losses(features, [target["proposals"] for target in targets], batch, targets)

    def detect(self, images: Sequence) -> list[Detections]:
        """What is in the pictures, in the mode that the modules are in; ``predict`` is for users."""
        return self.detect_in(images, [self.proposer(image) for image in images])

    def detect_in(self, images: Sequence, proposals: Sequence) -> list[Detections]:
        """The same with the proposals (P, 4) of each picture given, in its pixels."""
        batch = self.inputs(images, device_of(self))
        proposals = [rescaled(astensor(boxes).float().to(batch.images.device), *sizes)
                     for boxes, *sizes in zip(proposals, batch.originals, batch.sizes, strict=True)]
        return self.roi_heads.detect(self.backbone(batch.images), proposals, batch)

    def truncate(self, fc6: int = 1024, fc7: int = 256) -> "FastRCNN":
        """Replace both linear layers by their best approximations of rank ``fc6`` and ``fc7``; returns the detector.

        Source: section 3.1, which says that it cuts a third of the time for 0.3 points of mAP.
        """
        head = self.roi_heads.box_head
        head.fc6, head.fc7 = truncated(head.fc6, fc6), truncated(head.fc7, fc7)
        return self


def truncated(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Two linear layers in place of one: W ≈ U Σ Vᵀ with the ``rank`` largest singular values, the first layer being Σ Vᵀ.

    Raises UsageError unless the rank is from 1 to that of the matrix.

    >>> import minidl
    >>> layer, x = nn.Linear(5, 4), minidl.randn(3, 5)
    >>> minidl.allclose(truncated(layer, 4)(x), layer(x), atol=1e-6)
    True
    """
    if not 1 <= rank <= min(layer.weight.shape):
        raise UsageError(f"a matrix of {layer.weight.shape} has a rank from 1 to {min(layer.weight.shape)}, got {rank}")
    u, s, vt = np.linalg.svd(layer.weight.detach().cpu().numpy().astype(np.float64), full_matrices=False)
    first, second = nn.Linear(layer.in_features, rank, bias=False), nn.Linear(rank, layer.out_features)
    for new, weight in ((first, s[:rank, None] * vt[:rank]), (second, u[:, :rank])):
        new.weight = nn.Parameter(from_numpy(weight.astype(np.float32)).to(layer.weight.device))
    second.bias = layer.bias
    return nn.Sequential(first, second)


def fast_rcnn_small(classes: Sequence[str], min_size: int = 128, max_size: int = 213, proposer: Callable = selective_search
                    ) -> FastRCNN:
    """For a laptop, with the backbone and the head of ``faster_rcnn_small``."""
    backbone = SmallBackbone()
    head = small_head(backbone.channels, len(classes), background_from=0.1)
    return FastRCNN(classes, backbone, head, Inputs(min_size, max_size, multiple=8), proposer)


def fast_rcnn_vgg16(classes: Sequence[str], weights_backbone=None, proposer: Callable = selective_search) -> FastRCNN:
    """The paper's model L: VGG-16, RoIPool 7x7, two layers of 4096; the shorter side at 600 pixels.

    ``weights_backbone``: None, "imagenet" or a file for VGG-16. 134,690,729 parameters for VOC's twenty classes.
    """
    vgg = vgg16(weights=weights_backbone)
    head = vgg_head(vgg, len(classes), samples=64, background_from=0.1)
    return FastRCNN(classes, VGGBackbone(vgg, weights_backbone is not None), head, Inputs(600, 1000, multiple=16), proposer)
