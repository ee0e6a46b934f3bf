"""LeNet-5, as everyone draws it today.

    image 1x28x28 -> conv 5x5, 6 maps, padding 2 -> pool 2x2 -> conv 5x5, 16 maps -> pool 2x2 -> 120 -> 84 -> 10

Source: LeCun, Bottou, Bengio and Haffner 1998, "Gradient-based learning applied to document recognition", fig. 2. Differences
from the paper, which later practice made: images of 28x28 padded by 2 instead of 32x32; every map of the second convolution
sees all six maps before it, instead of table I's selection; ReLU instead of a scaled tanh; max pooling without the trainable
coefficient and bias of the paper's subsampling; a linear output with softmax cross-entropy instead of radial basis functions.
61,706 parameters, 416,520 multiply-adds an image.
"""

from importlib import resources

from minidl import nn
from minidl.io import load
from minidl.models.classify.recipe import Recipe, training
from minidl.models.classify.weights import with_weights

__all__ = ["RECIPES", "LeNet5", "build", "lenet5", "training"]


class LeNet5(nn.Module):
    """LeNet-5 with ReLU and max pooling.   x (N, 1, 28, 28) -> logits (N, num_classes).

    >>> import minidl
    >>> model = LeNet5()
    >>> sum(p.numel() for p in model.parameters()), model(minidl.zeros(2, 1, 28, 28)).shape
    (61706, (2, 10))
    """

    input_shape = (1, 28, 28)

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
        )
        self.classifier = nn.Sequential(
            nn.Flatten(), nn.Linear(16 * 5 * 5, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, num_classes),
        )

    def forward(self, x):
        return self.classifier(self.features(x))


RECIPES = {
    "mnist": Recipe(epochs=10, batch_size=64, lr=0.03),
    "digits": Recipe(epochs=40, batch_size=32, lr=0.02),
    "fashion-mnist": Recipe(epochs=15, batch_size=64, lr=0.03, augment=False),
}


def build(num_classes: int = 10, weights=None) -> LeNet5:
    """The network for images of so many classes; ``weights`` from a file."""
    return with_weights(LeNet5(num_classes), "lenet", weights)


def lenet5(weights: str | None = None, num_classes: int = 10) -> LeNet5:
    """LeNet-5; ``weights="digits"`` loads the network that ships with minidl, any other string the file of that name.

    The shipped one was trained on the UCI digits, enlarged to 28x28, by ``minidl train lenet --data digits --seed 0``.

    >>> lenet5(weights="digits").training
    True
    """
    model = LeNet5(num_classes)
    if weights == "digits":
        with resources.as_file(resources.files("minidl.models.classify").joinpath("lenet5-digits.safetensors")) as path:
            model.load_state_dict(load(path))
    elif weights is not None:
        model.load_state_dict(load(weights))
    return model
