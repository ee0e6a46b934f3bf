"""The ResNets for CIFAR, of 20 to 110 layers, and the plain networks that they were compared with.

    image 3x32x32 -> conv 3x3, 16 -> three stages of n blocks: 16, 32 and 64 maps -> mean of each map -> classes

Source: He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (CVPR 2016), section 4.2 and table 6: test errors
on CIFAR-10 of 8.75 % (20 layers) to 6.43 % (110).

Differences from the paper: the mean is subtracted for each channel, not for each pixel, and divided by the deviation; the 110
layers start with the same rate as the others, not with a tenth of it; all 50,000 training images are trained on.
"""

from minidl import nn
from minidl.data.cifar import CIFAR10
from minidl.data.transforms import CenterCrop, Compose, Normalize, RandomCrop, RandomHorizontalFlip, Resize, ToTensor
from minidl.errors import UsageError
from minidl.models.classify.recipe import Recipe, training
from minidl.models.classify.resnet import BasicBlock, Residual, conv
from minidl.models.classify.weights import with_weights

__all__ = ["RECIPES", "CifarResNet", "augmented", "inputs", "plain20", "plain32", "plain44", "plain56", "plain110", "resnet20",
           "resnet32", "resnet44", "resnet56", "resnet110", "training"]

# 64,000 steps of 128 images, the rate divided by 10 after 32,000 and 48,000.
RECIPES = {"cifar10": Recipe(epochs=164, batch_size=128, lr=0.1, weight_decay=1e-4, schedule="steps")}


def inputs(size: int, moves=()) -> Compose:
    """Pictures of any size as the network reads them; those of CIFAR stay as they are but for their colours."""
    return Compose([Resize(size), CenterCrop(size), *moves, ToTensor(), Normalize(CIFAR10.mean, CIFAR10.std)])


def augmented(size: int) -> Compose:
    """Training images: 4 pixels of padding, a random crop, its mirror image."""
    return inputs(size, [RandomCrop(size, padding=size // 8), RandomHorizontalFlip()])


class CifarResNet(Residual):
    """The ResNets of section 4.2, of 6n + 2 layers for images of 32x32: 16, 32 and 64 maps, n blocks each, option A.

    >>> import minidl
    >>> model = CifarResNet(20)
    >>> sum(p.numel() for p in model.parameters()), model(minidl.zeros(2, 3, 32, 32)).shape
    (269722, (2, 10))
    """

    chains = (("conv1", "bn1"),)
    input_shape = (3, 32, 32)

    def __init__(self, depth: int = 20, num_classes: int = 10, option: str = "A", residual: bool = True):
        super().__init__()
        if depth < 8 or (depth - 2) % 6:
            raise UsageError(f"a ResNet for CIFAR has 6n + 2 layers, such as 20, 32, 44, 56 or 110, got {depth}")
        count = (depth - 2) // 6
        self.option, self.v1, self.residual, self.channels = option, False, residual, 16
        self.conv1, self.bn1 = conv(3, 16, 3), nn.BNReLU2d(16)
        self.layer1 = self.stage(BasicBlock, 16, count, 1)
        self.layer2 = self.stage(BasicBlock, 32, count, 2)
        self.layer3 = self.stage(BasicBlock, 64, count, 2)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(64, num_classes)
        self.draw()

    def forward(self, x):
        x = self.layer3(self.layer2(self.layer1(self.bn1(self.conv1(x)))))
        return self.fc(self.avgpool(x).flatten(1))


def resnet20(num_classes: int = 10, weights=None) -> CifarResNet:
    """20 layers; ``weights`` from a file."""
    return with_weights(CifarResNet(20, num_classes), "resnet20", weights)


def resnet32(num_classes: int = 10, weights=None) -> CifarResNet:
    """32 layers; ``weights`` from a file."""
    return with_weights(CifarResNet(32, num_classes), "resnet32", weights)


def resnet44(num_classes: int = 10, weights=None) -> CifarResNet:
    """44 layers; ``weights`` from a file."""
    return with_weights(CifarResNet(44, num_classes), "resnet44", weights)


def resnet56(num_classes: int = 10, weights=None) -> CifarResNet:
    """56 layers; ``weights`` from a file."""
    return with_weights(CifarResNet(56, num_classes), "resnet56", weights)


def resnet110(num_classes: int = 10, weights=None) -> CifarResNet:
    """110 layers; ``weights`` from a file."""
    return with_weights(CifarResNet(110, num_classes), "resnet110", weights)


def plain20(num_classes: int = 10, weights=None) -> CifarResNet:
    """20 layers, without shortcuts; ``weights`` from a file."""
    return with_weights(CifarResNet(20, num_classes, residual=False), "plain20", weights)


def plain32(num_classes: int = 10, weights=None) -> CifarResNet:
    """32 layers, without shortcuts; ``weights`` from a file."""
    return with_weights(CifarResNet(32, num_classes, residual=False), "plain32", weights)


def plain44(num_classes: int = 10, weights=None) -> CifarResNet:
    """44 layers, without shortcuts; ``weights`` from a file."""
    return with_weights(CifarResNet(44, num_classes, residual=False), "plain44", weights)


def plain56(num_classes: int = 10, weights=None) -> CifarResNet:
    """56 layers, without shortcuts; ``weights`` from a file."""
    return with_weights(CifarResNet(56, num_classes, residual=False), "plain56", weights)


def plain110(num_classes: int = 10, weights=None) -> CifarResNet:
    """110 layers, without shortcuts; ``weights`` from a file."""
    return with_weights(CifarResNet(110, num_classes, residual=False), "plain110", weights)
