"""One linear layer on the pixels: what every network should be compared with.

    image 3xSxS -> one score for each class

Each row of weights is a picture of what speaks for its class: one template, whatever the position, the pose and the parts.
"""

from minidl import nn
from minidl.models.classify.cifar_resnet import augmented, inputs
from minidl.models.classify.recipe import Recipe, training
from minidl.models.classify.weights import with_weights

__all__ = ["RECIPES", "LinearClassifier", "augmented", "inputs", "linear", "linear224", "training"]

# The rate is for pixels of deviation 1: the larger the image, the more of them pull the same way.
RECIPES = {"cifar10": Recipe(epochs=20, batch_size=128, lr=1e-3, weight_decay=1e-4, augment=False)}


class LinearClassifier(nn.Module):
    """Scores that are linear in the pixels, weights 0 at the start.   x (N, 3, size, size) -> (N, num_classes).

    >>> import minidl
    >>> LinearClassifier(5)(minidl.ones(2, 3, 32, 32)).tolist()
    [[0.0, 0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0, 0.0]]
    """

    def __init__(self, num_classes: int = 10, size: int = 32):
        super().__init__()
        self.input_shape = (3, size, size)
        self.fc = nn.Linear(3 * size * size, num_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, x):
        return self.fc(x.flatten(1))


def linear(num_classes: int = 10, weights=None) -> LinearClassifier:
    """A linear classifier of 32x32 pixels; ``weights`` from a file."""
    return with_weights(LinearClassifier(num_classes), "linear", weights)


def linear224(num_classes: int = 10, weights=None) -> LinearClassifier:
    """A linear classifier of 224x224 pixels; ``weights`` from a file."""
    return with_weights(LinearClassifier(num_classes, 224), "linear224", weights)
