"""Pooling of regions of interest and non-maximum suppression, at the sizes of detectors, against torchvision's operators."""

import importlib
import sys
import time

import numpy as np

from benchmarks.harness import main, seconds

# name: feature map (N, C, H, W), RoIs, bins a side, pixels of the picture to one of the map
SIZES = {
    "512 RoIs 7x7 of (2, 256, 50, 68)": ((2, 256, 50, 68), 512, 7, 16),
    "2000 RoIs 7x7 of (1, 512, 38, 50)": ((1, 512, 38, 50), 2000, 7, 16),
    "512 RoIs 5x5 of (8, 128, 16, 16)": ((8, 128, 16, 16), 512, 5, 8),
}
COUNTS, GROWING = (500, 1000, 2000, 4000), (1, 512, 38, 50)  # RoIs 7x7 of this feature map
BOXES = (1000, 6000, 100_000)
SLOW = 100_000  # boxes which are suppressed once, as the peer takes long
GROUPS = ((5, 1000), (80, 100))  # the levels of a feature pyramid, the classes of COCO; and boxes of each
OPS = {"roi_pool": {}, "roi_align": {"sampling_ratio": 2}, "ps_roi_pool": {}}
PICTURE = (800, 1333)


def measure(framework: str, case: str) -> dict[str, float]:
    library, ops = _libraries(framework)
    if ops is None:
        print(f"torchvision's compiled operators do not load, and are left out of {case}", file=sys.stderr)
        return {}
    return _suppressed(library, ops) if case == "nms" else _pooled(library, ops, case)


def _libraries(framework):
    """What has tensors, and what has the ops: None where they are not compiled."""
    if framework == "minidl":
        return importlib.import_module("minidl"), importlib.import_module("minidl.ops")
    from tests.parity.vision import torch, torchvision

    return torch, torchvision().ops if torchvision().extension._has_ops() else None


def _pooled(library, ops, name) -> dict[str, float]:
    times = {}
    for size, (shape, count, bins, stride) in SIZES.items():
        forward, both = _pooling(library, ops, name, shape, count, bins, stride)
        times[f"{size} forward"] = seconds(forward, repeat=5)
        times[f"{size} forward+backward"] = seconds(both, repeat=5)
    for count in COUNTS:
        times[_row(count)] = seconds(_pooling(library, ops, name, GROWING, count, 7, 16)[0], repeat=3)
    return times


def _row(count) -> str:
    return f"growth: {count} RoIs"


def _pooling(library, ops, name, shape, count, bins, stride):
    """The op forward, and forward with backward. Position-sensitive pooling takes as many channels as its bins can share."""
    n, channels, *size = shape
    if name == "ps_roi_pool":
        channels -= channels % bins**2
    random = np.random.default_rng(0)
    boxes = clustered(count, [side * stride for side in size])
    rois = library.tensor(np.concatenate([random.integers(0, n, (count, 1)), boxes], 1, dtype=np.float32))
    x = library.tensor(random.standard_normal((n, channels, *size), np.float32), requires_grad=True)
    op, options = getattr(ops, name), OPS[name]

    def forward():
        with library.no_grad():
            return op(x, rois, bins, 1 / stride, **options)

    gy = forward() * 0 + 1
    return forward, lambda: library.autograd.grad(op(x, rois, bins, 1 / stride, **options), x, gy)


def _suppressed(library, ops) -> dict[str, float]:
    times, random = {}, np.random.default_rng(1)
    for count in BOXES:
        boxes, scores = library.tensor(clustered(count, PICTURE)), library.tensor(random.random(count, np.float32))
        clock = seconds if count < SLOW else once
        times[f"{count} boxes"] = clock(lambda: ops.nms(boxes, scores, 0.7))  # noqa: B023, it is called at once
    for groups, count in GROUPS:
        boxes = library.tensor(clustered(groups * count, PICTURE))
        scores = library.tensor(random.random(groups * count, np.float32))
        idxs = library.tensor(np.repeat(np.arange(groups), count))
        times[f"batched, {groups} of {count} boxes"] = seconds(lambda: ops.batched_nms(boxes, scores, idxs, 0.5))  # noqa: B023
    return times


def once(function) -> float:
    """Time of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def clustered(count: int, size, objects: int = 30) -> np.ndarray:
    """Boxes (count, 4) float32 as a region proposal network makes them in a picture of ``size`` (height, width): seven of ten
    around objects of 20 to 400 pixels, the others anywhere, of 16 to 512 pixels; clipped to the picture.
    """
    random = np.random.default_rng(0)
    corner = np.array(size[::-1])
    places = random.uniform(0, 1, (objects, 2)) * corner
    sides = np.exp(random.uniform(np.log(20), np.log(400), (objects, 2)))
    of, near = random.integers(0, objects, count), random.random((count, 1)) < 0.7
    anywhere = random.uniform(0, 1, (count, 2)) * corner
    centres = np.where(near, places[of] + random.normal(0, 0.15, (count, 2)) * sides[of], anywhere)
    spans = np.where(near, sides[of] * np.exp(random.normal(0, 0.2, (count, 2))),
                     np.exp(random.uniform(np.log(16), np.log(512), (count, 2))))
    return np.clip(np.concatenate([centres - spans / 2, centres + spans / 2], 1), 0, np.tile(corner, 2)).astype(np.float32)


def rates(case: str, times) -> dict:
    """Of the growing numbers of RoIs the microseconds that each takes."""
    return {_row(count): {"us a RoI": times[_row(count)]["minidl"] / count * 1e6} for count in COUNTS if _row(count) in times}


if __name__ == "__main__":
    main("benchmarks.regions", __doc__, ("torchvision",), cases=(*OPS, "nms"), rates=rates)
