"""train, eval and detect for detectors, as a user types them, with a detector that learns in no time."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import nn
from minidl.cli import detect, detection_scores, detectors, main
from minidl.cli.train import new_config
from minidl.data import Scenes
from minidl.data.box_transforms import RandomHorizontalFlip
from minidl.errors import DataError, UsageError
from minidl.kernels.cpu.compile import cache_folder
from minidl.models.detect import faster_rcnn
from minidl.models.detect.parts.detections import Detections
from minidl.train import RunFolder
from tests.data.voc_files import annotation_xml, object_xml, write_voc
from tests.models.detect.tiny import Tiny

TINY = ("train", "faster-rcnn", "--epochs", "1", "--batch-size", "4")


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Every test in a folder of its own, with no data but the scenes, and these few and small."""
    cache_folder()  # compiled kernels stay where they are, whichever test of this process needs them first
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "no-data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-cache"))
    monkeypatch.setattr("minidl.data.Scenes", lambda train: Scenes(train, 13 if train else 5, size=(32, 40), most=1))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A finished run of a detector, and one of a classifier."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("minidl.data.Scenes", lambda train: Scenes(train, 13 if train else 5, size=(32, 40), most=1))
        patched.setattr(faster_rcnn, "faster_rcnn_small", Tiny)
        assert main([*TINY, "--out", str(folder / "detector")]) == 0
    assert main(["train", "lenet", "--epochs", "1", "--batch-size", "500", "--out", str(folder / "classifier")]) == 0
    return folder


@pytest.fixture
def tiny(monkeypatch):
    monkeypatch.setattr(faster_rcnn, "faster_rcnn_small", Tiny)


@pytest.fixture
def picture(tmp_path):
    Image.fromarray(Scenes(False, 1, size=(32, 40))[0][0].transpose(1, 2, 0)).save(tmp_path / "scene.png")
    return tmp_path / "scene.png"


def run(capsys, *arguments):
    capsys.readouterr()
    code = main(list(map(str, arguments)))
    return code, *capsys.readouterr()


def fails(capsys, *arguments, words):
    code, out, err = run(capsys, *arguments)
    assert code == 2 and words in err and len(err.splitlines()) == 1 and not out, err


def test_train_resume_eval_and_runs(tiny, tmp_path, capsys):
    code, out, _ = run(capsys, *TINY, "--out", "x", "--seed", "3")
    *_, folder, result = out.splitlines()
    assert code == 0 and result.startswith("test mAP@0.5 ") and folder == "pictures, metrics and checkpoint are in x"
    assert run(capsys, "train", "faster-rcnn", "--resume", "x", "--epochs", "2")[0] == 0
    assert run(capsys, *TINY, "--epochs", "2", "--out", "straight", "--seed", "3")[0] == 0
    for name in ("x", "straight"):
        config = RunFolder(tmp_path / name).config
        assert config["data"] == "scenes" and config["epochs"] == 2 and config["classes"] == list(Scenes.classes)
    last = RunFolder("x").metrics()[-1]
    code, out, _ = run(capsys, "eval", "x")
    table = out.splitlines()
    assert code == 0 and table[-1] == f"test mAP@0.5 {100 * last['test_map']:.2f} %" and "5 images, 5 objects" in out
    assert [row.split()[0] for row in table[1:8]] == ["class", *Scenes.classes]
    assert (tmp_path / "x/precision-recall.png").read_bytes().startswith(b"\x89PNG")
    code, out, _ = run(capsys, "runs", "--folder", ".")
    assert code == 0 and f"{100 * last['test_map']:.2f} %" in out and "2/2" in out
    assert run(capsys, "runs", "x", "straight", "--out", "both.png")[0] == 0 and (tmp_path / "both.png").exists()


def test_coco_s_metric(tiny, runs, capsys):
    pytest.importorskip("pycocotools")
    code, out, _ = run(capsys, "eval", runs / "detector", "--metric", "coco")
    assert code == 0 and [row.split("  ")[0] for row in out.splitlines()[-12:]][:3] == ["AP", "AP50", "AP75"]


@pytest.fixture
def no_pictures(monkeypatch):
    """They take longer than the training."""
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)


def test_labels_become_those_of_the_data():
    """Which may have fewer classes than the detector, in another order."""
    places = detection_scores._places(("cat", "dog", "hen"), ["hen", "cat"])
    found = Detections(np.arange(16.0).reshape(4, 4), np.array([2, 1, 0, 2]), np.array([0.9, 0.8, 0.7, 0.6]))
    kept = detection_scores._renumbered(found, places)
    assert kept.labels.tolist() == [0, 1, 0] and kept.scores.tolist() == [0.9, 0.7, 0.6]
    assert kept.boxes.tolist() == found.boxes[[0, 2, 3]].tolist()
    none = detection_scores._renumbered(found._replace(labels=np.full(4, 1)), places)
    assert none.boxes.shape == (0, 4) and none.labels.dtype == np.int64
    with pytest.raises(UsageError, match="does not know owl; it knows cat, dog, hen"):
        detection_scores._places(("cat", "dog", "hen"), ["cat", "owl"])


def test_eval_on_fewer_classes_in_another_order(runs, tmp_path, monkeypatch, capsys):
    """COCO's files number their classes themselves."""
    class Knowing(Tiny):
        def detect(self, images):
            one = minidl.tensor([4]), minidl.tensor([0.9])
            return [Detections(minidl.tensor([[1.0, 2.0, 9.0, 16.0]]), *one) for _ in images]

    monkeypatch.setattr(faster_rcnn, "faster_rcnn_small", Knowing)
    Image.new("RGB", (40, 32)).save(tmp_path / "one.png")
    (tmp_path / "test.json").write_text(json.dumps({
        "images": [{"id": 7, "file_name": "one.png", "width": 40, "height": 32}],
        "categories": [{"id": 3, "name": Scenes.classes[4]}, {"id": 5, "name": Scenes.classes[1]}],
        "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 8, 14]}]}))
    code, out, err = run(capsys, "eval", runs / "detector", "--data", tmp_path)
    assert code == 0 and out.splitlines()[-1] == "test mAP@0.5 100.00 %", err


def test_only_training_pictures_are_mirrored(tiny):
    for augment in (True, False):
        trainer = detectors.trainer_of(new_config("faster-rcnn", {"augment": augment}), None)
        moves = [type(move) for move in getattr(trainer.train.dataset.transform, "transforms", [])]
        assert moves == [RandomHorizontalFlip] * augment
        assert not getattr(trainer.test.dataset.transform, "transforms", [])


def test_norms_that_were_frozen_stay_so(tiny, tmp_path):
    """A run that began with pretrained weights kept their statistics."""
    model = nn.FrozenBatchNorm2d.convert(Tiny(Scenes.classes))
    folder = RunFolder(tmp_path / "run").create({"model": "faster-rcnn", "data": "scenes", "classes": list(Scenes.classes),
                                                 "backbone": "imagenet"})
    folder.save_checkpoint({"model": model.state_dict(), "optimizer": {}, "epoch": 0, "history": []})
    found, _ = detectors.trained(tmp_path / "run")
    assert [type(module) for module in found.modules()] == [type(module) for module in model.modules()]


def test_the_same_search_in_training_and_later(capsys):
    """And where a trained one looks at other pictures."""
    model = detectors.detector("fast-rcnn", ["cat"], proposals="quality")
    found = detectors.with_proposals(Scenes(True, 1), {"proposals": "quality"}, now=False)
    assert model.proposer.settings == found.search.settings == {"mode": "quality", "seed": 0, "min_side": 8}
    fails(capsys, "train", "fast-rcnn", "--proposals", "slow", words="unknown mode of Selective Search")
    fails(capsys, "train", "faster-rcnn", "--proposals", "quality", words="finds its proposals itself: leave out --proposals")


def test_dry_run_and_overfit(tiny, no_pictures, tmp_path, capsys):
    code, out, _ = run(capsys, "train", "faster-rcnn", "--dry-run", "--batch-size", "4")
    assert code == 0 and "nothing was written" in out and "4 batches an epoch" in out and not list(tmp_path.iterdir())
    code, out, _ = run(capsys, "train", "faster-rcnn", "--overfit", "2", "--epochs", "12", "--every", "12", "--batch-size", "4",
                       "--out", "x")
    assert code == 0 and out.splitlines()[-1] == "test mAP@0.5 100.00 %"


def test_detect(tiny, runs, picture, tmp_path, capsys):
    (tmp_path / "other").mkdir()
    Image.fromarray(np.zeros((32, 40, 3), np.uint8)).save(tmp_path / "other/scene.png")
    code, out, _ = run(capsys, "detect", "scene.png", "other/scene.png", "--run", runs / "detector", "--threshold", "0")
    assert code == 0 and "scene.png: 1 " in out
    assert sorted(path.name for path in (tmp_path / "detections").iterdir()) == ["boxes-scene-2.png", "boxes-scene.png",
                                                                                 "detections.json"]
    found = json.loads((tmp_path / "detections/detections.json").read_text())
    one, other = found["images"]
    assert (one["path"], other["path"]) == ("scene.png", "other/scene.png") and (one["width"], one["height"]) == (40, 32)
    model, _ = detectors.trained(runs / "detector")
    expected = model.predict([np.asarray(Image.open(picture)).transpose(2, 0, 1)])[0]
    np.testing.assert_allclose(one["boxes"], expected.boxes.numpy(), atol=0.006)
    np.testing.assert_allclose(one["scores"], expected.scores.numpy(), atol=6e-5)
    assert one["labels"] == [Scenes.classes[expected.labels.item()]] and found["threshold"] == 0
    code, out, _ = run(capsys, "detect", "scene.png", "--run", runs / "detector", "--threshold", "1", "--out", "none")
    assert code == 0 and "scene.png: nothing" in out
    assert json.loads((tmp_path / "none/detections.json").read_text())["images"][0]["boxes"] == []


def test_damaged_pictures(tiny, runs, picture, tmp_path, capsys):
    (tmp_path / "bad.png").write_bytes(b"no picture")
    words = "bad.png: not a picture that can be read"
    fails(capsys, "detect", picture, "bad.png", "--run", runs / "detector", words=words)
    code, out, _ = run(capsys, "detect", "bad.png", "gone.png", picture, "--run", runs / "detector", "--bad-images", "skip",
                       "--out", "kept")
    assert code == 0 and f"left out: {words}" in out and "left out: gone.png: there is no such file" in out
    assert len(json.loads((tmp_path / "kept/detections.json").read_text())["images"]) == 1


def test_stages_of_the_real_one(picture, tmp_path, capsys):
    minidl.manual_seed(0)
    model = faster_rcnn.faster_rcnn_small(Scenes.classes)
    folder = RunFolder(tmp_path / "run").create({"model": "faster-rcnn", "data": "scenes", "classes": list(Scenes.classes)})
    folder.save_checkpoint({"model": model.state_dict(), "optimizer": {}, "epoch": 0, "history": []})
    code, out, _ = run(capsys, "detect", picture, "--run", "run", "--stages", "--threshold", "0.1")
    assert code == 0 and (tmp_path / "detections/stages-scene.png").read_bytes().startswith(b"\x89PNG")


def test_mistakes(tiny, runs, picture, tmp_path, capsys):
    detector, classifier = runs / "detector", runs / "classifier"
    (tmp_path / "file").write_text("")
    write_voc(tmp_path / "voc", {"a": annotation_xml(object_xml("unicorn"))}, {"train": "a", "test": "a"})
    for arguments, words in {
        ("train", "faster-rcn"): "unknown model 'faster-rcn'; did you mean faster-rcnn?",
        ("train", "faster-rcnn", "--data", "scenez"): "unknown data set 'scenez'; did you mean scenes?",
        ("train", "faster-rcnn", "--data", "no/such"): "there is no folder 'no/such'",
        ("train", "faster-rcnn", "--data", "bccd"): "minidl data get bccd",
        ("train", "faster-rcnn", "--data", "voc2007"): "minidl data get voc2007",
        ("train", "faster-rcnn", "--data", "coco2017"): "minidl data get coco2017",
        ("train", "faster-rcnn", "--data", "."): "expected ImageSets/, Annotations/ and JPEGImages/",
        ("train", "faster-rcnn", "--schedule", "plateau"): "unknown schedule 'plateau'",
        ("train", "faster-rcnn", "--clip-norm", "-1"): "--clip-norm must be a finite number of at least 0, got -1",
        ("train", "faster-rcnn", "--every", "0"): "--every must be",
        ("train", "faster-rcnn", "--capture"): "leave out --capture",
        ("train", "faster-rcnn", "--backbone", "imagenet"): "leave out --backbone",
        ("train", "lenet", "--warmup", "3"): "lenet has a recipe of its own, without --warmup",
        ("train", "lenet", "--resume", detector): "is a run of faster-rcnn, not of lenet",
        ("lr-find", "faster-rcnn"): "faster-rcnn is a detector, and this is for classifiers",
        ("summary", "faster-rcnn"): "faster-rcnn is a detector, and this is for classifiers",
        ("predict", picture, "--run", detector): "a run of faster-rcnn, a detector: use `minidl detect --run",
        ("look", detector): "a run of faster-rcnn, a detector",
        ("detect", picture, "--run", classifier): "a run of lenet, a classifier: use `minidl predict --run",
        ("detect", picture): "give --run, or --model and --weights together",
        ("detect", picture, "--run", "nowhere"): "nowhere is not a run folder",
        ("detect", "gone.png", "--run", detector): "gone.png: there is no such file",
        ("detect", picture, "--run", detector, "--threshold", "nan"): "--threshold must be from 0 to 1, got nan",
        ("detect", picture, "--run", detector, "--threshold", "50"): "--threshold must be from 0 to 1, got 50",
        ("detect", picture, "--run", detector, "--threshold", "high"): "invalid float value: 'high'",
        ("detect", picture, "--run", detector, "--out", "file"): "file: File exists",
        ("detect", picture, "--run", detector, "--stages"): "--stages are for Faster R-CNN",
        ("detect", picture, "--model", "fast-rcnn", "--weights", "coco"): "no published weights of fast-rcnn",
        ("detect", picture, "--model", "lenet", "--weights", "coco"): "unknown detector 'lenet'",
        ("detect", picture, "--model", "faster-rcnn-resnet50-fpn", "--weights", "gone.pth"): "gone.pth",
        ("eval", detector, "--views", "ten"): "--views and --scales are for classifiers",
        ("eval", classifier, "--metric", "coco"): "--metric and --out are for detectors",
        ("eval", detector, "--metric", "vok"): "unknown metric 'vok'; did you mean voc?",
        ("eval", detector, "--out", "no/where.png"): "--out: there is no folder no",
        ("eval", detector, "--out", "a.png", "--metric", "coco"): "--out is for the curves of --metric voc",
        ("eval", "--model", "faster-rcn", "--weights", "coco", "--data", "voc"): "did you mean faster-rcnn?",
        ("eval", detector, "--data", "voc"): "an object is of the unknown class 'unicorn'",
        ("eval", "--model", "faster-rcnn-resnet50-fpn", "--weights", "coco"): "or --model, --weights and --data",
    }.items():
        fails(capsys, *arguments, words=words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "scene.png", "voc"]


def test_a_tampered_configuration(tiny, runs, tmp_path, capsys):
    config = json.loads((runs / "detector/config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({name: value for name, value in config.items() if name != "warmup"}))
    fails(capsys, "train", "faster-rcnn", "--resume", ".", words="was changed: --warmup must be of type int, got None")
    (tmp_path / "config.json").write_text(json.dumps(config | {"classes": "abc"}))
    fails(capsys, "detect", tmp_path / "config.json", "--run", ".", words="names no model, data or classes")
    for optimizer in ("sgdx", 5, []):
        (tmp_path / "config.json").write_text(json.dumps(config | {"optimizer": optimizer}))
        fails(capsys, "train", "faster-rcnn", "--resume", ".", words=f"was changed: unknown optimizer '{optimizer}'")
    (tmp_path / "config.json").write_text(json.dumps(config | {"proposals": "slow"}))
    fails(capsys, "train", "faster-rcnn", "--resume", ".", words="was changed: unknown mode of Selective Search 'slow'")
    fails(capsys, "eval", ".", words="was changed: faster-rcnn finds its proposals itself")
    older = {name: value for name, value in config.items() if name != "proposals"}
    (tmp_path / "config.json").write_text(json.dumps(older))
    fails(capsys, "train", "faster-rcnn", "--resume", ".", words="checkpoint.safetensors")  # that is all that is missing
    for size in ("abc", -5, 7.5, None, True, 2**63):
        (tmp_path / "config.json").write_text(json.dumps(config | {"min_size": size}))
        words = f"was changed: min_size must be a whole number of at least 0, got {size!r}"
        fails(capsys, "detect", tmp_path / "config.json", "--run", ".", words=words)
        fails(capsys, "eval", ".", words=words)


def test_pictures_are_never_replaced(tmp_path):
    (tmp_path / "boxes-a.png").write_bytes(b"mine")
    assert detect._names(["x/a.png", "a.jpg", "a-2.png", "a.gif"], tmp_path) == ["a", "a-2", "a-2-2", "a-3"]
    with pytest.raises(UsageError, match="its boxes would replace a picture"):
        detect._names([str(tmp_path / "boxes-a.png"), "a.png"], tmp_path)


def test_voc_layouts(tmp_path):
    """Tested on test, else on val; the classes may be given."""
    names = {name: annotation_xml(object_xml(name)) for name in ("cat", "dog", "hen")}
    lists = {"train": "cat", "val": "dog", "trainval": "cat\ndog", "test": "hen"}
    write_voc(tmp_path / "all", names, lists)
    write_voc(tmp_path / "VOCdevkit/VOC2012", names, {"train": "cat", "val": "dog"})
    assert [detectors.data_set(str(tmp_path / "all"), train).names for train in (True, False)] == [["cat", "dog"], ["hen"]]
    assert [detectors.data_set(str(tmp_path), train).names for train in (True, False)] == [["cat"], ["dog"]]
    assert detectors.data_set(str(tmp_path / "all"), False, ["hen", "owl"]).classes == ("hen", "owl")


@pytest.mark.parametrize(("name", "inside"), [("bccd", "BCCD"), ("voc2007", "VOCdevkit/VOC2007"), ("voc2012", "VOC2012")])
def test_data_sets_by_name(tmp_path, name, inside):
    """Where `minidl data get` puts them."""
    write_voc(tmp_path / "no-data" / name / inside, {"a": annotation_xml(object_xml("cat"))}, {"train": "a", "val": "a"})
    assert detectors.data_set(name, True).names == detectors.data_set(name, False).names == ["a"]


@pytest.mark.parametrize(("place", "pictures"), [("annotations", "train2017"), (".", "images"), ("annotations", "JPEGImages")])
def test_coco_layouts(tmp_path, place, pictures, capsys):
    data = {"images": [{"id": 7, "file_name": "one.png", "width": 8, "height": 6}], "categories": [{"id": 17, "name": "cat"}],
            "annotations": [{"id": 1, "image_id": 7, "category_id": 17, "bbox": [1, 2, 3, 4]}]}
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / pictures).mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / pictures / "one.png")
    for name in ("captions_train2017", "instances_train2017"):
        (tmp_path / place / f"{name}.json").write_text(json.dumps(data if "instances" in name else {}))
    found = detectors.data_set(str(tmp_path), True)
    assert found[0][1]["boxes"].tolist() == [[1, 2, 4, 6]] and found.classes == ("cat",)
    with pytest.raises(DataError, match="with test or val in its name, found instances_train2017.json, captions"):
        detectors.data_set(str(tmp_path), False)
    (tmp_path / place / "image_info_test2017.json").write_text(json.dumps({"images": []}))
    (tmp_path / place / "instances_val2017.json").write_text(json.dumps(data | {"categories": [{"id": 17, "name": "dog"}]}))
    fails(capsys, "train", "faster-rcnn", "--data", tmp_path, words="training pictures are cat, those of the test pictures dog")


def test_coco_s_pictures_are_found_where_some_are_missing(tmp_path):
    images = [{"id": k, "file_name": f"{k}.png", "width": 8, "height": 6} for k in range(3)]
    (tmp_path / "instances_train2017.json").write_text(json.dumps({"images": images, "categories": [], "annotations": []}))
    (tmp_path / "train2017").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "train2017/1.png")
    assert detectors.data_set(str(tmp_path), True).root == tmp_path / "train2017"


@pytest.mark.parametrize("name", ["faster-rcnn", "fast-rcnn"])
def test_detectors_by_name(name, tmp_path):
    """Their pictures may be brought to another size."""
    model = detectors.detector(name, ["cat", "dog"], min_size=192)
    assert model.classes == ("cat", "dog") and (model.inputs.min_size, model.inputs.max_size) == (192, 320)


def test_r_cnn(no_pictures, tmp_path, capsys):
    """Fine-tuned and fitted in one run; what was fitted is in the checkpoint."""
    pytest.importorskip("sklearn")
    code, out, _ = run(capsys, "train", "r-cnn", "--overfit", "2", "--epochs", "1", "--batch-size", "4", "--out", "x")
    assert code == 0 and "SVMs" in out and out.splitlines()[-1].startswith("test mAP@0.5")
    assert list((tmp_path / "x/features").iterdir())
    model, _ = detectors.trained("x")
    assert np.abs(model.svms.weight.numpy()).max() > 0
    fails(capsys, "train", "r-cnn", "--min-size", "64", words="r-cnn takes pictures as they are: leave out --min-size")


def test_r_cnns_recipes_fit_it():
    """Which takes pictures as they are; a network that begins from nothing needs a larger rate than a pretrained one."""
    small, papers = detectors.recipes("r-cnn"), detectors.recipes("r-cnn-alexnet")
    assert all(recipe.min_size == 0 for recipe in (*small.values(), *papers.values()))
    assert small["voc2007"].lr > papers["voc2007"].lr and papers == detectors.recipes("r-cnn-vgg16")


def test_r_cnn_without_scikit_learn(monkeypatch, capsys):
    """Which is said before hours of fine-tuning."""
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    fails(capsys, "train", "r-cnn", "--overfit", "2", words='pip install "minidl[svm]"')


def test_proposals_of_all_but_damaged_pictures(no_pictures, tmp_path, monkeypatch, capsys):
    class Damaged(Scenes):
        def load(self, index):
            if index == 2:
                raise DataError("2.jpg: truncated")
            return super().load(index)

    monkeypatch.setattr("minidl.data.Scenes", lambda train: Damaged(train, 4, size=(32, 40), most=1))
    train = ("train", "fast-rcnn", "--epochs", "1", "--batch-size", "4", "--min-size", "64")
    code, _, err = run(capsys, *train, "--out", "stopped")
    assert code == 2 and "2.jpg: truncated" in err
    code, _, err = run(capsys, *train, "--bad-images", "skip", "--out", "x")
    assert code == 0, err
    assert len(list((tmp_path / "no-cache/minidl/proposals").iterdir())) == 3 + 3


def test_proposals_are_found_beforehand(no_pictures, tmp_path, capsys):
    """Fast R-CNN, once through: they are kept for the next run."""
    for out in ("a", "b"):
        code, out, _ = run(capsys, "train", "fast-rcnn", "--epochs", "1", "--batch-size", "4", "--min-size", "64", "--out", out)
        assert code == 0 and "test mAP@0.5" in out
        assert len(list((tmp_path / "no-cache/minidl/proposals").iterdir())) == 13 + 5
