"""What looks at the whole picture, once: classifiers without their last layers, whose feature maps detectors read.

Each is a module from pictures (N, 3, H, W) to a list of feature maps, with ``channels``, the depth of each map.
"""

from minidl import nn
from minidl.models.classify.resnet import ResNet
from minidl.models.classify.vgg import VGG
from minidl.ops.resample import interpolate
from minidl.tensor import Tensor

SMALL = ((16, 2), (32, 2), (64, 2), (64, 1), (128, 1))  # maps and strides


class SmallBackbone(nn.Module):
    """Five convolutions 3x3 with batch norm, for a laptop: one map of 128 channels at 1/8."""

    channels = 128

    def __init__(self):
        super().__init__()
        layers, before = [], 3
        for maps, stride in SMALL:
            layers += [nn.Conv2d(before, maps, 3, stride=stride, padding=1, bias=False), nn.BNReLU2d(maps)]
            before = maps
        self.layers = nn.Sequential(*layers)
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.layers(x)]


class VGGBackbone(nn.Module):
    """VGG up to its last convolution, without the pooling after it: one map of 512 channels at 1/16. Where it is ``pretrained``,
    the first two blocks keep their weights, as in Fast R-CNN (section 4.5).
    """

    channels = 512

    def __init__(self, vgg: VGG, pretrained: bool):
        super().__init__()
        self.features = nn.Sequential(*list(vgg.features)[:-1])
        pools = [place for place, layer in enumerate(self.features) if isinstance(layer, nn.MaxPool2d)]
        for layer in list(self.features)[: pools[1] if pretrained else 0]:
            layer.requires_grad_(False)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.features(x)]


class ResNetBody(nn.Module):
    """ResNet up to stage ``last``: the maps of the stages from ``first`` on, at 1/4, 1/8, 1/16 and 1/32.

    With ``trainable`` below 5 only so many of layer4, layer3, layer2, layer1 and the first convolution learn, in this order.
    """

    def __init__(self, resnet: ResNet, first: int = 1, last: int = 4, trainable: int = 5):
        super().__init__()
        self.first, self.last = first, last
        self.conv1, self.bn1, self.maxpool = resnet.conv1, resnet.bn1, resnet.maxpool
        for stage in range(1, last + 1):
            setattr(self, f"layer{stage}", getattr(resnet, f"layer{stage}"))
        if trainable < 5:
            learning = ("layer4", "layer3", "layer2", "layer1", "conv1")[:trainable]
            for name, parameter in self.named_parameters():
                parameter.requires_grad_(name.startswith(learning))

    def forward(self, x: Tensor) -> list[Tensor]:
        x, maps = self.maxpool(self.bn1(self.conv1(x))), []
        for stage in range(1, self.last + 1):
            x = getattr(self, f"layer{stage}")(x)
            maps.append(x)
        return maps[self.first - 1:]


class FeaturePyramid(nn.Module):
    """Maps of all scales as deep as the last one: each is its own, by a convolution 1x1, plus the next coarser one enlarged,
    smoothed by a convolution 3x3. One more, the last without every second element, comes at the end.

    Source: Lin et al., "Feature pyramid networks for object detection" (2017), section 3. Names of parameters are torchvision's.
    """

    def __init__(self, channels: list[int], width: int = 256):
        super().__init__()
        self.inner_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(depth, width, 1)) for depth in channels])
        self.layer_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(width, width, 3, padding=1)) for _ in channels])
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                nn.init.zeros_(layer.bias)

    def forward(self, maps: list[Tensor]) -> list[Tensor]:
        found, above = [], None
        for x, inner, smooth in zip(reversed(maps), reversed(list(self.inner_blocks)), reversed(list(self.layer_blocks)),
                                    strict=True):
            x = inner(x)
            above = x if above is None else x + interpolate(above, x.shape[2:])
            found.append(smooth(above))
        return [*reversed(found), found[0][:, :, ::2, ::2]]


class BackboneWithFPN(nn.Module):
    """A ResNet and a feature pyramid on it: five maps of 256 channels, at 1/4 to 1/64."""

    channels = 256

    def __init__(self, body: ResNetBody, channels: list[int]):
        super().__init__()
        self.body, self.fpn = body, FeaturePyramid(channels, self.channels)

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.fpn(self.body(x))
