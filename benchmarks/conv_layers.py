"""Convolution layers of LeNet-5 (batch 64), AlexNet (batch 32) and VGG-16 (batch 4): forward, and forward with backward."""

import importlib

import numpy as np

from benchmarks.harness import main, seconds

# name: input (N, C, H, W), output channels, kernel, stride, padding, does the input need a gradient
LAYERS = {
    "LeNet conv1 5x5": ((64, 1, 28, 28), 6, 5, 1, 2, False),
    "LeNet conv2 5x5": ((64, 6, 14, 14), 16, 5, 1, 0, True),
    "AlexNet conv1 11x11/4": ((32, 3, 224, 224), 64, 11, 4, 2, False),
    "AlexNet conv2 5x5": ((32, 64, 27, 27), 192, 5, 1, 2, True),
    "AlexNet conv3 3x3": ((32, 192, 13, 13), 384, 3, 1, 1, True),
    "VGG conv1_1 3x3": ((4, 3, 224, 224), 64, 3, 1, 1, False),
    "VGG conv3_2 3x3": ((4, 256, 56, 56), 256, 3, 1, 1, True),
    "VGG conv5_1 3x3": ((4, 512, 14, 14), 512, 3, 1, 1, True),
}


def measure(framework: str) -> dict[str, float]:
    library = importlib.import_module(framework)
    functional = importlib.import_module(f"{framework}.nn.functional")
    random = np.random.default_rng(0)
    times = {}
    for name, (shape, channels, kernel, stride, padding, needs_input) in LAYERS.items():
        weight_shape = (channels, shape[1], kernel, kernel)
        x = library.tensor(random.standard_normal(shape).astype(np.float32), requires_grad=needs_input)
        w = library.tensor((random.standard_normal(weight_shape) * 0.05).astype(np.float32), requires_grad=True)
        b = library.tensor(np.zeros(channels, np.float32), requires_grad=True)

        def forward(x=x, w=w, b=b, stride=stride, padding=padding):
            return functional.conv2d(x, w, b, stride, padding)

        seed = library.tensor(np.ones(tuple(forward().shape), np.float32))

        def both(forward=forward, seed=seed):
            forward().backward(seed)

        def inference(forward=forward):
            with library.no_grad():
                forward()

        times[f"{name} forward"] = seconds(inference)
        times[f"{name} forward+backward"] = seconds(both)
    return times


if __name__ == "__main__":
    main("benchmarks.conv_layers", __doc__)
