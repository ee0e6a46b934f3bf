"""The detector: a network for windows, and what judges its features."""

from collections.abc import Callable, Sequence

from minidl import nn
from minidl.errors import DataError
from minidl.models.classify.alexnet import alexnet
from minidl.models.classify.vgg import vgg16
from minidl.models.detect.parts.coder import BoxCoder
from minidl.models.detect.parts.detections import Detections, best
from minidl.models.detect.parts.detector import Detector
from minidl.models.detect.parts.inputs import Inputs, for_training
from minidl.models.detect.parts.matcher import BalancedSampler, Matcher
from minidl.models.detect.proposals import selective_search
from minidl.models.detect.rcnn.warp import warp
from minidl.nn.utils import device_of
from minidl.ops.boxes import clip_boxes_to_image
from minidl.ops.create import full
from minidl.ops.cross_entropy import cross_entropy
from minidl.ops.elementwise import sigmoid
from minidl.ops.join import cat
from minidl.ops.softmax import softmax
from minidl.tape import no_grad
from minidl.tensor import Tensor, astensor

CHUNK = 256  # windows in one pass


class RCNN(Detector):
    """R-CNN of parts. Its loss, for fine-tuning: "loss_classifier".

    Args:
        classes: names of the classes.
        pool5: the network's lower part, from windows (K, 3, size, size) to features (K, D5), which know where things are.
        fc7: its upper part, from these to (K, D7), which tell what they are.
        features: (D5, D7).
        size, padding: see ``warp``.
        samples: windows in a step of fine-tuning, a quarter of them with an object, as far as there are any.
        proposer: finds regions in pictures to be judged: from (3, H, W) to an array (P, 4). Targets have ``proposals``.
        score_threshold, nms_threshold, most: of the detections in a picture: the least score, the most overlap of two of the same
            class, and how many. By default the least score with SVMs is 0, and without them 0.05.

    ``fit`` fits ``svms`` and ``regressors``, linear maps of the features that are 0 at first. Scores are the sigmoid of the SVMs'
    margins: from 0 to 1 and above 0.5 for what looks like the class, but no probabilities. Those are the scores before SVMs are
    fitted, or without ``use_svms``: from the softmax that the network is fine-tuned with. Without ``use_regressors`` boxes stay
    those of the proposals.
    """

    def __init__(self, classes: Sequence[str], pool5: nn.Module, fc7: nn.Module, features: tuple[int, int], *, size: int = 227,
                 padding: int = 16, samples: int = 128, proposer: Callable = selective_search,
                 score_threshold: float | None = None, nms_threshold: float = 0.3, most: int = 100):
        super().__init__()
        self.classes, self.proposer, self.size, self.padding = tuple(classes), proposer, size, padding
        self.pool5, self.fc7, self.fc8 = pool5, fc7, nn.Linear(features[1], 1 + len(self.classes))
        nn.init.normal_(self.fc8.weight, 0, 0.01)
        nn.init.zeros_(self.fc8.bias)
        self.regressors, self.svms = nn.Linear(features[0], 4 * len(self.classes)), nn.Linear(features[1], len(self.classes))
        self.reset_fitted()
        for layer in (self.svms, self.regressors):
            layer.requires_grad_(False)  # they are not trained by gradient descent
        self.inputs, self.coder = Inputs(None, multiple=1), BoxCoder()
        self.matcher, self.sampler = Matcher(0.5, 0.5), BalancedSampler(samples, 0.25)
        self.use_svms, self.use_regressors = True, True
        self.score_threshold, self.nms_threshold, self.most = score_threshold, nms_threshold, most

    def reset_fitted(self) -> None:
        """Bring ``svms`` and ``regressors`` back to 0: fitted to the features of one network, they are of no use to another."""
        for layer in (self.svms, self.regressors):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def losses(self, images: Sequence, targets: Sequence[dict]) -> dict[str, Tensor]:
        """The loss of windows from all pictures by name; raises DataError for targets without proposals, for boxes that are none,
        and where there is no region at all.
        """
        batch = self.inputs(images, device_of(self))
        targets = for_training(targets, batch, len(self.classes), with_proposals=True)
        regions = [cat([target["boxes"], target["proposals"]]) for target in targets]
        labels = [self._labels(target, boxes) for target, boxes in zip(targets, regions, strict=True)]
        rois, labels = numbered(regions), cat(labels)
        if not len(rois):
            raise DataError(f"{len(targets)} pictures have neither objects nor proposals, so there is nothing to learn from")
        chosen = cat(self.sampler(labels - 1))
        return {"loss_classifier": cross_entropy(self.fc8(self.features(batch.images, rois[chosen])[1]), labels[chosen])}

    def _labels(self, target: dict, boxes: Tensor) -> Tensor:
        """Of each region of a picture the class, counted from 1, or 0 for background."""
        of = self.matcher(target["boxes"], boxes)
        return cat([target["labels"] + 1, of[:1] * 0])[of] if len(of) else of  # -1, the background, is the last of them

    def features(self, images: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """What the network makes of regions (K, 5) of normalised images: pool5 (K, D5) and fc7 (K, D7)."""
        pool5 = self.pool5(warp(images, rois, self.size, self.padding))
        return pool5, self.fc7(pool5)

    def detect(self, images: Sequence) -> list[Detections]:
        """What is in the pictures, in the mode that the modules are in; ``predict`` is for users."""
        return self.detect_in(images, [self.proposer(image) for image in images])

    @no_grad()
    def detect_in(self, images: Sequence, proposals: Sequence) -> list[Detections]:
        """The same with the proposals (P, 4) of each picture given, in its pixels."""
        return [self._detected(image, astensor(boxes).float().to(device_of(self)))
                for image, boxes in zip(images, proposals, strict=True)]

    def in_chunks(self, images: Tensor, rois: Tensor) -> tuple[Tensor, Tensor]:
        """As ``features``, for any number of regions."""
        parts = [self.features(images, rois[start : start + CHUNK]) for start in range(0, max(1, len(rois)), CHUNK)]
        pool5, fc7 = zip(*parts, strict=True)
        return cat(pool5), cat(fc7)

    def _detected(self, image, proposals: Tensor) -> Detections:
        batch = self.inputs([image], proposals.device)
        pool5, fc7 = self.in_chunks(batch.images, numbered([proposals]))
        if self.use_svms and self.svms.weight.any():
            scores, threshold = sigmoid(self.svms(fc7)), 0.0
        else:
            scores, threshold = softmax(self.fc8(fc7), 1)[:, 1:], 0.05
        threshold = threshold if self.score_threshold is None else self.score_threshold
        boxes = proposals[:, None].expand(*scores.shape, 4)
        if self.use_regressors:
            boxes = self.coder.decode(self.regressors(pool5).reshape(*scores.shape, 4), proposals[:, None])
        return best(clip_boxes_to_image(boxes, batch.size), scores, threshold, self.nms_threshold, self.most)


def numbered(regions: list[Tensor]) -> Tensor:
    """The regions (L, 4) of each picture as (K, 5), with the index of the picture first."""
    numbers = [full((len(boxes), 1), float(number), device=boxes.device) for number, boxes in enumerate(regions)]
    return cat([cat(pair, 1) for pair in zip(numbers, regions, strict=True)])


def rcnn_small(classes: Sequence[str], size: int = 32, proposer: Callable = selective_search) -> RCNN:
    """For a laptop, from scratch: three convolutions 3x3 with batch norm and pooling, a layer of 256, and windows of 32x32."""
    layers: list[nn.Module] = []
    for before, maps in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(before, maps, 3, padding=1, bias=False), nn.BNReLU2d(maps), nn.MaxPool2d(2)]
        nn.init.kaiming_normal_(layers[-3].weight, mode="fan_out", nonlinearity="relu")
    features = 128 * (size // 8) ** 2
    fc7 = nn.Sequential(nn.Dropout(), nn.Linear(features, 256), nn.ReLU())
    return RCNN(classes, nn.Sequential(*layers, nn.Flatten()), fc7, (features, 256), size=size, padding=size // 16,
                proposer=proposer)


def rcnn_alexnet(classes: Sequence[str], weights_backbone=None, proposer: Callable = selective_search) -> RCNN:
    """The paper's, with AlexNet in one column; ``weights_backbone``: None, "imagenet" or a file for it."""
    return _of(alexnet(weights=weights_backbone), classes, 227, proposer)


def rcnn_vgg16(classes: Sequence[str], weights_backbone=None, proposer: Callable = selective_search) -> RCNN:
    """With VGG-16, as in the paper's longer version (2015); ``weights_backbone``: None, "imagenet" or a file for it."""
    return _of(vgg16(weights=weights_backbone), classes, 224, proposer)


def _of(classifier: nn.Module, classes: Sequence[str], size: int, proposer: Callable) -> RCNN:
    """AlexNet or VGG without its last layer."""
    layers = list(classifier.classifier)[:-1]
    linear = [layer for layer in layers if isinstance(layer, nn.Linear)]
    pool5 = nn.Sequential(classifier.features, classifier.avgpool, nn.Flatten())
    return RCNN(classes, pool5, nn.Sequential(*layers), (linear[0].in_features, linear[-1].out_features), size=size,
                proposer=proposer)
