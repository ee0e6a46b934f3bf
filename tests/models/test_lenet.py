"""LeNet-5: its layers, and the weights that ship."""

import json
from importlib import resources

import numpy as np
import pytest

import minidl
from minidl.cli.train import OPTIONS
from minidl.data import DataLoader, Digits
from minidl.errors import CheckpointError, ShapeError
from minidl.models import LeNet5, lenet5
from minidl.models.classify.lenet import RECIPES
from minidl.study import summarize
from minidl.train import evaluate


def test_layers():
    rows = summarize(LeNet5(), (2, 1, 28, 28))
    assert [(row.layer, row.output, row.parameters) for row in rows if row.parameters or "Pool" in row.layer] == [
        ("Conv2d", (2, 6, 28, 28), 156), ("MaxPool2d", (2, 6, 14, 14), 0), ("Conv2d", (2, 16, 10, 10), 2416),
        ("MaxPool2d", (2, 16, 5, 5), 0), ("Linear", (2, 120), 48120), ("Linear", (2, 84), 10164), ("Linear", (2, 10), 850)]
    assert sum(row.parameters for row in rows) == 61_706
    assert sum(row.multiply_adds for row in summarize(LeNet5(), (1, 1, 28, 28))) == 416_520


def test_other_numbers_of_classes_and_wrong_images():
    assert LeNet5(26)(minidl.zeros(3, 1, 28, 28)).shape == (3, 26)
    with pytest.raises(ShapeError):
        LeNet5()(minidl.zeros(3, 1, 27, 30))
    with pytest.raises(ShapeError):
        LeNet5()(minidl.zeros(3, 3, 28, 28))


def test_it_can_learn_ten_images_by_heart():
    minidl.manual_seed(0)
    images, labels = minidl.randn(10, 1, 28, 28), minidl.arange(10)
    model = LeNet5()
    optimizer = minidl.optim.Adam(model.parameters(), 2e-3)
    for _ in range(60):
        loss = minidl.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.01 and (model(images).detach().array.argmax(1) == np.arange(10)).all()


def test_the_shipped_weights():
    """Small, and at least as good as the recipe's bar; beside them stands how they came about."""
    folder = resources.files("minidl.models.classify")
    assert len(folder.joinpath("lenet5-digits.safetensors").read_bytes()) < 300_000
    found = evaluate(lenet5("digits"), DataLoader(Digits(train=False, size=28), 120))
    assert found["accuracy"] >= 0.97
    record = json.loads(folder.joinpath("lenet5-digits.json").read_text())
    assert record["command"].startswith("minidl train lenet --data digits")
    assert abs(record["test_accuracy"] - found["accuracy"]) < 1 / 360 + 1e-9  # one image may tip over by rounding


def test_weights_from_a_file(tmp_path):
    minidl.save(LeNet5().state_dict(), tmp_path / "w.safetensors")
    assert lenet5(str(tmp_path / "w.safetensors")).training
    with pytest.raises(CheckpointError, match="nowhere"):
        lenet5("nowhere")
    with pytest.raises(CheckpointError, match="of another shape"):
        lenet5("digits", num_classes=11)


def test_recipes_are_options_of_the_command():
    for recipe in RECIPES.values():
        assert set(vars(recipe)) <= set(OPTIONS)
