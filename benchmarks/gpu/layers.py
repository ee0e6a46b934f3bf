"""Convolution layers on a GPU, forward and each gradient by itself: TFLOP/s, as a share of those of a large product of matrices.

The product is the faster one of both frameworks, in the same precision. It is cuBLAS's, so the share says how much of the tensor
cores (tf32, bf16) or of the plain units (fp32) a layer keeps busy.
"""

import math

from benchmarks.conv_layers import LAYERS, operations
from benchmarks.gpu.library import PRECISIONS, Library
from benchmarks.harness import main

BATCHES = {"LeNet": 1024, "AlexNet": 128, "VGG": 32, "CIFAR": 512}  # of others: 64
SIDE = 8192  # of the large matrices
PRODUCT, WAYS = "product of matrices", (" forward", " weight gradient", " input gradient")
AT_LEAST = 0.05  # seconds for each figure


def measure(framework: str, precision: str) -> dict[str, float]:
    library = Library(framework)
    library.use(precision)
    dtype = PRECISIONS[precision][1]
    a = library.random((SIDE, SIDE), dtype)
    times = library.timed({PRODUCT: lambda: lambda: a @ a}, AT_LEAST)
    for name in LAYERS:
        times |= library.timed(_rows(library, name, dtype), AT_LEAST)
    return times


def at_gpu_batch(name: str):
    """The layer, for as many images as a GPU takes at a time."""
    (_, *shape), *others = LAYERS[name]
    return (BATCHES.get(name.split()[0], 64), *shape), *others


def _groups(name: str) -> int:
    return LAYERS[name][1] if name.startswith("depthwise") else 1


def _rows(library: Library, name: str, dtype: str) -> dict:
    shape, channels, kernel, stride, padding, needs_input = at_gpu_batch(name)
    groups = _groups(name)
    weights = (channels, shape[1] // groups, kernel, kernel)

    def layer(way, input_grad=False, weight_grad=False):
        x = library.random(shape, dtype, needs_grad=input_grad)
        w = library.random(weights, dtype, 0.05, needs_grad=weight_grad)
        return way(lambda x, w: library.functional.conv2d(x, w, None, stride, padding, 1, groups), x, w)

    rows = {f"{name} forward": lambda: layer(library.forward),
            f"{name} weight gradient": lambda: layer(library.gradient, weight_grad=True)}
    if needs_input:
        rows[f"{name} input gradient"] = lambda: layer(library.gradient, input_grad=True)
    return rows


def rates(precision: str, times) -> dict[str, dict[str, float]]:
    """TFLOP/s of ours, and percent of the large product's."""
    speeds = {row: {f: _work(row) / t for f, t in each.items()} for row, each in times.items()}
    peak = max(speeds[PRODUCT].values()) if PRODUCT in speeds else math.nan
    return {row: {"TFLOP/s": each["minidl"] / 1e12, "%": 100 * each["minidl"] / peak} for row, each in speeds.items()}


def _work(row: str) -> float:
    """Multiplications and additions; a gradient has as many as the layer."""
    if row == PRODUCT:
        return 2 * SIDE**3
    name = next(name for name in LAYERS if row.removeprefix(name) in WAYS)
    return operations(at_gpu_batch(name)) / _groups(name)


if __name__ == "__main__":
    main("benchmarks.gpu.layers", __doc__, ("torch", "torch channels_last"), cases=tuple(PRECISIONS), rates=rates)
