"""Faster R-CNN: a network that proposes regions shares its convolutions with the one that judges them.

    pictures -> backbone -> feature maps -> region proposal network -> proposals
                                  |                                        |
                                  +---------------> regions <--------------+ -> classes and better boxes

Source: Ren, He, Girshick and Sun, "Faster R-CNN: Towards real-time object detection with region proposal networks" (2015); its
ResNets: He et al., "Deep residual learning" (2016), appendix A; with a feature pyramid: Lin et al. (2017).

What it changed: Selective Search took longer than all the rest of Fast R-CNN; here proposals cost a few convolutions, and are
learnt. Trained by the sum of four losses ("approximate joint training": proposals are constants to the head behind them), or by
the paper's four steps, see ``minidl.models.detect.alternation``.

Different from the paper: objectness is one logit with a sigmoid, not a softmax of two; anchors have edges without "+1"; boxes of
every class are limited in growth (``BoxCoder``). The version with a feature pyramid is torchvision's, whose published weights it
reads.
"""

from collections.abc import Sequence

from minidl import nn
from minidl.data.coco import CATEGORIES
from minidl.models.classify.resnet import ResNet, resnet50, resnet101
from minidl.models.classify.vgg import vgg16
from minidl.models.classify.weights import with_weights
from minidl.models.detect.parts.anchors import AnchorGenerator
from minidl.models.detect.parts.backbones import BackboneWithFPN, ResNetBody, SmallBackbone, VGGBackbone
from minidl.models.detect.parts.detections import Detections
from minidl.models.detect.parts.detector import Detector
from minidl.models.detect.parts.inputs import Inputs, for_training
from minidl.models.detect.parts.roi_heads import BoxPredictor, RegionPooling, RoIHeads, TwoMLPHead
from minidl.models.detect.parts.rpn import RegionProposalNetwork
from minidl.nn.utils import device_of
from minidl.tensor import Tensor

# Outputs of the published weights: COCO's ids from 1 to 90, of which ten have no category.
COCO_CLASSES = tuple(CATEGORIES.get(number, f"unused {number}") for number in range(1, 91))


class FasterRCNN(Detector):
    """Faster R-CNN of parts: see ``minidl.models.detect.parts``. Losses: "loss_objectness", "loss_rpn_box_reg",
    "loss_classifier" and "loss_box_reg".
    """

    def __init__(self, classes: Sequence[str], backbone: nn.Module, rpn: RegionProposalNetwork, roi_heads: RoIHeads,
                 inputs: Inputs):
        super().__init__()
        self.classes, self.inputs = tuple(classes), inputs
        self.backbone, self.rpn, self.roi_heads = backbone, rpn, roi_heads

    def losses(self, images: Sequence, targets: Sequence[dict]) -> dict[str, Tensor]:
        """The four losses by name; raises DataError for boxes that are none, see ``parts.inputs.for_training``."""
        batch = self.inputs(images, device_of(self))
        targets = for_training(targets, batch, len(self.classes))
        features = self.backbone(batch.images)
        proposals, losses = self.rpn(features, batch, targets)
        return losses | self.roi_heads.losses(features, proposals, batch, targets)

    def detect(self, images: Sequence) -> list[Detections]:
        """What is in the pictures, in the mode that the modules are in; ``predict`` is for users."""
        batch = self.inputs(images, device_of(self))
        features = self.backbone(batch.images)
        proposals, _ = self.rpn(features, batch)
        return self.roi_heads.detect(features, proposals, batch)


def faster_rcnn_small(classes: Sequence[str], min_size: int = 128, max_size: int = 213) -> FasterRCNN:
    """For a laptop and for objects from a tenth of the picture on: five convolutions, RoIAlign, two layers of 256.

    >>> from minidl.data import Scenes
    >>> model = faster_rcnn_small(Scenes.classes)
    >>> image, target = Scenes(length=1)[0]
    >>> sorted(model([image], [target]))
    ['loss_box_reg', 'loss_classifier', 'loss_objectness', 'loss_rpn_box_reg']
    """
    backbone = SmallBackbone()
    anchors = AnchorGenerator([[16, 32, 64, 128]])
    rpn = RegionProposalNetwork(backbone.channels, anchors, before_nms=(1000, 500), after_nms=(300, 100))
    return FasterRCNN(classes, backbone, rpn, small_head(backbone.channels, len(classes)), Inputs(min_size, max_size, multiple=8))


def small_head(channels: int, classes: int, **options) -> RoIHeads:
    """The head of the small detectors: RoIAlign 5x5, two layers of 256."""
    return RoIHeads(RegionPooling(5, sampling=2), TwoMLPHead.new(channels, 5, 256), BoxPredictor(256, classes), samples=64,
                    **options)


def faster_rcnn_vgg16(classes: Sequence[str], weights_backbone=None) -> FasterRCNN:
    """The paper's: VGG-16, nine anchors at 1/16, RoIPool 7x7, two layers of 4096; the shorter side at 600 pixels.

    ``weights_backbone``: None, "imagenet" or a file for VGG-16, whose linear layers become the head's. 137,078,239 parameters for
    VOC's twenty classes in the paper, whose objectness has two outputs; here 137,073,622.
    """
    vgg = vgg16(weights=weights_backbone)
    anchors = AnchorGenerator([[128, 256, 512]])
    rpn = RegionProposalNetwork(512, anchors, inside_only=True, before_nms=(12000, 6000), after_nms=(2000, 300), min_size=16)
    backbone = VGGBackbone(vgg, weights_backbone is not None)
    return FasterRCNN(classes, backbone, rpn, vgg_head(vgg, len(classes)), Inputs(600, 1000, multiple=16))


def vgg_head(vgg: nn.Module, classes: int, **options) -> RoIHeads:
    """The head of Fast and Faster R-CNN with VGG-16: its linear layers but the last."""
    head = TwoMLPHead(vgg.classifier[0], vgg.classifier[3], dropout=0.5)
    return RoIHeads(RegionPooling(7), head, BoxPredictor(4096, classes), **options)


def faster_rcnn_resnet50_c4(classes: Sequence[str], weights_backbone=None) -> FasterRCNN:
    """ResNet-50 up to its fourth stage (1/16), whose fifth is the head; ``weights_backbone``: None, "imagenet" or a file."""
    return _c4(classes, resnet50(weights=weights_backbone), weights_backbone is not None)


def faster_rcnn_resnet101_c4(classes: Sequence[str], weights_backbone=None) -> FasterRCNN:
    """ResNet-101 up to its fourth stage (1/16), whose fifth is the head; ``weights_backbone``: None, "imagenet" or a file."""
    return _c4(classes, resnet101(weights=weights_backbone), weights_backbone is not None)


def _c4(classes: Sequence[str], resnet: ResNet, pretrained: bool) -> FasterRCNN:
    """With pretrained weights batch norms are frozen, and the first stage learns nothing."""
    if pretrained:
        nn.FrozenBatchNorm2d.convert(resnet)
    body = ResNetBody(resnet, first=3, last=3, trainable=3 if pretrained else 5)
    rpn = RegionProposalNetwork(1024, AnchorGenerator([[64, 128, 256, 512]]), 512, inside_only=True, before_nms=(12000, 6000),
                                after_nms=(2000, 300), min_size=16)
    head = nn.Sequential(resnet.layer4, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    heads = RoIHeads(RegionPooling(14, sampling=2), head, BoxPredictor(2048, len(classes)))
    return FasterRCNN(classes, body, rpn, heads, Inputs(600, 1000, multiple=16))


def faster_rcnn_resnet50_fpn(classes: Sequence[str] = COCO_CLASSES, weights=None, weights_backbone=None) -> FasterRCNN:
    """ResNet-50 with a feature pyramid: torchvision's fasterrcnn_resnet50_fpn, names of parameters and defaults included.

    ``weights``: None, "coco" for the published ones (``classes`` are then ``COCO_CLASSES``), or a file; ``weights_backbone``:
    None, "imagenet" or a file for ResNet-50. With either, batch norms are frozen and stages 3 to 5 learn.
    """
    frozen = weights is not None or weights_backbone is not None
    resnet = resnet50(weights=weights_backbone)
    if frozen:
        nn.FrozenBatchNorm2d.convert(resnet)
    body = ResNetBody(resnet, trainable=3 if frozen else 5)
    anchors = AnchorGenerator([[32], [64], [128], [256], [512]])
    heads = RoIHeads(RegionPooling(7, sampling=2, maps=4), TwoMLPHead.new(256, 7), BoxPredictor(1024, len(classes)), samples=512,
                     beta=1 / 9, nms_threshold=0.5)
    model = FasterRCNN(classes, BackboneWithFPN(body, [256, 512, 1024, 2048]), RegionProposalNetwork(256, anchors), heads,
                       Inputs())
    with_weights(model, "faster_rcnn_resnet50_fpn", weights, "coco", _renamed)
    if weights is not None:  # the published ones were trained without
        for layer in model.modules():
            if isinstance(layer, nn.FrozenBatchNorm2d):
                layer.eps = 0.0
    return model


def _renamed(state: dict) -> dict:
    """The names of torchvision's files from before 2022, in which each block was a single layer, brought to today's."""
    blocks = ("backbone.fpn.inner_blocks.", "backbone.fpn.layer_blocks.", "rpn.head.conv.")
    found = {}
    for name, value in state.items():
        block = next((block for block in blocks if name.startswith(block)), None)
        if block is not None:
            *path, kind = name.removeprefix(block).split(".")
            path = [*path, "0"] if block != "rpn.head.conv." else ["0", "0"]
            name = block + ".".join([*path[:2], kind])
        if not name.endswith("num_batches_tracked"):
            found[name] = value
    return found
