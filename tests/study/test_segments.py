"""Pictures of segments."""

import numpy as np
import pytest

import minidl
from minidl.errors import DtypeError, ShapeError
from minidl.study.segments import draw_segments


def test_mean_colours_and_lines():
    image = np.random.default_rng(0).integers(0, 256, (3, 4, 6)).astype(np.uint8)
    labels = np.repeat([[5, 5, 5, -2, -2, -2]], 4, 0)
    pixels = np.asarray(draw_segments(minidl.tensor(image), labels)).transpose(2, 0, 1)
    assert (pixels[:, :, 2] == 255).all()
    for columns, of in ((slice(0, 2), slice(0, 3)), (slice(3, 6), slice(3, 6))):
        mean = image[:, :, of].mean((1, 2)).round()
        assert (pixels[:, :, columns] == mean[:, None, None]).all()


def test_what_does_not_belong_together_is_refused():
    image = np.zeros((3, 4, 6), np.uint8)
    for labels in (np.zeros((6, 4), int), np.zeros((1, 4, 6), int)):
        with pytest.raises(ShapeError, match="segments"):
            draw_segments(image, labels)
    for wrong in ((image, np.zeros((4, 6))), (image / 255, np.zeros((4, 6), int))):
        with pytest.raises(DtypeError, match="uint8"):
            draw_segments(*wrong)
