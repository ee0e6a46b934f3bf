"""ZFNet: AlexNet looked into, and mended where the pictures showed what was wrong.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (ECCV 2014), fig. 3.

What it changed: pictures of what excites each unit showed that AlexNet's first layer missed middle frequencies and its second had
aliasing from the stride of 4. So the first window shrinks from 11x11 to 7x7 and its stride from 4 to 2, and the groups are gone.
"""

from minidl import nn
from minidl.models.classify.alexnet import RECIPES, augmented
from minidl.models.classify.recipe import inputs, training
from minidl.models.classify.weights import with_weights

__all__ = ["RECIPES", "ZFNet", "augmented", "inputs", "training", "zfnet"]


class ZFNet(nn.Module):
    """ZFNet.   x (N, 3, 224, 224) -> logits (N, num_classes).

    Weights are drawn from N(0, 0.01), biases are 0 (section 3). Contrast normalisation across the maps of the first two stages is
    local response normalisation with AlexNet's parameters, as in later practice.

    >>> import minidl
    >>> sum(p.numel() for p in ZFNet(num_classes=10).features.parameters())
    3726464
    """

    input_shape = (3, 224, 224)

    def __init__(self, num_classes: int = 1000, dropout: float = 0.5):
        super().__init__()
        norm = dict(alpha=5e-4, beta=0.75, k=2.0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.LocalResponseNorm(5, **norm),
            nn.Conv2d(96, 256, 5, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), nn.LocalResponseNorm(5, **norm),
            nn.Conv2d(256, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1), nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1), nn.ReLU(), nn.MaxPool2d(3, 2),
        )
        self.classifier = nn.Sequential(
            nn.Linear(256 * 6 * 6, 4096), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(4096, 4096), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4096, num_classes),
        )
        for layer in self.modules():
            if isinstance(layer, (nn.Conv2d, nn.Linear)):
                nn.init.normal_(layer.weight, 0, 0.01)
                nn.init.zeros_(layer.bias)

    def forward(self, x):
        return self.classifier(self.features(x).flatten(1))


def zfnet(num_classes: int = 1000, weights=None) -> ZFNet:
    """ZFNet; ``weights`` from a file."""
    return with_weights(ZFNet(num_classes), "zfnet", weights)
