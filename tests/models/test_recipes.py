"""Recipes: schedules by hand, every model's own, and what training needs of them."""

import json
import math

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import nn
from minidl.cli import main
from minidl.cli.choices import MODELS, architecture, build
from minidl.models import googlenet
from minidl.models.classify import recipe
from minidl.models.classify.googlenet import GoogLeNetOutputs, auxiliary_loss
from minidl.nn.functional import cross_entropy
from minidl.optim import SGD


def rates(name, epochs, batches):
    optimizer = SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
    schedule, found = recipe.SCHEDULES[name](optimizer, {"epochs": epochs, "lr": 1.0}, batches), []
    for _ in range(epochs * batches):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_schedules():
    assert rates("constant", 2, 3) == [1.0] * 6
    np.testing.assert_allclose(rates("cosine", 2, 3), [0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(6)])
    np.testing.assert_allclose(rates("steps", 4, 2), [1.0] * 4 + [0.1] * 2 + [0.01] * 2)
    np.testing.assert_allclose(rates("exponential", 17, 2), [0.96 ** (k // 16) for k in range(34)])


def test_plateau():
    """A tenth of the epochs without a better result, then a tenth of the rate; three times at most."""
    optimizer = SGD([minidl.zeros(1, requires_grad=True)], lr=1.0)
    schedule, found = recipe.plateau(optimizer, {"epochs": 20, "lr": 1.0}, 5), []
    for error in [0.5, 0.4, *[0.4] * 15]:
        schedule.step(error)
        found.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(found, [1] * 4 + [0.1] * 3 + [0.01] * 3 + [0.001] * 7)


@pytest.mark.parametrize("name", [name for name in MODELS if name != "lenet-1998"])
def test_every_model_has_a_recipe(name):
    module = architecture(name)
    first = next(iter(module.RECIPES.values()))
    assert first.schedule in recipe.SCHEDULES and first.epochs > 0 and callable(module.training)
    if MODELS[name].input_shape[0] == 3:
        size = MODELS[name].input_shape[1]
        image = np.zeros((1, 3, size + 40, size + 50), np.uint8)
        numbers = np.full((1, module.augmented(size).numbers), 0.4, np.float32)
        assert module.augmented(size)(image, numbers).shape == module.inputs(size)(image).shape == (1, 3, size, size)


@pytest.mark.parametrize("name", ["alexnet-2012", "zfnet", "vgg11-lrn", "vgg16-c", "googlenet-2014", "plain20", "linear-224"])
def test_build_by_name(name):
    """For as many classes as asked for, on images of the size that the table says."""
    model = build(name, 3).eval()
    with minidl.no_grad():
        assert model(minidl.zeros(1, *MODELS[name].input_shape)).shape == (1, 3)
    assert tuple(model.input_shape) == MODELS[name].input_shape


def test_auxiliary_loss():
    """The main loss plus 0.3 times each of the two others; in evaluation the main one alone."""
    minidl.manual_seed(0)
    labels, outputs = minidl.tensor([1, 0]), [minidl.randn(2, 3) for _ in range(3)]
    one, two, three = (cross_entropy(logits, labels).item() for logits in outputs)
    assert auxiliary_loss(GoogLeNetOutputs(*outputs), labels).item() == pytest.approx(one + 0.3 * two + 0.3 * three)
    assert auxiliary_loss(outputs[0], labels).item() == pytest.approx(one)
    model = googlenet(num_classes=3)
    pieces = architecture("googlenet").training(model, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0, "epochs": 1,
                                                        "schedule": "constant"}, None, 1)
    assert pieces["loss"] is auxiliary_loss and isinstance(pieces["optimizer"], SGD)


class Several(nn.Module):
    """A small model that gives more than its logits in training."""

    input_shape = (3, 32, 32)

    def __init__(self, num_classes):
        super().__init__()
        self.a = nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, num_classes))

    def forward(self, x):
        logits = self.a(x)
        return GoogLeNetOutputs(logits, logits, logits) if self.training else logits


@pytest.fixture
def pictures(tmp_path, monkeypatch):
    for place, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for k in range(10):
            Image.new("RGB", (40, 36), (120 * place + 10 + k,) * 3).save(tmp_path / "data" / name / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_training_a_model_with_several_outputs(pictures, monkeypatch):
    from minidl.models.classify import linear

    monkeypatch.setattr(linear, "linear", lambda num_classes: Several(num_classes))
    monkeypatch.setattr(linear, "training", lambda *args: recipe.training(*args) | {"loss": auxiliary_loss})
    assert main("train linear --data data --epochs 8 --lr 0.05 --batch-size 4 --out run".split()) == 0
    rows = [json.loads(row) for row in (pictures / "run" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["test_accuracy"] == 1.0 and rows[-1]["train_accuracy"] > 0.8
    assert 0 <= rows[-1]["waited_for_data"] <= 1 and rows[-1]["test_top5_accuracy"] == 1.0


def test_a_plateau_is_resumed(pictures):
    """The same rates and weights in one go or in two, although the schedule depends on the results so far."""
    start = "train linear --data data --schedule plateau --lr 0.001 --batch-size 4".split()
    assert main([*start, "--epochs", "4", "--out", "whole"]) == 0
    assert main([*start, "--epochs", "2", "--out", "parts"]) == 0
    config = json.loads((pictures / "parts" / "config.json").read_text())
    assert config["classes"] == ["dark", "light"]
    assert main("train linear --resume parts --epochs 4".split()) == 0
    assert (pictures / "whole" / "model.safetensors").read_bytes() == (pictures / "parts" / "model.safetensors").read_bytes()


def test_a_run_whose_configuration_lacks_something(pictures, capsys):
    assert main("train linear --data data --epochs 1 --out run".split()) == 0
    config = json.loads((pictures / "run" / "config.json").read_text())
    for name in ("schedule", "bad_images", "data", "epochs"):
        (pictures / "run" / "config.json").write_text(json.dumps({key: config[key] for key in config if key != name}))
        capsys.readouterr()
        assert main("train linear --resume run --epochs 2".split()) == 2
        err = capsys.readouterr().err
        assert "config.json was changed" in err and len(err.splitlines()) == 1, err


def test_damaged_pictures_by_command(pictures, capsys):
    (pictures / "data" / "dark" / "3.png").write_bytes(b"no picture")
    (pictures / "data" / "light" / "9.png").write_bytes(b"")
    assert main("train linear --data data --epochs 1 --out run".split()) == 2
    assert "3.png: not a picture that can be read" in capsys.readouterr().err
    assert main("train linear --data data --epochs 1 --bad-images skip --out run".split()) == 0
    err = capsys.readouterr().err
    assert "1 training pictures were left out" in err and "1 test pictures were left out" in err and "3.png" in err
    assert main("eval run".split()) == 2
    assert main("eval run --bad-images skip".split()) == 0
    assert "left out: " in capsys.readouterr().out
