"""Networks that torchvision lacks, in PyTorch."""

import torch
from torch import nn
from torch.nn import functional

from benchmarks.lenet import lenet5_relu


def lenet5() -> nn.Module:
    """LeNet-5 with ReLU and max pooling."""
    return lenet5_relu(nn)


class Block(nn.Module):
    """conv 3x3 -> conv 3x3, plus the shortcut of option A."""

    def __init__(self, channels: int, planes: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(planes), nn.BatchNorm2d(planes)
        self.stride, self.missing = stride, planes - channels

    def forward(self, x):
        y = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        if self.stride > 1:
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return torch.relu(y + x)


class ResNet20(nn.Module):
    """The ResNet of 20 layers for CIFAR-10."""

    def __init__(self):
        super().__init__()
        sizes = [16] * 4 + [32] * 3 + [64] * 3
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU())
        self.blocks = nn.Sequential(*(Block(a, b, 1 if a == b else 2) for a, b in zip(sizes[:-1], sizes[1:], strict=True)))
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        return self.fc(self.blocks(self.stem(x)).mean((2, 3)))


def resnet20() -> nn.Module:
    """ResNet-20 for CIFAR-10."""
    return ResNet20()
