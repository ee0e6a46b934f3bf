"""What detectors do with boxes, on a GPU: pooling of regions of interest and its gradient, and suppression of boxes that overlap.

The peer is torchvision, whose operators are CUDA, too; without it ours stand alone. Calls are those of their users: what Python
does before and after the kernels counts.
"""

import importlib
import importlib.util

import numpy as np

from benchmarks.gpu.library import Library
from benchmarks.harness import main

SIDE = 800  # of the square images that boxes lie in
FAST = (2, 512, 16, 128, 7)  # Fast R-CNN: images, channels, stride, regions of an image, bins along each side
PYRAMID = (2, 256, 4, 512, 7)  # the finest level of a feature pyramid
BOXES, CLASSES = (1000, 12000), 80  # for NMS: of detections, and of a region proposal network
AT_LEAST = 0.1  # seconds for each figure


def measure(framework: str) -> dict[str, float]:
    if framework == "torch" and importlib.util.find_spec("torchvision") is None:
        return {}
    library = Library(framework)
    ops = library.module.ops if framework == "minidl" else importlib.import_module("torchvision.ops")
    return library.timed(_pooling(library, ops) | _suppression(library, ops), AT_LEAST)


def _pooling(library: Library, ops) -> dict:
    def both(name, pool, images, channels, stride, each, bins, *options):
        def function(x, boxes):
            return pool(x, boxes, bins, 1 / stride, *options)

        def arguments(needs_grad):
            x = library.random((images, channels, SIDE // stride, SIDE // stride), needs_grad=needs_grad)
            return x, library.module.tensor(_regions(images, each), device="cuda")

        return {f"{name} forward": lambda: library.forward(function, *arguments(False)),
                f"{name} gradient": lambda: library.gradient(function, *arguments(True))}

    return both("roi_pool", ops.roi_pool, *FAST) | both("roi_align", ops.roi_align, *PYRAMID, 2)


def _suppression(library: Library, ops) -> dict:
    def on_gpu(count):
        random = np.random.default_rng(0)
        arrays = _boxes(count), random.permutation(count).astype(np.float32) / count, random.integers(0, CLASSES, count)
        return [library.module.tensor(array, device="cuda") for array in arrays]

    def plain(count):
        boxes, scores, _ = on_gpu(count)
        return lambda: ops.nms(boxes, scores, 0.7)

    def batched(count):
        boxes, scores, classes = on_gpu(count)
        return lambda: ops.batched_nms(boxes, scores, classes, 0.5)

    return {f"nms of {count}": lambda count=count: plain(count) for count in BOXES} | {
        f"batched_nms of {BOXES[0]}": lambda: batched(BOXES[0])}


def _regions(images: int, each: int) -> np.ndarray:
    """(K, 5): the image, and a box in it."""
    return np.concatenate([np.repeat(np.arange(images, dtype=np.float32), each)[:, None], _boxes(images * each)], 1)


def _boxes(count: int) -> np.ndarray:
    """Boxes of all sizes around a few places, so that many overlap."""
    random = np.random.default_rng(1)
    centres = random.uniform(0, SIDE, (20, 2))[random.integers(0, 20, count)] + random.normal(0, 20, (count, 2))
    half = np.exp(random.uniform(np.log(8), np.log(SIDE / 4), (count, 2)))
    return np.concatenate([centres - half, centres + half], 1).clip(0, SIDE).astype(np.float32)


if __name__ == "__main__":
    main("benchmarks.gpu.regions", __doc__)
