"""Depthwise convolutions of MobileNet (3x3), EfficientNet-B0 (5x5) and ConvNeXt-T (7x7), 8 images: forward, and forward with
backward.
"""

import importlib

from benchmarks.conv_layers import passes
from benchmarks.harness import main, seconds

# name: channels, side of the image, kernel, stride
LAYERS = {
    "MobileNet 112": (32, 112, 3, 1),
    "MobileNet 112/2": (64, 112, 3, 2),
    "MobileNet 56": (128, 56, 3, 1),
    "MobileNet 56/2": (128, 56, 3, 2),
    "MobileNet 28": (256, 28, 3, 1),
    "MobileNet 28/2": (256, 28, 3, 2),
    "MobileNet 14": (512, 14, 3, 1),
    "MobileNet 14/2": (512, 14, 3, 2),
    "MobileNet 7": (1024, 7, 3, 1),
    "EfficientNet 56/2": (144, 56, 5, 2),
    "EfficientNet 28": (240, 28, 5, 1),
    "EfficientNet 14": (672, 14, 5, 1),
    "EfficientNet 14/2": (672, 14, 5, 2),
    "EfficientNet 7": (1152, 7, 5, 1),
    "ConvNeXt 56": (96, 56, 7, 1),
    "ConvNeXt 28": (192, 28, 7, 1),
    "ConvNeXt 14": (384, 14, 7, 1),
    "ConvNeXt 7": (768, 7, 7, 1),
}


def measure(framework: str) -> dict[str, float]:
    name, _, variant = framework.partition(" ")
    library, times = importlib.import_module(name), {}
    for layer, (channels, side, kernel, stride) in LAYERS.items():
        shape = (8, channels, side, side), channels, kernel, stride, kernel // 2, True
        forward, both = passes(library, name, variant, shape, channels)
        times[f"{layer} forward"] = seconds(forward, repeat=5, at_least=0.1)
        times[f"{layer} forward+backward"] = seconds(both, repeat=5, at_least=0.1)
    return times


if __name__ == "__main__":
    main("benchmarks.depthwise", __doc__, ("torch", "torch channels_last"))
