"""What was possible before deep networks, on scenes that the detector has not seen. A minute or two."""

import pytest

from minidl.data import Scenes
from minidl.models.detect.sliding_window import SlidingWindow
from minidl.models.evaluate.voc import evaluate_voc

pytestmark = pytest.mark.bars


def test_sliding_window_reaches_80_percent():
    """100 scenes for training, 60 for testing: 0.866 when this was written."""
    detector, unseen = SlidingWindow().fit(Scenes(length=100)), Scenes(train=False, length=60)
    images, targets = zip(*(unseen[k] for k in range(len(unseen))), strict=True)
    result = evaluate_voc(detector.predict(images), targets, unseen.classes)
    print(f"mAP@0.5 {result.mean_ap:.3f}")
    assert result.mean_ap >= 0.8
