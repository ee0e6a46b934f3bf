"""What every detector must do, whatever is inside."""

import numpy as np
import pytest

import minidl
from minidl.data import Scenes
from minidl.errors import DataError, ShapeError
from minidl.models.detect.fast_rcnn import fast_rcnn_small
from minidl.models.detect.faster_rcnn import faster_rcnn_small
from minidl.models.detect.rcnn import rcnn_small

CLASSES = Scenes.classes


def quarters(image):
    """Proposals that cost nothing: overlapping parts of the picture."""
    height, width = image.shape[-2:]
    y, x = (a.ravel() for a in np.meshgrid(np.arange(4) * height / 8, np.arange(4) * width / 8, indexing="ij"))
    return np.stack([x, y, x + width / 2, y + height / 2], 1).astype(np.float32)


def fast_rcnn(classes):
    return fast_rcnn_small(classes, proposer=quarters)


def rcnn(classes):
    return rcnn_small(classes, proposer=quarters)


DETECTORS = [faster_rcnn_small, fast_rcnn, rcnn]


@pytest.fixture(params=DETECTORS, ids=lambda make: make.__name__)
def detector(request):
    minidl.manual_seed(0)
    return request.param(CLASSES)


def samples(count, size=(96, 128)):
    scenes = [Scenes(size=size)[k] for k in range(count)]
    return [image for image, _ in scenes], [as_tensors(target, quarters(image)) for image, target in scenes]


def as_tensors(target, proposals):
    return {name: minidl.tensor(value) for name, value in target.items()} | {"proposals": minidl.tensor(proposals)}


def empty(target):
    return target | {name: target[name][:0] for name in ("boxes", "labels", "difficult")}


def lenient(detector):
    """Nothing is left out for its score."""
    getattr(detector, "roi_heads", detector).score_threshold = 0.0


def total(losses):
    return minidl.stack(list(losses.values())).sum()


def test_predictions(detector):
    """Boxes inside of each picture, labels of classes, scores from 0 to 1 that fall; the detector is as it was."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (3, 90, 70), np.uint8), rng.random((3, 60, 150), np.float32)]
    lenient(detector)
    detector.train()
    before = {name: value.numpy().copy() for name, value in detector.state_dict().items()}
    found = detector.predict(pictures)
    assert detector.training and len(found) == 2
    for detections, picture in zip(found, pictures, strict=True):
        boxes, labels, scores = (part.numpy() for part in detections[:3])
        assert 0 < len(boxes) <= 100 and boxes.shape == (len(labels), 4) and scores.shape == labels.shape
        assert (boxes.dtype, labels.dtype, scores.dtype) == (np.float32, np.int64, np.float32)
        assert not detections.boxes.requires_grad and not detections.scores.requires_grad
        height, width = picture.shape[1:]
        assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width + 1e-3).all() and (boxes[:, 3] <= height + 1e-3).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert labels.min() >= 0 and labels.max() < len(CLASSES) and (np.diff(scores) <= 0).all() and 0 <= scores.min() <= 1
    for name, value in detector.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), before[name])


def test_one_picture_is_judged_as_among_others(detector):
    pictures, _ = samples(2)
    lenient(detector)
    alone, among = detector.predict(pictures[:1])[0], detector.predict(pictures)[0]
    np.testing.assert_allclose(alone.scores.numpy(), among.scores.numpy(), atol=1e-4)  # other blocks of sums


def test_no_pictures_and_none_that_is_one(detector):
    assert detector.predict([]) == []
    with pytest.raises(ShapeError, match="pictures"):
        detector.predict([np.zeros((8, 8), np.uint8)])


def test_losses_teach(detector):
    """Every parameter that learns gets a gradient, and a few steps along it make the losses smaller."""
    images, targets = samples(2)
    optimizer = minidl.optim.SGD(detector.parameters(), 0.01, momentum=0.9)
    history = []
    for _ in range(8):
        optimizer.zero_grad()
        losses = detector(images, targets)
        assert all(loss.shape == () and np.isfinite(loss.item()) for loss in losses.values())
        total(losses).backward()
        history.append(total(losses).item())
        optimizer.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in detector.parameters() if p.requires_grad)
    assert min(history[-3:]) < 0.9 * history[0]


def test_pictures_without_objects(detector):
    images, targets = samples(2)
    losses = detector(images, [targets[0], empty(targets[1])])
    assert np.isfinite(total(losses).item())
    losses = detector(images, [empty(target) for target in targets])
    assert np.isfinite(total(losses).item()) and losses.get("loss_box_reg", minidl.zeros()).item() == 0
    total(losses).backward()


def test_wrong_boxes_name_their_picture(detector):
    images, targets = samples(2)
    targets[1]["boxes"] = targets[1]["boxes"][:, minidl.tensor([2, 1, 0, 3])]
    with pytest.raises(DataError, match="picture 1: the box .* inverted"):
        detector(images, targets)


def test_targets_stay_as_they_are(detector):
    images, targets = samples(1)
    before = {name: value.numpy().copy() for name, value in targets[0].items()}
    detector(images, targets)
    for name, value in targets[0].items():
        np.testing.assert_array_equal(value.numpy(), before[name])
