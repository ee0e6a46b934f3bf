"""R-CNN, stage by stage: windows, fine-tuning, features on disk, SVMs, box regressors, detections."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.data import DataLoader, DetectionDataset, Scenes, Subset, detection_collate
from minidl.data.detection import target_of
from minidl.errors import DataError, UsageError
from minidl.models.detect.parts.svm import fit_svm
from minidl.models.detect.rcnn import RCNN, RCNNTrainer, detector, fit, rcnn_alexnet, rcnn_small, warp
from minidl.models.detect.rcnn.features import RegionFeatures
from minidl.models.detect.rcnn.ridge import ridge
from minidl.models.detect.training import evaluate
from minidl.train import DivergedError, RunFolder
from tests.models.detect.naive import iou

RANDOM = np.random.default_rng(0)


class Boxed(DetectionDataset):
    """Small scenes with proposals: each object, moved a little several times, and a grid. ``names`` are kept, as are others."""

    def __init__(self, length=6, labels=range(6), proposals=True):
        super().__init__()
        self.scenes, self.labels, self.proposals, self.classes = Scenes(length=length, size=64), labels, proposals, Scenes.classes

    def __len__(self):
        return len(self.scenes)

    def load(self, index):
        image, target = self.scenes.load(index)
        kept = np.isin(target["labels"], self.labels)
        boxes, random = target["boxes"][kept], np.random.default_rng(index)
        moved = [(box + np.tile(box[2:] - box[:2], 2) * random.uniform(-k, k, 4)).clip(0, 64)
                 for box in boxes for k in (0.03, 0.06, 0.12, 0.25)]
        grid = [(x, y, x + 20, y + 16) for x in range(0, 45, 14) for y in range(0, 49, 12)]
        target = target_of(boxes, target["labels"][kept], index)
        found = np.array([*moved, *grid] if self.proposals else [], np.float32).reshape(-1, 4)
        return image, target | {"proposals": found}


def small(classes=Scenes.classes, **options) -> RCNN:
    """A network that takes no time: means of colours in windows of 8x8."""
    minidl.manual_seed(1)
    pool5 = nn.Sequential(nn.AvgPool2d(2), nn.Flatten())
    return RCNN(classes, pool5, nn.Sequential(nn.Linear(48, 20), nn.ReLU()), (48, 20), size=8, padding=1, **options)


def samples(count=3, **options):
    images, targets = zip(*(Boxed(count, **options)[index] for index in range(count)), strict=True)
    return list(images), [{name: minidl.tensor(value) for name, value in target.items()} for target in targets]


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install minidl[svm]")
    model, folder = small(), tmp_path_factory.mktemp("features")
    fit(model, Boxed(), folder)
    return model, folder


# Windows

def pixel(image, y: float, x: float):
    """Between four pixels, whose centres are at halves; the mean colour, 0, outside of the image."""
    (_, height, width), y, x = image.shape, y - 0.5, x - 0.5
    if not (-1 <= y <= height and -1 <= x <= width):
        return np.zeros(len(image))
    y, x = np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)
    top, left = int(y), int(x)
    total = 0
    for row, down in ((top, 1 - (y - top)), (min(top + 1, height - 1), y - top)):
        for column, right in ((left, 1 - (x - left)), (min(left + 1, width - 1), x - left)):
            total = total + down * right * image[:, row, column]
    return total


@pytest.mark.parametrize("padding", [0, 2])
def test_windows_against_a_loop(padding):
    images = RANDOM.standard_normal((2, 3, 11, 14)).astype(np.float32)
    rois = minidl.tensor([[1, 2.0, 3.0, 9.5, 8.0], [0, 0, 0, 14, 11], [1, 5, 4, 6, 10], [0, -6, 2, 3, 4], [0, 20, 20, 30, 30]])
    found = warp(minidl.tensor(images), rois, 7, padding)
    assert found.shape == (5, 3, 7, 7) and found.dtype == np.float32
    for (number, x1, y1, x2, y2), window in zip(rois.tolist(), found.numpy(), strict=True):
        for i in range(7):
            for j in range(7):  # padding pixels of 7 lie outside of the box, whose own are 7 - 2 padding
                y, x = (a + (b - a) * (k - padding + 0.5) / (7 - 2 * padding) for k, a, b in ((i, y1, y2), (j, x1, x2)))
                np.testing.assert_allclose(window[:, i, j], pixel(images[int(number)], y, x), atol=1e-5)


def test_padding_leaves_something_of_the_region():
    with pytest.raises(UsageError, match="from 0 to 3, got 4"):
        warp(minidl.zeros(1, 3, 9, 9), minidl.zeros(1, 5), 8, 4)


# Fine-tuning

def test_a_quarter_of_the_windows_overlaps_an_object(monkeypatch):
    """32 and 96 of all pictures together, objects among them, each labelled by the object that it overlaps most."""
    seen = {}
    model = small(samples=24)
    monkeypatch.setattr(model, "features", lambda _, rois: seen.update(rois=rois.numpy()) or [None, minidl.zeros(len(rois), 20)])
    monkeypatch.setattr(detector, "cross_entropy", lambda logits, labels: seen.update(labels=labels.numpy()) or logits.sum())
    images, targets = samples(3)
    model(images, targets)
    labels = []
    for number, *box in seen["rois"].tolist():
        target = targets[int(number)]
        overlaps = [iou(box, other) for other in target["boxes"].tolist()]
        best = int(np.argmax(overlaps))
        labels.append(target["labels"][best].item() + 1 if overlaps[best] >= 0.5 else 0)
    assert seen["labels"].tolist() == labels and sum(label > 0 for label in labels) == 6 and len(labels) == 24
    assert len(set(seen["rois"][:, 0])) == 3 and len(np.unique(seen["rois"], axis=0)) == 24


def test_where_there_are_no_regions_at_all():
    with pytest.raises(DataError, match="neither objects nor proposals"):
        small()(*samples(2, labels=[], proposals=False))
    assert math.isfinite(small()(*samples(2, labels=[]))["loss_classifier"].item())


def test_targets_without_proposals():
    images, targets = samples(1)
    del targets[0]["proposals"]
    with pytest.raises(DataError, match="each target needs its `proposals`"):
        small()(images, targets)


# Features

def test_features_are_computed_once_for_each_network_and_picture(tmp_path, monkeypatch, capsys):
    model, data = small(), Boxed(3)
    first = list(RegionFeatures(model, data, tmp_path))
    assert len(list(tmp_path.iterdir())) == 3
    with monkeypatch.context() as broken:
        broken.setattr(model, "in_chunks", lambda *_: pytest.fail("a second time"))
        again = list(RegionFeatures(model, data, tmp_path))
    file = sorted(tmp_path.iterdir())[1]
    file.write_bytes(file.read_bytes()[:-9])
    mended = list(RegionFeatures(model, data, tmp_path))
    assert str(file) in capsys.readouterr().err
    for a, b, c in zip(first, again, mended, strict=True):
        assert all(np.array_equal(x, y) and np.array_equal(x, z) for x, y, z in zip(a, b, c, strict=True))
    with minidl.no_grad():
        model.fc7[0].weight[0, 0] += 1
    RegionFeatures(model, data, tmp_path)[0]
    assert len(list(tmp_path.iterdir())) == 4


def test_what_is_known_of_regions(tmp_path):
    model, data = small(), Boxed(2)
    for index, regions in enumerate(RegionFeatures(model, data, tmp_path)):
        image, target = data[index]
        boxes, objects = np.concatenate([target["boxes"], target["proposals"]]), target["boxes"]
        batch = model.inputs([image], "cpu")
        pool5, fc7 = model.eval().features(batch.images, minidl.tensor([[0, *box] for box in boxes.tolist()]))
        np.testing.assert_allclose(regions.fc7, fc7.detach().numpy(), atol=1e-5)
        pair = 0
        for row, box in enumerate(boxes):
            overlaps = [iou(box, other) for other in objects]
            np.testing.assert_allclose(regions.overlaps[:, row], overlaps, atol=1e-5)
            if max(overlaps) > 0.6:
                assert regions.objects[pair] == np.argmax(overlaps)
                np.testing.assert_allclose(regions.pool5[pair], pool5.numpy()[row], atol=1e-5)
                found = model.coder.decode(regions.offsets[pair : pair + 1], box[None])
                np.testing.assert_allclose(found.numpy()[0], objects[regions.objects[pair]], atol=1e-3)
                pair += 1
        assert pair == len(regions.pool5) > len(objects)
        for label in range(6):
            of_label = [overlap for overlap, found in zip(regions.overlaps, regions.labels, strict=True) if found == label]
            np.testing.assert_array_equal(regions.overlap_with(label), np.max([np.zeros(len(boxes)), *of_label], 0))


def test_the_stages_are_told(tmp_path, capsys):
    pytest.importorskip("sklearn")
    seconds = fit(small(), Boxed(2), tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert list(seconds) == ["features", "SVMs", "box regressors"] and len(lines) == 4
    regions = sum(len(each.fc7) for each in RegionFeatures(small(), Boxed(2), tmp_path))
    assert f"of {regions} regions in 2 pictures: 0 MB in {tmp_path}" in lines[1] and len(list(tmp_path.iterdir())) == 2


# SVMs

def test_svms_are_those_of_all_regions(fitted):
    """Scores of the detector are those of SVMs on scaled features, objects against all that is far from them."""
    model, folder = fitted
    pictures = list(RegionFeatures(model, Boxed(), folder))
    every = np.concatenate([regions.fc7 for regions in pictures])
    scale = 20 / np.mean([np.sqrt((row**2).sum()) for row in every])
    for label in (0, 4):
        positives = [regions.fc7[row] for regions in pictures for row, found in enumerate(regions.labels) if found == label]
        negatives = [[row * scale for row, near in zip(regions.fc7, regions.overlaps.T, strict=True)
                      if not (near[regions.labels == label] >= 0.3).any()] for regions in pictures]
        expected = fit_svm(np.array(positives) * scale, map(np.array, negatives))
        found = model.svms(minidl.tensor(every)).numpy()[:, label]
        np.testing.assert_allclose(found, expected.scores(every * scale), atol=1e-5)  # sums in float32


def test_a_class_without_objects_is_never_found(tmp_path, capsys):
    pytest.importorskip("sklearn")
    model = small()
    fit(model, Boxed(labels=[0, 1, 2, 4, 5]), tmp_path)
    assert "no picture has a diamond" in capsys.readouterr().err
    found = [label for detections in predicted(model) for label in detections.labels.tolist()]
    assert set(found) == {0, 1, 2, 4, 5}


def test_a_data_set_without_objects_has_nothing_to_fit(tmp_path):
    with pytest.raises(DataError, match="no picture of the data set has an object"):
        fit(small(), Boxed(labels=[]), tmp_path)


def test_pictures_without_proposals_or_objects(tmp_path):
    pytest.importorskip("sklearn")
    whole, bare = Boxed(5), Boxed(5, labels=[], proposals=False)

    class Some(Boxed):
        def load(self, index):
            return (bare if index == 1 else whole).load(index)

    model = small()
    fit(model, Some(5), tmp_path)
    (found,) = model.eval().detect_in([whole[0][0]], [np.zeros((0, 4), np.float32)])
    assert found.boxes.shape == (0, 4) and found.labels.shape == found.scores.shape == (0,)


def test_features_that_are_not_finite(tmp_path):
    pytest.importorskip("sklearn")
    model = small()
    with minidl.no_grad():
        model.fc7[0].bias[3] = math.nan
    with pytest.raises(DataError, match="finite"):
        fit(model, Boxed(), tmp_path)


# Box regressors

@pytest.mark.parametrize(("count", "width"), [(40, 7), (7, 40)])
def test_ridge_regression_is_a_minimum(count, width):
    """No small step makes the sum of squares less, in coordinates in which targets have no correlation."""
    features, targets = RANDOM.standard_normal((count, width)), RANDOM.standard_normal((count, 4))
    targets[:, 0] += 3 * targets[:, 1] + 2
    weight, bias = ridge(features.astype(np.float32), targets.astype(np.float32), 3.0)
    centred = targets - targets.mean(0)
    values, vectors = np.linalg.eig(centred.T @ centred / count)
    whiten = vectors @ np.diag(1 / np.sqrt(values + 0.001)) @ vectors.T
    solution = np.concatenate([weight.T, [bias - targets.mean(0)]]) @ whiten

    def objective(b):
        errors = np.concatenate([features, np.ones((count, 1))], 1) @ b - centred @ whiten
        return (errors**2).sum() + 3.0 * (b**2).sum()

    least = objective(solution)
    for _ in range(20):
        step = RANDOM.standard_normal(solution.shape) * 0.01
        assert objective(solution + step) > least and objective(solution - step) > least


def test_regressors_are_those_of_all_pairs(fitted):
    """Of each class, ridge regression on features whose mean norm is 20."""
    model, folder = fitted
    pictures = list(RegionFeatures(model, Boxed(), folder))
    every = np.concatenate([regions.pool5 for regions in pictures])
    scale = 20 / np.mean([np.sqrt((row**2).sum()) for row in every])
    found = model.regressors(minidl.tensor(every)).numpy().reshape(-1, 6, 4)
    for label in range(6):
        pairs = [(pool5 * scale, offsets) for regions in pictures
                 for pool5, offsets, of in zip(regions.pool5, regions.offsets, regions.objects, strict=True)
                 if regions.labels[of] == label]
        weight, bias = ridge(*map(np.array, zip(*pairs, strict=True)))
        np.testing.assert_allclose(found[:, label], every * scale @ weight.T + bias, atol=1e-6)  # sums in float32


def test_ridge_regression_of_few_and_equal_pairs():
    weight, bias = ridge(np.ones((1, 5), np.float32), np.array([[1.0, 2, 3, 4]]))
    assert not weight.any() and bias.tolist() == [1, 2, 3, 4]


def test_regressors_move_boxes_to_the_objects(fitted):
    """Of the class, on the pictures they have seen; and not at all without ``use_regressors``."""
    model, folder = fitted
    boxes, better = [], []
    for index, regions in enumerate(RegionFeatures(model, Boxed(), folder)):
        image, target = Boxed()[index]
        near = [box for box in target["proposals"] if max(iou(box, other) for other in target["boxes"]) > 0.6]
        batch = model.inputs([image], "cpu")
        pool5, _ = model.in_chunks(batch.images, minidl.tensor([[0, *box] for box in near]))
        offsets = model.regressors(pool5).reshape(-1, 6, 4)
        for row, box in enumerate(near):
            of = int(np.argmax([iou(box, other) for other in target["boxes"]]))
            moved = model.coder.decode(offsets[row, regions.labels[of]], box).tolist()
            boxes.append(iou(box, target["boxes"][of]))
            better.append(iou(moved, target["boxes"][of]))
    assert np.mean(better) > np.mean(boxes)


# Detections

def predicted(model, count=3):
    items = [Boxed()[index] for index in range(count)]
    return model.eval().detect_in([image for image, _ in items], [target["proposals"] for _, target in items])


def test_detections_are_those_of_a_loop(fitted, monkeypatch):
    """Score each class of each proposal, 0.5 where the SVM decides, move its box, and keep what no better one of its class
    overlaps by more than 0.3.
    """
    model, _ = fitted
    monkeypatch.setattr(model, "most", 1000)
    for index, found in enumerate(predicted(model)):
        image, target = Boxed()[index]
        rois = minidl.tensor([[0, *box] for box in target["proposals"].tolist()])
        pool5, fc7 = model.in_chunks(model.inputs([image], "cpu").images, rois)
        scores, offsets = 1 / (1 + np.exp(-model.svms(fc7).detach().numpy())), model.regressors(pool5).reshape(-1, 6, 4)
        boxes = model.coder.decode(offsets, rois[:, None, 1:]).numpy().clip(0, 64)
        assert (np.diff(found.scores.numpy()) <= 0).all()
        for label in range(6):
            kept = []
            for row in np.argsort(-scores[:, label], kind="stable"):
                if all(iou(boxes[row, label], boxes[other, label]) <= 0.3 for other in kept):
                    kept.append(row)
            of_label = found.labels.numpy() == label
            np.testing.assert_allclose(found.scores.numpy()[of_label], scores[kept, label], atol=1e-5)
            np.testing.assert_allclose(found.boxes.numpy()[of_label], boxes[kept, label], atol=1e-4)


def test_ablations(fitted, monkeypatch):
    model, _ = fitted
    monkeypatch.setattr(model, "use_regressors", False)
    for index, found in enumerate(predicted(model)):
        proposals = Boxed()[index][1]["proposals"]
        assert len(found.boxes) and all((proposals == box).all(1).any() for box in found.boxes.numpy())
        assert 0 < found.scores.numpy().min() < 0.5
    monkeypatch.setattr(model, "use_svms", False)
    for found in predicted(model):
        assert 0.05 < found.scores.numpy().min() and found.scores.numpy().max() < 1


def test_chunks_change_nothing(fitted, monkeypatch):
    model, _ = fitted
    whole = predicted(model)
    monkeypatch.setattr(detector, "CHUNK", 7)
    for a, b in zip(whole, predicted(model), strict=True):
        np.testing.assert_allclose(a.scores.numpy(), b.scores.numpy(), atol=1e-5)


def test_a_fitted_detector_is_saved_whole(fitted, tmp_path):
    model, _ = fitted
    minidl.save(model.state_dict(), tmp_path / "x.safetensors")
    again = small()
    again.load_state_dict(minidl.load(tmp_path / "x.safetensors"))
    for a, b in zip(predicted(model), predicted(again), strict=True):
        assert all(np.array_equal(x.numpy(), y.numpy()) for x, y in zip(a[:3], b[:3], strict=True))


def test_selective_search_is_asked_by_default():
    model = rcnn_small(("a", "b"), proposer=lambda image: np.array([[1, 2, 30, 40], [40, 5, 60, 50]], np.float32))
    (found,) = model.predict([Scenes(size=64)[0][0]])
    assert len(found.boxes) == 4 and (0 < found.scores.numpy()).all()
    assert rcnn_small(("a",)).proposer is detector.selective_search


def test_alexnet_without_its_last_layer():
    model = rcnn_alexnet(("a", "b", "c"))
    assert model.svms.weight.shape == (3, 4096) and model.regressors.weight.shape == (12, 9216)
    assert not {"svms.weight", "regressors.weight"} & {name for name, p in model.named_parameters() if p.requires_grad}
    with minidl.no_grad():
        pool5, fc7 = model.eval().features(minidl.zeros(1, 3, 90, 80), minidl.tensor([[0, 1.0, 2.0, 30.0, 40.0]]))
    assert pool5.shape == (1, 9216) and fc7.shape == (1, 4096)


# All stages in one run

def trainer(folder, model, data=None, **options):
    loader = DataLoader(data or Boxed(), 3, shuffle=True, seed=0, collate_fn=detection_collate, **options)
    test = DataLoader(Boxed(2), collate_fn=detection_collate)
    return RCNNTrainer(model, optim.SGD(model.parameters(), 0.05), loader, test, RunFolder(folder).create({}))


def test_a_run_ends_with_svms(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)
    model = small(proposer=lambda image: Boxed(1)[0][1]["proposals"])
    run = trainer(tmp_path, model)
    last = run.fit(2)
    assert model.svms.weight.any() and list(run.seconds) == ["features", "SVMs", "box regressors"]
    assert last["test_map"] == evaluate(model, run.test).mean_ap
    assert run.history[0]["test_map"] != last["test_map"]
    again = small()
    again.load_state_dict(run.run.load_checkpoint()["model"])
    assert np.array_equal(again.svms.weight.numpy(), model.svms.weight.numpy())


def test_a_run_that_goes_on_has_no_svms_of_an_older_network(tmp_path, monkeypatch):
    """Stopped after another epoch, which is not the last: the checkpoint is that of the network and its softmax."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)
    model = small(proposer=lambda image: Boxed(1)[0][1]["proposals"])
    run = trainer(tmp_path, model)
    run.fit(1)
    assert model.svms.weight.any() and model.regressors.weight.any()

    def stop(history):
        raise KeyboardInterrupt

    with monkeypatch.context() as interrupted:
        interrupted.setattr(run.run, "write_metrics", stop)
        with pytest.raises(KeyboardInterrupt):
            run.fit(3)
    kept = run.run.load_checkpoint()
    assert kept["epoch"] == 2
    assert not any(kept["model"][f"{layer}.{part}"].any() for layer in ("svms", "regressors") for part in ("weight", "bias"))
    run.fit(3)
    assert model.svms.weight.any() and model.regressors.weight.any()
    assert len(list((tmp_path / "features").rglob("*.safetensors"))) == 6  # not those of the first network, too


def test_features_of_a_killed_run_are_not_computed_again(tmp_path, monkeypatch):
    """The last epoch is run again, to the same bits, and so the network is the one that they are of."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)
    run = trainer(tmp_path, small(proposer=lambda image: Boxed(1)[0][1]["proposals"]))
    run.fit(1)
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").rglob("*.safetensors")}
    run.epoch = 0
    run.tested()
    assert len(files) == 6 and files == {path: path.stat().st_mtime_ns for path in files}


def test_pictures_that_training_skipped_have_no_features(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)

    class Damaged(Boxed):
        def load(self, index):
            if index == 4:
                raise DataError("4.jpg: truncated")
            return super().load(index)

    run = trainer(tmp_path, small(proposer=lambda image: Boxed(1)[0][1]["proposals"]), Damaged(), on_error="skip")
    run.fit(1)
    assert list(run.train.skipped) == [4] and len(list((tmp_path / "features").rglob("*.safetensors"))) == 5


def test_a_picture_that_training_repeats_is_fitted_once(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)
    trainer(tmp_path, small(proposer=lambda image: Boxed(1)[0][1]["proposals"]), Subset(Boxed(), [4, 2, 4, 2, 2])).fit(1)
    regions = sum(len(Boxed()[index][1][name]) for index in (2, 4) for name in ("boxes", "proposals"))
    assert f"of {regions} regions in 2 pictures" in capsys.readouterr().out


def test_a_loss_that_is_no_number_names_the_pictures(tmp_path, monkeypatch):
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)
    model = small(proposer=lambda image: Boxed(1)[0][1]["proposals"])
    run = trainer(tmp_path, model)
    monkeypatch.setattr(model, "losses", lambda images, targets: {"loss_classifier": model.fc8.weight.sum() * math.nan})
    with pytest.raises(DivergedError, match="in the batch of image [0-5], image [0-5], image [0-5]"):
        run.fit(1)
