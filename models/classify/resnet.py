"""ResNet: layers that learn what to add to their input, so that a hundred of them can be trained.

    image 3x224x224 -> conv 7x7/2, 64 -> pool 3x3/2 -> four stages of blocks: 64 to 512 maps -> mean of each map -> classes

Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (CVPR 2016), table 1 and section 4.2.

Constructors take ``weights``: None, "imagenet" for the published ones, or a file; see ``minidl.models.classify.weights``.

What it changed: a plain network of 34 layers has a larger training error than one of 18, although it could copy it. With
y = F(x) + x, doing nothing is easy (F = 0) and gradients reach the first layers through the sums. Batch normalisation follows
each convolution; there is no dropout and no large linear layer. From 50 layers on blocks are bottlenecks: 1x1 down, 3x3, 1x1 up.

Shortcuts where the size changes: A takes every second pixel and fills up with channels of zeros (no parameters), B projects by a
1x1 convolution, C projects everywhere. ``v1`` halves the image in the first 1x1 convolution of a bottleneck, as printed; the
published weights (v1.5) do so in the 3x3, which costs more and errs less.
"""

from minidl import nn
from minidl.data.transforms import ColorShift, RandomCrop, RandomHorizontalFlip, RandomResize
from minidl.errors import UsageError
from minidl.models.classify.recipe import Recipe, inputs, shorter_side, training
from minidl.models.classify.weights import with_weights
from minidl.ops import add_relu

__all__ = ["BLOCKS", "RECIPES", "BasicBlock", "Bottleneck", "ResNet", "augmented", "inputs", "resnet18", "resnet34",
           "resnet50", "resnet101", "resnet152", "training"]

# Section 3.4: 600,000 steps are 120 epochs.
RECIPES = {"imagenet": Recipe(epochs=120, batch_size=256, lr=0.1, weight_decay=1e-4, schedule="plateau")}


def augmented(size: int):
    """Training images: the shorter side from 256 to 480, a crop, its mirror image, shifted colours (section 3.4)."""
    moves = [RandomResize(shorter_side(size), round(size * 480 / 224)), RandomCrop(size), RandomHorizontalFlip()]
    return inputs(size, moves, [ColorShift(0.1)])



class BasicBlock(nn.Module):
    """conv 3x3 -> conv 3x3, plus the shortcut.   x (N, C, H, W) -> (N, planes, H/stride, W/stride)."""

    chains = ("conv1", "bn1"), ("conv2", "bn2")
    expansion = 1

    def __init__(self, channels: int, planes: int, stride: int, downsample: nn.Module | None, residual: bool, v1: bool):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, planes, 3, stride), nn.BNReLU2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3), nn.BatchNorm2d(planes)
        self.downsample, self.residual = downsample, residual

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        return _joined(self, x, y)


class Bottleneck(nn.Module):
    """conv 1x1 down to ``planes`` -> conv 3x3 -> conv 1x1 up to 4 planes, plus the shortcut."""

    chains = ("conv1", "bn1"), ("conv2", "bn2"), ("conv3", "bn3")
    expansion = 4

    def __init__(self, channels: int, planes: int, stride: int, downsample: nn.Module | None, residual: bool, v1: bool):
        super().__init__()
        self.conv1, self.bn1 = conv(channels, planes, 1, stride if v1 else 1), nn.BNReLU2d(planes)
        self.conv2, self.bn2 = conv(planes, planes, 3, 1 if v1 else stride), nn.BNReLU2d(planes)
        self.conv3, self.bn3 = conv(planes, 4 * planes, 1), nn.BatchNorm2d(4 * planes)
        self.downsample, self.residual = downsample, residual

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x))))
        y = self.bn3(self.conv3(y))
        return _joined(self, x, y)


def _joined(block, x, y):
    """relu(F(x) + x); relu(F(x)) in a plain network."""
    if not block.residual:
        return y.relu()
    return add_relu(y, x if block.downsample is None else block.downsample(x))


class Subsample(nn.Module):
    """Option A: every second pixel, and zeros for the channels that are missing; no parameters."""

    def __init__(self, channels: int, planes: int, stride: int):
        super().__init__()
        self.missing, self.stride = planes - channels, stride

    def forward(self, x):
        x = x[:, :, :: self.stride, :: self.stride]
        return nn.functional.pad(x, (0, 0, 0, 0, 0, self.missing)) if self.missing else x


class Residual(nn.Module):
    """What both kinds of ResNet share: stages of blocks, shortcuts, weights."""

    def stage(self, block, planes: int, count: int, stride: int) -> nn.Sequential:
        """``count`` blocks, the first of which may halve the image."""
        blocks = []
        for number in range(count):
            step = stride if number == 0 else 1
            shortcut = self._shortcut(planes * block.expansion, step)
            blocks.append(block(self.channels, planes, step, shortcut, self.residual, self.v1))
            self.channels = planes * block.expansion
        return nn.Sequential(*blocks)

    def _shortcut(self, planes: int, stride: int) -> nn.Module | None:
        same = stride == 1 and self.channels == planes
        if not self.residual or (same and self.option != "C"):
            return None
        if self.option == "A":
            return Subsample(self.channels, planes, stride)
        return nn.Sequential(conv(self.channels, planes, 1, stride), nn.BatchNorm2d(planes))

    def draw(self) -> None:
        """He's normal distribution, by the fan-out as in torchvision; batch norms start as the identity."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


class ResNet(Residual):
    """ResNet for ImageNet.   x (N, 3, H, W), made for 224x224 -> logits (N, num_classes).

    Parameters have torchvision's names. ``blocks``: how many in each of the four stages. ``option``: shortcuts "A", "B" or "C".
    ``v1``: bottlenecks halve in their first convolution. ``residual=False`` leaves the shortcuts out: the plain network that the
    paper compares with.

    >>> import minidl
    >>> ResNet(BasicBlock, (1, 1, 1, 1), num_classes=5)(minidl.zeros(1, 3, 64, 64)).shape
    (1, 5)
    """

    chains = (("conv1", "bn1"),)
    input_shape = (3, 224, 224)

    def __init__(self, block, blocks, num_classes: int = 1000, option: str = "B", v1: bool = False, residual: bool = True):
        super().__init__()
        if option not in ("A", "B", "C"):
            raise UsageError(f"shortcuts are of option A, B or C, got {option!r}")
        self.option, self.v1, self.residual, self.channels = option, v1, residual, 64
        self.conv1, self.bn1 = conv(3, 64, 7, 2), nn.BNReLU2d(64)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = self.stage(block, 64, blocks[0], 1)
        self.layer2 = self.stage(block, 128, blocks[1], 2)
        self.layer3 = self.stage(block, 256, blocks[2], 2)
        self.layer4 = self.stage(block, 512, blocks[3], 2)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(512 * block.expansion, num_classes)
        self.draw()

    def forward(self, x):
        x = self.maxpool(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.avgpool(x).flatten(1))


def conv(channels: int, planes: int, size: int, stride: int = 1) -> nn.Conv2d:
    """A convolution without bias that keeps the size, but for its stride."""
    return nn.Conv2d(channels, planes, size, stride=stride, padding=size // 2, bias=False)


BLOCKS = {18: (BasicBlock, (2, 2, 2, 2)), 34: (BasicBlock, (3, 4, 6, 3)), 50: (Bottleneck, (3, 4, 6, 3)),
          101: (Bottleneck, (3, 4, 23, 3)), 152: (Bottleneck, (3, 8, 36, 3))}


def resnet18(num_classes: int = 1000, weights=None, **options) -> ResNet:
    """18 layers, 11,689,512 parameters; options as of ``ResNet``."""
    return with_weights(ResNet(*BLOCKS[18], num_classes, **options), "resnet18", weights)


def resnet34(num_classes: int = 1000, weights=None, **options) -> ResNet:
    """34 layers, 21,797,672 parameters; options as of ``ResNet``."""
    return with_weights(ResNet(*BLOCKS[34], num_classes, **options), "resnet34", weights)


def resnet50(num_classes: int = 1000, weights=None, **options) -> ResNet:
    """50 layers, 25,557,032 parameters; options as of ``ResNet``."""
    return with_weights(ResNet(*BLOCKS[50], num_classes, **options), "resnet50", weights)


def resnet101(num_classes: int = 1000, weights=None, **options) -> ResNet:
    """101 layers, 44,549,160 parameters; options as of ``ResNet``."""
    return with_weights(ResNet(*BLOCKS[101], num_classes, **options), "resnet101", weights)


def resnet152(num_classes: int = 1000, weights=None, **options) -> ResNet:
    """152 layers, 60,192,808 parameters; options as of ``ResNet``."""
    return with_weights(ResNet(*BLOCKS[152], num_classes, **options), "resnet152", weights)
