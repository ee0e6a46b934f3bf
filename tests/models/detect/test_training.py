"""The trainer of detectors: what it measures and leaves, that a run continues to the same bits, and whose losses are NaN."""

import itertools
import json
import math

import numpy as np
import pytest

import minidl
from minidl import optim
from minidl.cli import detectors
from minidl.data import DataLoader, Scenes, Subset, VOCDetection, detection_collate
from minidl.data.box_transforms import RandomHorizontalFlip
from minidl.errors import DataError
from minidl.models.classify.recipe import SCHEDULES
from minidl.models.detect import recipe, training
from minidl.models.detect.pictures import beside
from minidl.models.detect.training import DetectionTrainer, detections, evaluate, name_of
from minidl.models.evaluate.voc import evaluate_voc
from minidl.optim.lr_scheduler import ReduceLROnPlateau
from minidl.train import DivergedError, RunFolder
from minidl.train.loop import BaseTrainer
from tests.data.voc_files import annotation_xml, object_xml, write_voc
from tests.models.detect.tiny import Tiny
from tests.train.test_trainer import bits, metrics


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """They take longer than the training; one test undoes this."""
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)


def scenes(train, length, transform=None):
    return Scenes(train, length, size=(32, 40), most=1, transform=transform)


def make(folder, seed=3, lr=0.05, run=None, every=1, train=None, clip_norm=0.0):
    minidl.manual_seed(seed)
    train = scenes(True, 13, RandomHorizontalFlip(pairs=Scenes.keypoint_pairs)) if train is None else train
    loader = DataLoader(train, 4, shuffle=True, seed=seed, collate_fn=detection_collate)
    test = DataLoader(scenes(False, 5), 3, collate_fn=detection_collate)
    model = Tiny(Scenes.classes)
    config = {"lr": lr, "momentum": 0.9, "weight_decay": 0.0, "epochs": 4, "schedule": "cosine", "warmup": 3,
              "clip_norm": clip_norm, "every": every}
    return DetectionTrainer(model, train=loader, test=test, run=run or RunFolder(folder).create({}),
                            **recipe.training(model, config, train, len(loader)))


def test_a_run_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.undo()
    run = make(tmp_path)
    last = run.fit(2)
    left = sorted(path.name for path in tmp_path.iterdir() if not path.name.startswith("events."))
    assert left == ["checkpoint.safetensors", "config.json", "curves.png", "detections.png", "filters.png", "metrics.jsonl",
                    "model.safetensors", "precision-recall.png", "versions.json"]
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["epoch", "train", "loss", "box", "class", "test", "mAP", "images/s"] and len(rows) == 2
    assert rows[1].split()[:4] == ["2/2", *(f"{last[name]:.4f}" for name in ("train_loss", "train_loss_box", "train_loss_class"))]
    assert last["train_loss"] == pytest.approx(last["train_loss_box"] + last["train_loss_class"], rel=1e-6)
    assert last["test_map"] == evaluate(run.model, run.test).mean_ap
    assert [json.loads(row) for row in (tmp_path / "metrics.jsonl").read_text().splitlines()][1] == last


def test_a_plateau_is_looked_for_where_test_images_are(tmp_path):
    """After every second epoch."""
    run = make(tmp_path, every=2)
    run.schedule = ReduceLROnPlateau(run.optimizer, patience=0)
    run.fit(3)
    assert run.schedule.last_epoch == 2


def test_losses_are_means_over_images(tmp_path, monkeypatch):
    """Of batches of 4 and a last one of 1, by a rate of 0."""
    run, seen = make(tmp_path, lr=0.0), []
    forward = run.forward

    def watched(images, targets):
        losses, loss = forward(images, targets)
        seen.append([len(targets), *(value.item() for value in losses.values()), loss.item()])
        return losses, loss

    monkeypatch.setattr(run, "forward", watched)
    monkeypatch.setattr(BaseTrainer, "try_out", lambda self: None)
    row = run.fit(1)
    counts, box, label, both = np.array(seen).T
    assert counts.tolist() == [4, 4, 4, 1]
    for name, values in (("loss_box", box), ("loss_class", label), ("loss", both)):
        assert row[f"train_{name}"] == pytest.approx((counts * values).sum() / 13, rel=1e-12)


def test_resumed_runs_end_with_the_same_bits(tmp_path):
    straight = make(tmp_path / "straight")
    straight.fit(4)
    make(tmp_path / "parts").fit(2)
    resumed = make(None, seed=99, run=RunFolder(tmp_path / "parts").open())
    resumed.resume()
    resumed.fit(4)
    assert metrics(tmp_path / "parts") == metrics(tmp_path / "straight")
    one, other = (bits(RunFolder(tmp_path / name).load_checkpoint()) for name in ("straight", "parts"))
    assert one == other


def test_tested_from_time_to_time(tmp_path, monkeypatch):
    run, tested = make(tmp_path, every=3), itertools.count()
    monkeypatch.setattr(training, "evaluate", lambda *a, found=evaluate: next(tested) and None or found(*a))
    run.fit(5)
    assert [row["test_map"] is None for row in run.history] == [True, True, False, True, False]
    assert next(tested) == 1 + 2  # tried, and then epochs 3 and 5, whose last is that of the pictures
    assert len(RunFolder(tmp_path).metrics()) == 5
    again = make(None, run=RunFolder(tmp_path).open())
    again.resume()
    again.fit(5)  # nothing to train, and pictures all the same
    assert again.result is None


def test_no_object_in_the_test_images_is_no_score(tmp_path):
    run = make(tmp_path)
    image, target = scenes(False, 2).load(0)
    nothing = {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, np.int64), "difficult": np.zeros(0, bool)}
    run.test = DataLoader([(image, target | nothing)], collate_fn=detection_collate)
    assert run.fit(1)["test_map"] is None
    assert RunFolder(tmp_path).metrics()[0]["test_map"] is None


@pytest.mark.parametrize("kind", ["scenes", "voc"])
def test_a_loss_that_is_nan_names_its_images(tmp_path, kind):
    """Those of the second batch, by the names of the data set, or by number."""
    data = scenes(True, 13)
    if kind == "voc":
        names = [f"cell{k}" for k in range(13)]
        voc = write_voc(tmp_path / "voc", {name: annotation_xml(object_xml("disc")) for name in names})
        data = Subset(VOCDetection(voc, "train", classes=Scenes.classes), range(13))
    run, seen = make(tmp_path / "run", train=data), []
    forward, calls = run.forward, itertools.count()
    if kind == "voc":
        run.model.features[0] = minidl.nn.Upsample((8, 10))
        run.test = DataLoader(data, 3, collate_fn=detection_collate)

    def poisoned(images, targets):
        losses, loss = forward(images, targets)
        if not run.model.training or next(calls) != training_calls + 1:
            return losses, loss
        seen.extend(target["image_id"].item() for target in targets)
        return losses | {"loss_box": loss * math.nan}, loss * math.nan

    training_calls = 2  # are tried before
    run.forward = poisoned
    with pytest.raises(DivergedError, match="became nan in epoch 1, after 4 images, in the batch of ") as caught:
        run.fit(1)
    names = [f"cell{k}" if kind == "voc" else f"image {k}" for k in seen]
    assert f"in the batch of {', '.join(names)}: lower" in str(caught.value) and len(names) == 4


def test_many_images_are_not_all_named(tmp_path):
    run = make(tmp_path)
    text = run.whose([{"image_id": minidl.tensor(k)} for k in range(13)])
    assert text.startswith(", in the batch of image 0, image 1") and text.endswith("image 9 and 3 more")


def test_gradients_are_clipped(tmp_path):
    """By the norm of all of them together, before the step."""
    run, norms = make(tmp_path, clip_norm=0.01), []
    step = run.optimizer.step

    def watched():
        norms.append(math.sqrt(sum((p.grad.numpy().astype(float) ** 2).sum() for p in run.model.parameters())))
        step()

    run.optimizer.step = watched
    run.fit(1)
    assert len(norms) == 4 and max(norms) == pytest.approx(0.01, rel=1e-3)


def test_the_rate_rises_and_falls():
    optimizer = optim.SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
    schedule, found = SCHEDULES["steps"](optimizer, {"epochs": 2, "warmup": 3}, 5), []
    for _ in range(10):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])
    assert set(detectors.SCHEDULES) < set(SCHEDULES)


def test_detections_of_a_loader():
    """As predict gives them, image by image, and as its evaluation wants them; the detector stays in its mode."""
    model, data = Tiny(Scenes.classes), scenes(False, 5)
    found = list(detections(model, DataLoader(data, 2, collate_fn=detection_collate)))
    assert len(found) == 5 and model.training and all(isinstance(part, np.ndarray) for part in found[0][0][:3])
    expected = model.predict([image for image, _ in data])
    for (one, target), other, (_, there) in zip(found, expected, data, strict=True):
        np.testing.assert_allclose(one.boxes, other.boxes.numpy(), rtol=1e-5)
        assert (target["boxes"] == there["boxes"]).all() and "masks" not in target
    result = evaluate(model, DataLoader(data, 2, collate_fn=detection_collate))
    by_hand = evaluate_voc([each for each, _ in found], [target for _, target in found], Scenes.classes)
    assert result.mean_ap == by_hand.mean_ap
    with pytest.raises(DataError, match="nothing to evaluate"):
        evaluate(model, [])


def test_names_of_pictures(tmp_path):
    data = VOCDetection(write_voc(tmp_path, {"a": annotation_xml(object_xml("dog")), "b": annotation_xml()}), "train")
    assert [name_of(Subset(data, [1, 0]), target) for _, target in data] == ["a", "b"]
    assert name_of([], {"image_id": np.array(7)}) == "image 7"


def test_pictures_beside_the_truth():
    """Two panels a picture; a small one is enlarged, and so are its boxes; detections below the threshold are left out."""
    image, target = scenes(False, 1)[0]
    model = Tiny(Scenes.classes).eval()
    found = model.predict([image])
    figure = beside([(image, target)], found, Scenes.classes, threshold=0.0)
    there, seen = (axes.images[0].get_array() for axes in figure.axes)
    assert there.shape == (320, 400, 3) and (there != seen).any()
    none = beside([(image / np.float32(255), target)], found, Scenes.classes, threshold=1.01)
    assert (none.axes[1].images[0].get_array() == image.repeat(10, 1).repeat(10, 2).transpose(1, 2, 0)).all()
