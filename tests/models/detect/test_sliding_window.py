"""Histograms of gradients against loops; windows, and a detector trained on a few scenes."""

import math

import numpy as np
import pytest

from minidl.data import Scenes
from minidl.data.detection import DetectionDataset, target_of
from minidl.errors import DataError, DtypeError, ShapeError, UsageError
from minidl.models.detect import sliding_window
from minidl.models.detect.parts.hog import hog
from minidl.models.detect.parts.svm import LinearSVM
from minidl.models.detect.sliding_window import Level, SlidingWindow, pyramid
from minidl.models.evaluate.voc import evaluate_voc
from tests.models.detect.naive import iou

RANDOM = np.random.default_rng(5)


def naive_hog(image: np.ndarray) -> np.ndarray:
    """Votes pixel by pixel, as in the paper's section 6 but for what the module says."""
    channels, height, width = image.shape
    cells = np.zeros((9, height // 8, width // 8))
    for y in range(height // 8 * 8):
        for x in range(width // 8 * 8):
            best = (0.0, 0.0)
            for plane in image:
                plane = plane[:height // 8 * 8, :width // 8 * 8]
                right, left = plane[y, min(x + 1, plane.shape[1] - 1)], plane[y, max(x - 1, 0)]
                lower, upper = plane[min(y + 1, plane.shape[0] - 1), x], plane[max(y - 1, 0), x]
                if math.hypot(right - left, lower - upper) > math.hypot(*best):
                    best = (right - left, lower - upper)
            angle = math.degrees(math.atan2(best[1], best[0])) % 180
            for b in range(9):
                middle = 20 * b + 10
                apart = min(abs(angle - middle + turn) for turn in (-180, 0, 180))
                for row in range(cells.shape[1]):
                    for column in range(cells.shape[2]):
                        near = [max(0, 1 - abs(8 * k + 3.5 - at) / 8) for k, at in ((row, y), (column, x))]
                        cells[b, row, column] += math.hypot(*best) * max(0, 1 - apart / 20) * near[0] * near[1]
    features = np.zeros((36, height // 8 - 1, width // 8 - 1))
    for row in range(features.shape[1]):
        for column in range(features.shape[2]):
            block = np.concatenate([cells[:, row + i, column + j] for i in (0, 1) for j in (0, 1)])
            block = np.minimum(block / np.sqrt(sum(block**2) + 0.1**2), 0.2)
            features[:, row, column] = block / np.sqrt(sum(block**2) + 0.1**2)
    return features


@pytest.mark.parametrize("channels", [1, 3])
def test_hog_against_loops(channels):
    image = RANDOM.random((channels, 26, 37))
    found = hog(image)
    assert found.shape == (36, 2, 3) and found.dtype == np.float32
    assert np.allclose(found, naive_hog(image), rtol=0, atol=1e-5)  # float32, sums of 256 votes


def test_hog_of_pixels_and_of_flat_pictures():
    pixels = RANDOM.integers(0, 256, (3, 16, 24)).astype(np.uint8)
    assert np.array_equal(hog(pixels), hog(pixels / 255))
    assert not hog(np.full((1, 16, 16), 0.7)).any()


def test_hog_does_not_see_light():
    """Half of the contrast changes nothing but for the small constant in the norm."""
    image = RANDOM.random((1, 32, 24))
    assert np.allclose(hog(image), hog(0.3 + image / 2), rtol=0, atol=1e-3)


def test_hog_of_what_is_no_picture():
    for image, error in ((np.zeros((3, 15, 40)), ShapeError), (np.zeros(9), ShapeError), (np.zeros((1, 16, 16), int), DtypeError),
                         (np.full((1, 16, 16), np.nan), DataError)):
        with pytest.raises(error):
            hog(image)


def test_scores_are_those_of_each_window():
    level = Level(RANDOM.random((36, 7, 9), np.float32), (2.0, 0.5))
    svms = [LinearSVM(RANDOM.normal(size=36 * 3 * 5).astype(np.float32), 0.5 * k) for k in range(2)]
    scores, windows, boxes = level.scores((2, 4), svms), level.windows((2, 4)), level.boxes((2, 4))
    assert scores.shape == (2, 5, 5) and boxes.shape == (5, 5, 4)
    for k, svm in enumerate(svms):
        assert np.allclose(scores[k].ravel(), svm.scores(windows.reshape(25, -1)), rtol=0, atol=1e-4)  # sums of 540 in float32
    assert boxes[3, 1].tolist() == [8 / 2, 24 / 0.5, 40 / 2, 40 / 0.5]
    assert level.boxes((7, 4)).shape == (0, 0, 4)
    assert level.scores((7, 4), [LinearSVM(np.zeros(36 * 8 * 5, np.float32), 0.0)] * 3).shape == (3, 0, 0)


def test_a_box_lies_where_its_window_looks():
    """A square in black: the window with the strongest features around it is the one of its box."""
    image = np.zeros((1, 80, 96), np.float32)
    image[:, 24:56, 40:72] = 1
    [level, *_] = pyramid(image, 1, 32)
    assert level.scale == (1, 1)
    template = level.windows((4, 4))[3, 5].reshape(-1)
    best = np.unravel_index(level.scores((4, 4), [LinearSVM(template, 0.0)])[0].argmax(), level.windows((4, 4)).shape[:2])
    assert level.boxes((4, 4))[best].tolist() == [40, 24, 72, 56]


def test_sizes_halve_in_four_steps():
    levels = list(pyramid(np.zeros((3, 60, 100), np.uint8), 2, 40))
    assert len(levels) == 7 and levels[0].scale == (2, 2) and levels[4].scale == (1, 1)
    assert [level.features.shape[1:] for level in levels[::4]] == [(16, 26), (9, 14)]  # 120 x 200 and 60 x 100, with room
    assert not list(pyramid(np.zeros((3, 10, 100), np.uint8), 2, 40))


@pytest.fixture(scope="module")
def detector():
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install minidl[svm]")
    return SlidingWindow(shapes=((4, 4), (3, 4)), largest=2).fit(Scenes(length=12, size=64, most=2))


def test_finds_what_it_was_trained_on(detector):
    scenes = Scenes(length=12, size=64, most=2)
    images, targets = zip(*(scenes[k] for k in range(12)), strict=True)
    before = images[0].copy()
    found = detector.predict(images)
    assert np.array_equal(images[0], before)
    assert evaluate_voc(found, targets, scenes.classes).mean_ap > 0.5  # by chance, nearly 0
    for each in found:
        boxes, scores = each.boxes.numpy(), each.scores.numpy()
        assert boxes.dtype == scores.dtype == np.float32 and each.labels.numpy().dtype == np.int64
        assert 0 <= boxes.min() and boxes.max() <= 64 and (np.diff(scores) <= 0).all() and len(boxes) <= 100
    best = detector.predict(images[:1], score_threshold=float(found[0].scores.numpy()[0]) - 1e-3)
    assert len(best[0].boxes) >= 1 and best[0].boxes.numpy()[0].tolist() == found[0].boxes.numpy()[0].tolist()


class Noise(DetectionDataset):
    """Cats, of which one is difficult, and dogs, of the size of windows, in two pictures of noise."""

    classes = ("cat", "dog")
    objects = (([(8, 16, 40, 48), (40, 24, 72, 56), (16, 56, 47, 88)], [0, 0, 1], [False, True, False]),
               ([(24, 8, 57, 40), (32, 48, 64, 80)], [1, 0], [False, False]))

    def __len__(self):
        return 2

    def load(self, index):
        boxes, labels, difficult = self.objects[index]
        return np.random.default_rng(index).random((3, 96, 80), np.float32), target_of(boxes, labels, index, difficult)


def naive_windows(label: int, shape: tuple[int, int]) -> tuple[np.ndarray, list[np.ndarray]]:
    """The positives of a class, and the negatives of each level of each picture."""
    positives, negatives = [], []
    for image, target in (Noise()[index] for index in range(2)):
        of_label = target["labels"] == label
        objects = list(zip(target["boxes"][of_label], target["difficult"][of_label], strict=True))
        for level in pyramid(image, 1, 32):
            windows = list(zip(level.boxes(shape).reshape(-1, 4), level.windows(shape).reshape(-1, 36 * 5 * 5), strict=True))
            positives += [window for box, window in windows
                          if max([iou(box, other) for other, difficult in objects if not difficult], default=0) >= 0.7]
            negatives.append([window for box, window in windows
                              if max([iou(box, other) for other, _ in objects], default=0) < 0.3])
    return np.array(positives), [np.array(each).reshape(-1, 36 * 5 * 5) for each in negatives]


@pytest.mark.parametrize("score", [None, -0.9, -1.1])
def test_what_svms_are_trained_with(monkeypatch, score):
    """Positives and negatives against loops. An SVM that is there already gets those alone that it does not find easy: here it
    scores all windows the same. What mining ends with is what the detector has.
    """
    trained = []

    class Mining:
        def __init__(self, positives):
            self.positives, self.negatives, self.found = positives, [], LinearSVM(np.zeros(900, np.float32), len(trained) + 0.5)
            self.svm = None if score is None else LinearSVM(np.zeros(900, np.float32), score)
            trained.append(self)

        def add(self, features):
            self.negatives.append(features)

        def fit(self):
            return self.found

    monkeypatch.setattr(sliding_window, "HardNegativeMining", Mining)
    detector = SlidingWindow(shapes=[(4, 4)], largest=1).fit(Noise())
    assert list(detector.svms) == [(0, (4, 4)), (1, (4, 4))] and detector.classes == ("cat", "dog")
    for ((label, shape), svm), mining in zip(detector.svms.items(), trained, strict=True):
        positives, negatives = naive_windows(label, shape)
        assert svm is mining.found and len(positives) > 1 and len(negatives) == len(mining.negatives)
        np.testing.assert_array_equal(mining.positives, positives)
        for found, expected in zip(mining.negatives, negatives, strict=True):
            assert len(expected)
            np.testing.assert_array_equal(found, expected[:0] if score == -1.1 else expected)


def test_pictures_too_small_or_blank(detector):
    small, blank = detector.predict([np.zeros((3, 5, 90), np.uint8), np.zeros((3, 64, 64), np.uint8)], score_threshold=0)
    for found in (small, blank):
        assert found.boxes.shape == (0, 4) and found.labels.shape == found.scores.shape == (0,)


def test_usage():
    with pytest.raises(UsageError, match="call fit"):
        SlidingWindow().predict([np.zeros((3, 64, 64), np.uint8)])
    for wrong in ({"shapes": ()}, {"shapes": ((0, 3),)}, {"largest": 0}, {"largest": np.nan}):
        with pytest.raises(UsageError, match="expected shapes"):
            SlidingWindow(**wrong)


def test_nothing_to_train_on():
    class Blank(DetectionDataset):
        classes = ("cat",)

        def __len__(self):
            return 2

        def load(self, index):
            return np.zeros((3, 64, 64), np.uint8), target_of([], [], index)

    with pytest.raises(DataError, match="no object of the 2 pictures"):
        SlidingWindow(largest=1).fit(Blank())
