"""AlexNet: eight layers that won ILSVRC 2012 by ten points and began deep learning for vision.

    image 3x224x224 -> conv 11x11/4 -> pool -> conv 5x5 -> pool -> three convs 3x3 -> pool -> 4096 -> 4096 -> classes

Source: Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (NIPS 2012), and for
the version with published weights Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014).

What it changed: ReLU instead of tanh, which trains several times faster; dropout in the two large layers; training on two GPUs,
whence the groups: conv2, conv4 and conv5 see only the maps of their own GPU; local response normalisation; pooling windows that
overlap (3x3, 2 apart); images augmented by crops, flips and shifts of colour.

Two versions:
- ``AlexNet2012``, as printed: groups, normalisation, 60,965,224 parameters, 724,406,816 multiply-adds. The paper says images of
  224x224, but its 55x55 maps need 227x227.
- ``AlexNet``, in one column, whose weights are published (torchvision's): other widths, no groups, no normalisation, 61,100,840
  parameters, 714,188,480 multiply-adds.
"""

from minidl import nn
from minidl.data.transforms import ColorShift
from minidl.models.classify.recipe import Recipe, crops, inputs, training
from minidl.models.classify.weights import with_weights

__all__ = ["RECIPES", "AlexNet", "AlexNet2012", "alexnet", "augmented", "inputs", "training"]

# Section 5. The paper lowers the rate by hand when the validation error stops falling, three times in about 90 epochs.
RECIPES = {"imagenet": Recipe(epochs=90, batch_size=128, lr=0.01, schedule="plateau")}


def augmented(size: int):
    """Training images: crops and mirror images, and colours shifted along their principal components (section 4.1)."""
    return inputs(size, crops(size), [ColorShift(0.1)])


class AlexNet(nn.Module):
    """AlexNet in one column.   x (N, 3, H, W), made for 224x224 -> logits (N, num_classes).

    Parameters have torchvision's names.

    >>> import minidl
    >>> AlexNet(num_classes=5)(minidl.zeros(1, 3, 224, 224)).shape
    (1, 5)
    """

    input_shape = (3, 224, 224)

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 64, 11, stride=4, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(64, 192, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2),
            nn.Conv2d(192, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(),
            nn.Conv2d(256, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d((6, 6))
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), nn.Linear(256 * 6 * 6, 4096), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(4096, 4096), nn.ReLU(), nn.Linear(4096, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


class AlexNet2012(nn.Module):
    """AlexNet as printed.   x (N, 3, 227, 227) -> logits (N, num_classes).

    Weights are drawn from N(0, 0.01); biases are 1 in conv2, conv4, conv5 and the two hidden layers, else 0 (section 5). The
    paper's normalisation (section 3.3) does not divide alpha by the number of channels, ours does, as PyTorch's: so 5e-4 here.
    """

    input_shape = (3, 227, 227)

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4), nn.ReLU(), _response_norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2), nn.ReLU(), _response_norm(), nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1, groups=2), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1, groups=2), nn.ReLU(), nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4096, num_classes),
        )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights as the paper does."""
        layers = [layer for layer in self.modules() if isinstance(layer, (nn.Conv2d, nn.Linear))]
        conv1, conv2, conv3, conv4, conv5, fc6, fc7, fc8 = layers
        for layer in layers:
            nn.init.normal_(layer.weight, 0, 0.01)
            nn.init.constant_(layer.bias, 1.0 if layer in (conv2, conv4, conv5, fc6, fc7) else 0.0)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def _response_norm() -> nn.LocalResponseNorm:
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


def alexnet(num_classes: int = 1000, weights=None, dropout: float = 0.5) -> AlexNet:
    """AlexNet in one column, under torchvision's name.

    ``weights``: None, "imagenet" for the published ones, or a file; see ``minidl.models.classify.weights``.
    """
    return with_weights(AlexNet(num_classes, dropout), "alexnet", weights)


def alexnet2012(num_classes: int = 1000, weights=None) -> AlexNet2012:
    """AlexNet as printed; ``weights`` from a file."""
    return with_weights(AlexNet2012(num_classes), "alexnet2012", weights)
