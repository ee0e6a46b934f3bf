"""VGG: nothing but 3x3 convolutions, and more of them.

    image 3x224x224 -> five blocks of convs 3x3, each ended by a pool 2x2: 64, 128, 256, 512, 512 maps -> 4096 -> 4096 -> classes

Source: Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (ICLR 2015), table 1.

Constructors take ``weights``: None, "imagenet" for the published ones, or a file; see ``minidl.models.classify.weights``.

What it changed: two 3x3 convolutions see 5x5 pixels and three see 7x7, with fewer weights and more non-linearities than one large
window; depth grows from 11 to 19 layers with everything else fixed, and the error falls. A-LRN shows that normalisation of
responses does not help; C's 1x1 convolutions add non-linearity alone, and D, which has 3x3 in their place, is better.
"""

from minidl import nn
from minidl.data.transforms import ColorShift, RandomCrop, RandomHorizontalFlip, RandomResize
from minidl.errors import UsageError
from minidl.models.classify.recipe import Recipe, inputs, shorter_side, training
from minidl.models.classify.weights import with_weights

__all__ = ["CONFIGURATIONS", "RECIPES", "VGG", "augmented", "inputs", "training", "vgg11", "vgg11_bn", "vgg11_lrn",
           "vgg13", "vgg13_bn", "vgg16", "vgg16_bn", "vgg16_c", "vgg19", "vgg19_bn"]

# Section 3.1: as AlexNet's; 370,000 steps are 74 epochs.
RECIPES = {"imagenet": Recipe(epochs=74, batch_size=256, lr=0.01, schedule="plateau")}


def augmented(size: int):
    """Training images: the shorter side from 256 to 512, a crop, its mirror image, shifted colours (section 3.1)."""
    low = shorter_side(size)
    return inputs(size, [RandomResize(low, 2 * low), RandomCrop(size), RandomHorizontalFlip()], [ColorShift(0.1)])


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


def vgg11(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration A: 11 layers with weights."""
    return with_weights(VGG("A", num_classes), "vgg11", weights)


def vgg13(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration B: 13 layers."""
    return with_weights(VGG("B", num_classes), "vgg13", weights)


def vgg16(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration D: 16 layers, the one that everybody means by VGG."""
    return with_weights(VGG("D", num_classes), "vgg16", weights)


def vgg19(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration E: 19 layers."""
    return with_weights(VGG("E", num_classes), "vgg19", weights)


def vgg11_lrn(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration A-LRN: A with response normalisation."""
    return with_weights(VGG("A-LRN", num_classes), "vgg11_lrn", weights)


def vgg16_c(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration C: 16 layers, three of them with windows of 1x1."""
    return with_weights(VGG("C", num_classes), "vgg16_c", weights)


def vgg11_bn(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration A with batch normalisation."""
    return with_weights(VGG("A", num_classes, batch_norm=True), "vgg11_bn", weights)


def vgg13_bn(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration B with batch normalisation."""
    return with_weights(VGG("B", num_classes, batch_norm=True), "vgg13_bn", weights)


def vgg16_bn(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration D with batch normalisation."""
    return with_weights(VGG("D", num_classes, batch_norm=True), "vgg16_bn", weights)


def vgg19_bn(num_classes: int = 1000, weights=None) -> VGG:
    """Configuration E with batch normalisation."""
    return with_weights(VGG("E", num_classes, batch_norm=True), "vgg19_bn", weights)
