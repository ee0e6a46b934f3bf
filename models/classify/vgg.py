"""VGG: nothing but 3x3 convolutions, and more of them.

    image 3x224x224 -> five blocks of convs 3x3, each ended by a pool 2x2: 64, 128, 256, 512, 512 maps -> 4096 -> 4096 -> classes

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015), table 1.

What it changed: two 3x3 convolutions see 5x5 pixels and three see 7x7, with fewer weights and more non-linearities than one large
window; depth grows from 11 to 19 layers with everything else fixed, and the error falls. A-LRN shows that normalisation of
responses does not help; C's 1x1 convolutions add non-linearity alone, and D, which has 3x3 in their place, is better.
"""

from minidl import nn
from minidl.errors import UsageError

# Table 1: the number of maps of each convolution; ":1" is a window of 1x1, "M" a pool, "N" response normalisation.
CONFIGURATIONS = {
    "A": "64 M 128 M 256 256 M 512 512 M 512 512 M",
    "A-LRN": "64 N M 128 M 256 256 M 512 512 M 512 512 M",
    "B": "64 64 M 128 128 M 256 256 M 512 512 M 512 512 M",
    "C": "64 64 M 128 128 M 256 256 256:1 M 512 512 512:1 M 512 512 512:1 M",
    "D": "64 64 M 128 128 M 256 256 256 M 512 512 512 M 512 512 512 M",
    "E": "64 64 M 128 128 M 256 256 256 256 M 512 512 512 512 M 512 512 512 512 M",
}


class VGG(nn.Module):
    """VGG by its column in table 1, "A" to "E" or "A-LRN".   x (N, 3, H, W), made for 224x224 -> logits (N, num_classes).

    ``batch_norm`` puts a BatchNorm2d behind each convolution (which the paper did not know). Parameters have torchvision's names
    and are drawn as there: He's normal distribution for convolutions, N(0, 0.01) for linear layers, biases 0.

    >>> import minidl
    >>> sum(p.numel() for p in VGG("A", num_classes=10).features.parameters())
    9220480
    """

    input_shape = (3, 224, 224)

    def __init__(self, configuration: str = "D", num_classes: int = 1000, batch_norm: bool = False, dropout: float = 0.5):
        super().__init__()
        if configuration not in CONFIGURATIONS:
            raise UsageError(f"VGG has the configurations {', '.join(CONFIGURATIONS)}, got {configuration!r}")
        self.features = nn.Sequential(*_layers(CONFIGURATIONS[configuration].split(), batch_norm))
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4096, num_classes),
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)
            elif isinstance(layer, nn.Linear):
                nn.init.normal_(layer.weight, 0, 0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def _layers(names: list[str], batch_norm: bool) -> list[nn.Module]:
    layers: list[nn.Module] = []
    channels = 3
    for name in names:
        if name == "M":
            layers.append(nn.MaxPool2d(2))
        elif name == "N":
            layers.append(nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0))  # with AlexNet's parameters (section 2.1)
        else:
            maps, _, window = name.partition(":")
            size = int(window or 3)
            layers.append(nn.Conv2d(channels, int(maps), size, padding=size // 2))
            layers += [nn.BatchNorm2d(int(maps)), nn.ReLU()] if batch_norm else [nn.ReLU()]
            channels = int(maps)
    return layers


def vgg11(num_classes: int = 1000) -> VGG:
    """Configuration A: 11 layers with weights."""
    return VGG("A", num_classes)


def vgg13(num_classes: int = 1000) -> VGG:
    """Configuration B: 13 layers."""
    return VGG("B", num_classes)


def vgg16(num_classes: int = 1000) -> VGG:
    """Configuration D: 16 layers, the one that everybody means by VGG."""
    return VGG("D", num_classes)


def vgg19(num_classes: int = 1000) -> VGG:
    """Configuration E: 19 layers."""
    return VGG("E", num_classes)


def vgg11_bn(num_classes: int = 1000) -> VGG:
    """Configuration A with batch normalisation."""
    return VGG("A", num_classes, batch_norm=True)


def vgg13_bn(num_classes: int = 1000) -> VGG:
    """Configuration B with batch normalisation."""
    return VGG("B", num_classes, batch_norm=True)


def vgg16_bn(num_classes: int = 1000) -> VGG:
    """Configuration D with batch normalisation."""
    return VGG("D", num_classes, batch_norm=True)


def vgg19_bn(num_classes: int = 1000) -> VGG:
    """Configuration E with batch normalisation."""
    return VGG("E", num_classes, batch_norm=True)
