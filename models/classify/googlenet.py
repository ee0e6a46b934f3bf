"""GoogLeNet: modules that look at several sizes at once, 22 layers deep with a tenth of AlexNet's parameters.

    image 3x224x224 -> conv 7x7/2 -> pool -> conv 1x1, 3x3 -> pool -> nine inception modules, with two pools -> mean -> classes

Source: Szegedy et al., "Going deeper with convolutions" (CVPR 2015), table 1.

What it changed: an inception module computes 1x1, 3x3 and 5x5 convolutions and a pool side by side and joins their maps; 1x1
convolutions first reduce the channels, so that the large windows are cheap; a mean over each map replaces large linear layers.
Two small classifiers on the way send gradients into the middle of the network; they are left out at test time.

Two versions:
- ``paper=True``, as printed: 5x5 windows, biases, response normalisation, no batch normalisation: 13,378,280 parameters, of which
  6,998,552 remain at test time.
- the one whose weights are published (torchvision's): batch normalisation without biases, and 3x3 windows where the paper has
  5x5: 13,004,888 and 6,624,904 parameters.
"""

from typing import NamedTuple

import minidl
from minidl import nn
from minidl.data.transforms import ColorShift, RandomHorizontalFlip, RandomResizedCrop
from minidl.models.classify import recipe
from minidl.models.classify.recipe import Recipe, inputs
from minidl.models.classify.weights import with_weights

__all__ = ["MODULES", "RECIPES", "GoogLeNet", "GoogLeNetOutputs", "augmented", "auxiliary_loss", "googlenet",
           "googlenet2014", "inputs", "training"]

# Section 6: momentum 0.9, the rate 4 % lower every 8 epochs. Rate and decay are those of BVLC's reproduction, the paper names
# none; its averaging of weights (Polyak) is left out.
RECIPES = {"imagenet": Recipe(epochs=250, batch_size=32, lr=0.01, weight_decay=2e-4, schedule="exponential")}


def augmented(size: int):
    """Training images: crops of 8 to 100 % of the area and proportions of 3/4 to 4/3, mirror images, shifted colours."""
    return inputs(size, [RandomResizedCrop(size), RandomHorizontalFlip()], [ColorShift(0.1)])


def auxiliary_loss(output, labels) -> minidl.Tensor:
    """Cross-entropy of the network, plus 0.3 times that of each auxiliary classifier in training (section 5)."""
    if not isinstance(output, GoogLeNetOutputs):
        return nn.functional.cross_entropy(output, labels)
    main, *auxiliary = (nn.functional.cross_entropy(logits, labels) for logits in output)
    return main + 0.3 * (auxiliary[0] + auxiliary[1])


def training(model: "GoogLeNet", config: dict, data, batches: int) -> dict:
    """What a ``Trainer`` needs besides model and data."""
    return recipe.training(model, config, data, batches) | {"loss": auxiliary_loss}


# Table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection. The input's channels follow from the module before.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64), "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64), "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
}


class GoogLeNetOutputs(NamedTuple):
    """What GoogLeNet gives in training: logits of the network and of both auxiliary classifiers (N, num_classes)."""

    logits: minidl.Tensor
    aux_logits2: minidl.Tensor | None
    aux_logits1: minidl.Tensor | None


class BasicConv2d(nn.Module):
    """conv -> batch norm -> ReLU."""

    chains = (("conv", "bn"),)

    def __init__(self, channels: int, maps: int, size: int, **options):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(channels, maps, size, bias=False, **options), nn.BNReLU2d(maps, eps=1e-3)

    def forward(self, x):
        return self.bn(self.conv(x))


class PlainConv2d(nn.Module):
    """conv with bias -> ReLU, as in the paper."""

    chains = (("conv", "relu"),)

    def __init__(self, channels: int, maps: int, size: int, **options):
        super().__init__()
        self.conv, self.relu = nn.Conv2d(channels, maps, size, **options), nn.ReLU()

    def forward(self, x):
        return self.relu(self.conv(x))


class Inception(nn.Module):
    """1x1, 3x3 and 5x5 convolutions and a pool of one image, their maps one behind the other."""

    def __init__(self, conv, window: int, channels: int, one, reduce3, three, reduce5, five, pool):
        super().__init__()
        self.branch1 = conv(channels, one, 1)
        self.branch2 = nn.Sequential(conv(channels, reduce3, 1), conv(reduce3, three, 3, padding=1))
        self.branch3 = nn.Sequential(conv(channels, reduce5, 1), conv(reduce5, five, window, padding=window // 2))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, padding=1, ceil_mode=True), conv(channels, pool, 1))
        self.channels = one + three + five + pool

    def forward(self, x):
        return minidl.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class Auxiliary(nn.Module):
    """A small classifier on the maps (N, C, 14, 14) of an inner module: its loss counts 0.3 in training."""

    def __init__(self, conv, channels: int, num_classes: int):
        super().__init__()
        self.pool, self.conv = nn.AdaptiveAvgPool2d(4), conv(channels, 128, 1)
        self.fc1, self.fc2, self.dropout = nn.Linear(2048, 1024), nn.Linear(1024, num_classes), nn.Dropout(0.7)

    def forward(self, x):
        return self.fc2(self.dropout(self.fc1(self.conv(self.pool(x)).flatten(1)).relu()))


class GoogLeNet(nn.Module):
    """GoogLeNet.   x (N, 3, H, W), made for 224x224 -> logits (N, num_classes).

    In training it gives ``GoogLeNetOutputs`` if ``aux_logits``. Parameters have torchvision's names. ``transform_input`` turns
    images that were normalised by the mean and deviation of each channel into ones from -1 to 1, which the published weights
    expect. Weights are drawn from N(0, 0.01), cut at two deviations.
    """

    input_shape = (3, 224, 224)

    def __init__(self, num_classes: int = 1000, aux_logits: bool = True, transform_input: bool = False, paper: bool = False,
                 dropout: float | None = None):
        super().__init__()
        conv, window = (PlainConv2d, 5) if paper else (BasicConv2d, 3)
        self.aux_logits, self.transform_input, self.paper = aux_logits, transform_input, paper
        self.conv1, self.maxpool1 = conv(3, 64, 7, stride=2, padding=3), nn.MaxPool2d(3, 2, ceil_mode=True)
        self.conv2, self.conv3 = conv(64, 64, 1), conv(64, 192, 3, padding=1)
        self.maxpool2 = nn.MaxPool2d(3, 2, ceil_mode=True)
        channels = 192
        for name, sizes in MODULES.items():
            module = Inception(conv, window, channels, *sizes)
            setattr(self, f"inception{name}", module)
            channels = module.channels
        self.maxpool3 = nn.MaxPool2d(3, 2, ceil_mode=True)
        self.maxpool4 = nn.MaxPool2d(3 if paper else 2, 2, ceil_mode=True)
        self.norm = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0) if paper else nn.Identity()
        self.aux1, self.aux2 = (Auxiliary(conv, n, num_classes) if aux_logits else None for n in (512, 528))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.dropout = nn.Dropout((0.4 if paper else 0.2) if dropout is None else dropout)
        self.fc = nn.Linear(channels, num_classes)
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(layer.weight, std=0.01, a=-0.02, b=0.02)

    def forward(self, x):
        if self.transform_input:
            x = _rescaled(x)
        x = self.norm(self.maxpool1(self.conv1(x)))
        x = self.maxpool2(self.norm(self.conv3(self.conv2(x))))
        x = self.inception4a(self.maxpool3(self.inception3b(self.inception3a(x))))
        with_aux = self.training and self.aux_logits
        first = self.aux1(x) if with_aux else None
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        second = self.aux2(x) if with_aux else None
        x = self.inception5b(self.inception5a(self.maxpool4(self.inception4e(x))))
        logits = self.fc(self.dropout(self.avgpool(x).flatten(1)))
        return GoogLeNetOutputs(logits, second, first) if with_aux else logits


def _rescaled(x):
    """(x - mean) / deviation of ImageNet's channels, as (x - 0.5) / 0.5."""
    mean, deviation = (minidl.tensor(v, dtype=x.dtype, device=x.device).reshape(1, 3, 1, 1)
                       for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    return (x * deviation + mean - 0.5) / 0.5


def googlenet(num_classes: int = 1000, weights=None, **options) -> GoogLeNet:
    """The version with batch normalisation; options as of ``GoogLeNet``. Published weights come with ``transform_input``."""
    if weights == "imagenet":
        options = {"transform_input": True} | options
    return with_weights(GoogLeNet(num_classes, **options), "googlenet", weights)


def googlenet2014(num_classes: int = 1000, weights=None, **options) -> GoogLeNet:
    """The version as printed; options as of ``GoogLeNet``."""
    return with_weights(GoogLeNet(num_classes, paper=True, **options), "googlenet2014", weights)
