"""The largest error of each convolution algorithm against float64, relative to the largest output, at 512 channels. A depthwise
output sees one of them.
"""

import numpy as np

from minidl.kernels.cpu import conv_depthwise, conv_direct, conv_pointwise, winograd
from minidl.kernels.shapes import ConvGeometry

CHANNELS, OUTPUTS, IMAGES = 512, 64, 2
CASES = {  # algorithm, window, size of the images; those of the second are too narrow for tiles of 4x4
    "winograd F(4x4, 3x3)": (winograd, 3, (14, 12)),
    "winograd F(2x2, 3x3)": (winograd, 3, (14, 2)),
    "winograd F(2x2, 5x5)": (winograd, 5, (14, 12)),
    "direct 3x3": (conv_direct, 3, (14, 12)),
    "direct 5x5": (conv_direct, 5, (14, 12)),
    "pointwise 1x1": (conv_pointwise, 1, (14, 12)),
    "depthwise 3x3": (conv_depthwise, 3, (14, 12)),
    "depthwise 7x7": (conv_depthwise, 7, (14, 12)),
}


def errors(algorithm, window: int, size) -> list[float]:
    """Of the forward pass, the gradient in x and the gradient in w."""
    depthwise = algorithm is conv_depthwise
    groups, outputs = (CHANNELS, CHANNELS) if depthwise else (1, OUTPUTS)
    random, geometry = np.random.default_rng(0), ConvGeometry(padding=(window // 2, window // 2), groups=groups)
    x, gy, wide = (random.standard_normal((IMAGES, channels, *size)).astype(np.float32)
                   for channels in (CHANNELS, outputs, CHANNELS))
    seen = CHANNELS // groups
    w = (random.standard_normal((outputs, seen, window, window)) / (seen * window**2) ** 0.5).astype(np.float32)
    back = w if depthwise else np.ascontiguousarray(w.swapaxes(0, 1))  # so that the gradient in x, too, sums over 512 channels
    calls = (("conv2d", (x, w, None)), ("conv2d_input_grad", (wide, back, gy.shape)), ("conv2d_weight_grad", (gy, x, w.shape)))
    found = []
    for name, args in calls:
        exact = [arg.astype(np.float64) if isinstance(arg, np.ndarray) else arg for arg in args]
        want = getattr(conv_direct, name)(*exact, geometry)
        found.append(float(abs(getattr(algorithm, name)(*args, geometry) - want).max() / abs(want).max()))
    return found


def main() -> None:
    """Print the table."""
    print(f"{'':22}{'forward':>10}{'in x':>10}{'in w':>10}")
    for name, case in CASES.items():
        print(f"{name:22}" + "".join(f"{error:10.1e}" for error in errors(*case)))


if __name__ == "__main__":
    main()
