"""All kinds of convolution layers of the lecture's networks: forward, and forward with backward; GFLOP/s beside what this machine
can do with a large product of matrices, and the bandwidth of a large copy.
"""

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
    "AlexNet conv4 3x3": ((32, 384, 13, 13), 256, 3, 1, 1, True),
    "VGG conv1_1 3x3": ((4, 3, 224, 224), 64, 3, 1, 1, False),
    "VGG conv1_2 3x3": ((4, 64, 224, 224), 64, 3, 1, 1, True),
    "VGG conv2_2 3x3": ((4, 128, 112, 112), 128, 3, 1, 1, True),
    "VGG conv3_2 3x3": ((4, 256, 56, 56), 256, 3, 1, 1, True),
    "VGG conv4_2 3x3": ((4, 512, 28, 28), 512, 3, 1, 1, True),
    "VGG conv5_1 3x3": ((4, 512, 14, 14), 512, 3, 1, 1, True),
    "GoogLeNet conv1 7x7/2": ((8, 3, 224, 224), 64, 7, 2, 3, False),
    "GoogLeNet 3a 1x1": ((8, 192, 28, 28), 64, 1, 1, 0, True),
    "GoogLeNet 3a 1x1, few": ((8, 192, 28, 28), 16, 1, 1, 0, True),
    "GoogLeNet 3a 3x3": ((8, 96, 28, 28), 128, 3, 1, 1, True),
    "GoogLeNet 4e 3x3": ((8, 160, 14, 14), 320, 3, 1, 1, True),
    "GoogLeNet 5b 3x3": ((8, 192, 7, 7), 384, 3, 1, 1, True),
    "ResNet 2_x 3x3": ((8, 64, 56, 56), 64, 3, 1, 1, True),
    "ResNet 3_x 3x3": ((8, 128, 28, 28), 128, 3, 1, 1, True),
    "ResNet 4_x 3x3": ((8, 256, 14, 14), 256, 3, 1, 1, True),
    "ResNet 5_x 3x3": ((8, 512, 7, 7), 512, 3, 1, 1, True),
    "ResNet 3_1 3x3/2": ((8, 128, 56, 56), 128, 3, 2, 1, True),
    "ResNet 5_1 3x3/2": ((8, 512, 14, 14), 512, 3, 2, 1, True),
    "ResNet 2_x 1x1, up": ((8, 64, 56, 56), 256, 1, 1, 0, True),
    "ResNet 3_x 1x1, down": ((8, 512, 28, 28), 128, 1, 1, 0, True),
    "ResNet 5_x 1x1, up": ((8, 512, 7, 7), 2048, 1, 1, 0, True),
    "ResNet 3_1 1x1/2": ((8, 256, 56, 56), 512, 1, 2, 0, True),
    "CIFAR 16 maps 3x3": ((128, 16, 32, 32), 16, 3, 1, 1, True),
    "CIFAR 32 maps 3x3": ((128, 32, 16, 16), 32, 3, 1, 1, True),
    "CIFAR 64 maps 3x3": ((128, 64, 8, 8), 64, 3, 1, 1, True),
    "depthwise 3x3": ((8, 128, 28, 28), 128, 3, 1, 1, True),
}
COPY, SIDE = 1 << 24, 3072  # numbers copied, and the side of a large matrix


def measure(framework: str) -> dict[str, float]:
    library, _, variant = framework.partition(" ")
    times = {}
    for name, layer in LAYERS.items():
        forward, both = passes(importlib.import_module(library), library, variant, layer, 128 if "depthwise" in name else 1)
        times[f"{name} forward"] = seconds(forward, repeat=5, at_least=0.15)
        times[f"{name} forward+backward"] = seconds(both, repeat=5, at_least=0.15)
    if not variant:
        library = importlib.import_module(library)
        a = library.tensor(np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32))
        times[f"product of {SIDE}x{SIDE} matrices"] = seconds(lambda: a @ a, repeat=3, at_least=0.5)
        source, target = np.ones(COPY, np.float32), np.zeros(COPY, np.float32)
        times[f"copy of {COPY * 4 >> 20} MB"] = seconds(lambda: np.copyto(target, source), repeat=3)
    return times


def operations(layer) -> int:
    """Multiplications and additions of one forward pass, by the definition."""
    (n, c, h, w), channels, kernel, stride, padding, _ = layer
    outputs = ((h + 2 * padding - kernel) // stride + 1) * ((w + 2 * padding - kernel) // stride + 1)
    return 2 * n * channels * c * kernel * kernel * outputs


def passes(library, name, variant, layer, groups):
    """Functions that compute a layer forward, and forward and backward."""
    shape, channels, kernel, stride, padding, needs_input = layer
    functional, random = importlib.import_module(f"{name}.nn.functional"), np.random.default_rng(0)
    x = library.tensor(random.standard_normal(shape).astype(np.float32))
    w = library.tensor((random.standard_normal((channels, shape[1] // groups, kernel, kernel)) * 0.05).astype(np.float32))
    if variant == "channels_last":
        x, w = (t.to(memory_format=library.channels_last) for t in (x, w))
    x.requires_grad, w.requires_grad = needs_input, True
    b = library.tensor(np.zeros(channels, np.float32), requires_grad=True)

    def forward():
        with library.no_grad():
            return functional.conv2d(x, w, b, stride, padding, 1, groups)

    seed = forward() * 0 + 1

    def both():
        x.grad = w.grad = b.grad = None  # as after zero_grad: nothing to add to
        functional.conv2d(x, w, b, stride, padding, 1, groups).backward(seed)

    return forward, both


if __name__ == "__main__":
    main("benchmarks.conv_layers", __doc__, ("torch", "torch channels_last"))
