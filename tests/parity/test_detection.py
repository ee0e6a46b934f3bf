"""Pictures and boxes resized as torchvision's detectors do it."""

import numpy as np
import pytest

from minidl.data.box_transforms import Resize
from minidl.data.detection import target_of
from tests.parity.vision import torchvision

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("limits", [(80, 133), (60, 100)])
def test_resize(limits):
    torchvision()
    from torchvision.models.detection.transform import GeneralizedRCNNTransform

    theirs = GeneralizedRCNNTransform(*limits, image_mean=[0, 0, 0], image_std=[1, 1, 1])
    rng, equal = np.random.default_rng(0), 0
    for _ in range(60):
        height, width = rng.integers(20, 150, 2).tolist()
        image, box = rng.integers(0, 256, (3, height, width), np.uint8), np.array([[3, 4, width - 2.5, height - 1]], np.float32)
        other, target = theirs.resize(torch.tensor(image / np.float32(255)), {"boxes": torch.tensor(box)})
        mine, changed = Resize(*limits)(image, target_of(box, [0], 0))
        short = np.array(mine.shape) - np.array(other.shape)
        assert short[0] == 0 and 0 <= short.min() and short.max() <= 1  # theirs loses a pixel to rounding now and then
        if not short.any():
            equal += 1
            np.testing.assert_allclose(changed["boxes"], target["boxes"].numpy(), rtol=1e-6)
    assert equal > 45
