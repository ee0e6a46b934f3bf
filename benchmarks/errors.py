"""The largest error of each convolution algorithm against float64, relative to the largest output, at 512 channels."""

import numpy as np

from minidl.kernels.cpu import conv_direct, conv_pointwise, winograd
from minidl.kernels.shapes import ConvGeometry

CHANNELS, OUTPUTS, IMAGES, SIZE = 512, 64, 2, (14, 12)


def errors(algorithm, window: int) -> list[float]:
    """Of the forward pass, the gradient in x and the gradient in w."""
    random, geometry = np.random.default_rng(0), ConvGeometry(padding=(window // 2, window // 2))
    x, gy, wide = (random.standard_normal((IMAGES, channels, *SIZE)).astype(np.float32)
                   for channels in (CHANNELS, OUTPUTS, CHANNELS))
    w = (random.standard_normal((OUTPUTS, CHANNELS, window, window)) / (CHANNELS * window**2) ** 0.5).astype(np.float32)
    back = np.ascontiguousarray(w.swapaxes(0, 1))  # so that the gradient in x, too, sums over 512 channels
    calls = (("conv2d", (x, w, None)), ("conv2d_input_grad", (wide, back, gy.shape)), ("conv2d_weight_grad", (gy, x, w.shape)))
    found = []
    for name, args in calls:
        exact = [arg.astype(np.float64) if isinstance(arg, np.ndarray) else arg for arg in args]
        want = getattr(conv_direct, name)(*exact, geometry)
        found.append(float(abs(getattr(algorithm, name)(*args, geometry) - want).max() / abs(want).max()))
    return found


def main() -> None:
    """Print the table."""
    print(f"{'':16}{'forward':>10}{'in x':>10}{'in w':>10}")
    for algorithm, windows in ((winograd, (3, 5)), (conv_direct, (3, 5)), (conv_pointwise, (1,))):
        for window in windows:
            name = f"{algorithm.__name__.rsplit('.', 1)[-1].removeprefix('conv_')} {window}x{window}"
            print(f"{name:16}" + "".join(f"{error:10.1e}" for error in errors(algorithm, window)))


if __name__ == "__main__":
    main()
