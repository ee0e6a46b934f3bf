"""A classifier as a convolution over images of any size.

A linear layer behind maps of 7x7 is a convolution with a window of 7x7; on a larger image it gives a map of class scores instead
of one score for each class. Sources: Sermanet et al., "OverFeat" (ICLR 2014); Simonyan and Zisserman 2015, section 3.2.
"""

from minidl import nn
from minidl.errors import UsageError


def dense(model: nn.Module) -> nn.Module:
    """The model as a fully convolutional one: x (N, 3, H, W) -> scores (N, num_classes, h, w), on the same weights.

    For AlexNet and VGG, whose linear layers become convolutions. Networks that end in a mean over each map (GoogLeNet, ResNet)
    read images of any size as they are. Raises UsageError for a model without such linear layers.

    >>> import minidl
    >>> from minidl.models import alexnet
    >>> model = alexnet(num_classes=5).eval()
    >>> with minidl.no_grad():
    ...     dense(model)(minidl.zeros(1, 3, 256, 320)).shape
    (1, 5, 2, 4)
    """
    layers = getattr(model, "classifier", None)
    if layers is None or not hasattr(model, "features") or not any(isinstance(layer, nn.Linear) for layer in layers):
        raise UsageError(f"{type(model).__name__} has no linear layers on its maps that could become convolutions")
    channels = [layer.out_channels for layer in model.features.modules() if isinstance(layer, nn.Conv2d)][-1]
    return nn.Sequential(model.features, *_convolutions(layers, channels)).train(model.training)


def _convolutions(layers, channels: int) -> list[nn.Module]:
    """The layers, each linear one as a convolution over its inputs' maps."""
    found = []
    for layer in layers:
        if isinstance(layer, nn.Linear):
            size = round((layer.in_features / channels) ** 0.5)
            conv = nn.Conv2d(channels, layer.out_features, size)
            conv.weight = nn.Parameter(layer.weight.detach().reshape(layer.out_features, channels, size, size))
            conv.bias = layer.bias
            channels, layer = layer.out_features, conv
        found.append(layer)
    return found
