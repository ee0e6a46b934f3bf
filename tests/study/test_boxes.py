"""Boxes on pictures: which pixels they change, in which colour."""

import numpy as np
import pytest
from PIL import ImageColor

import minidl
from minidl.errors import DataError, DtypeError, ShapeError
from minidl.study.boxes import COLOURS, draw_bounding_boxes

GREY = np.full((3, 120, 160), 128, np.uint8)


def drawn(*args, image=GREY, **options) -> np.ndarray:
    return np.asarray(draw_bounding_boxes(image, *args, **options)).transpose(2, 0, 1)


def colour(label: int) -> np.ndarray:
    return np.array(ImageColor.getrgb(COLOURS[label]))


def test_a_frame_is_on_the_pixels_of_its_box():
    """A box from 20 to 60 has the pixels 20 to 59."""
    frame = (drawn([[20, 30, 60, 80]], [2]) != 128).any(0)
    expected = np.zeros((120, 160), bool)
    expected[30:80, 20:60] = True
    expected[31:79, 21:59] = False
    np.testing.assert_array_equal(frame, expected)
    assert (drawn([[20, 30, 60, 80]], [2])[:, 30, 40] == colour(2)).all()
    assert (GREY == 128).all()


def test_labels_are_written_above_and_inside_where_there_is_no_room():
    changed = (drawn([[20, 60, 90, 100]], [0], classes=["cat"]) != 128).any(0)
    assert changed[50:59, 22:30].any() and not changed[62:98, 22:88].any() and not changed[:40].any()
    changed = (drawn([[20, 2, 90, 100]], [0], classes=["cat"]) != 128).any(0)
    assert changed[4:10, 22:30].any() and not changed[20:98, 22:88].any()
    right = drawn([[150, 60, 160, 100]], [0], classes=["a very long name"])  # moved so that it can be read
    assert (right != 128).any(0)[50:59].sum() > 100


def test_scores_come_in_per_cent_and_the_best_on_top():
    with_score, without = (drawn([[20, 60, 150, 100]], [0], scores, classes=["cat"]) for scores in ([0.5], None))
    assert (with_score != 128).any(0).sum() > (without != 128).any(0).sum()
    assert (drawn([[20, 30, 60, 80]] * 2, [0, 1], [0.9, 0.2])[:, 50, 20] == colour(0)).all()
    assert (drawn([[20, 30, 60, 80]] * 2, [0, 1], [0.2, 0.9])[:, 50, 20] == colour(1)).all()


def test_boxes_without_labels_and_no_boxes():
    assert (drawn([[20, 30, 60, 80]])[:, 30, 40] == colour(0)).all()
    for none in ([], np.zeros((0, 4), np.float32)):
        np.testing.assert_array_equal(drawn(none, [], [], classes=["cat"]), GREY)


def test_boxes_that_leave_the_picture():
    left = drawn([[-50, -1e30, 1e30, 500]], [0], [1.0], classes=["cat"])
    assert left.shape == GREY.shape
    assert (drawn([[50, 50, 50, 50]])[:, 50, 50] == colour(0)).all()  # an empty box is one pixel
    assert drawn([[50, 50, 20, 20]]).shape == GREY.shape


def test_tensors_and_many_classes():
    tensors = minidl.tensor(GREY), minidl.tensor([[20.0, 30, 60, 80]]), minidl.tensor([12]), minidl.tensor([0.5])
    picture = draw_bounding_boxes(*tensors, classes=[str(k) for k in range(20)])
    assert picture.getpixel((20, 79)) == tuple(colour(2))  # colours come again


def test_mistakes():
    box = [[20, 30, 60, 80]]
    with pytest.raises(DtypeError, match="uint8, got float64"):
        drawn(box, image=GREY / 255)
    with pytest.raises(ShapeError, match=r"an image \(3, H, W\)"):
        drawn(box, image=GREY[:1])
    for wrong in ([[1, 2, 3]], [[[1, 2, 3, 4]]]):
        with pytest.raises(ShapeError, match=r"boxes \(L, 4\)"):
            drawn(wrong)
    with pytest.raises(ShapeError, match=r"expected labels \(1,\), one for each box, got \(2,\)"):
        drawn(box, [0, 1])
    with pytest.raises(ShapeError, match=r"expected scores \(1,\)"):
        drawn(box, [0], [0.5, 0.5])
    with pytest.raises(DataError, match="box 1 is not finite"):
        drawn([*box, [0, 0, np.nan, 1]])
    with pytest.raises(IndexError):
        drawn(box, [3], classes=["cat"])
