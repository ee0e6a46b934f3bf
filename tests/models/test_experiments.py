"""The lecture's experiments in little: that they measure what they say, and leave a picture and numbers."""

import json

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import nn
from minidl.cli import main
from minidl.data import ImageArrays
from minidl.models.classify.cifar_resnet import CifarResNet
from minidl.models.experiments import complexity, few_images, fit, normalisation, shortcuts, windows
from minidl.study import summarize
from tests.data.test_cifar import pack


def coloured(n, seed=0):
    """Images that are brighter in one third of ten columns: a class each."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 10
    pixels = rng.integers(0, 120, (n, 3, 32, 32), np.uint8)
    for image, label in zip(pixels, labels, strict=True):
        image[:, :, 3 * label : 3 * label + 3] += 120
    return pixels, labels


def width(path) -> int:
    with Image.open(path) as image:
        return image.width


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """A small set in the place of CIFAR-10, and a folder to work in."""
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    whole = {}
    for part, count in (("train", 60), ("test", 2000)):
        pixels, labels = coloured(count)
        pictures = []
        for pixel in pixels[:60]:  # the same ones again, since encoding takes long
            path = tmp_path / "x.png"
            Image.fromarray(pixel.transpose(1, 2, 0)).save(path)
            pictures.append(path.read_bytes())
        made = pack([pictures[k % 60] for k in range(count)], labels)
        whole |= {key.replace("train_", f"{part}_"): value for key, value in made.items()}
    np.savez(folder / "cifar-10-jpeg.npz", **whole)
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_fit_learns_and_watches():
    minidl.manual_seed(0)
    data = ImageArrays((coloured(40)[0] / 255).astype(np.float32), coloured(40)[1])
    seen = []
    model = nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(768, 10))
    rows = fit.fit(model, data, data, epochs=20, lr=0.02, batch_size=16, watch=lambda m: seen.append(m[2].weight.grad.shape),
                   test_each=False)
    assert rows[-1]["test"] > 0.9 and rows[-1]["loss"] < rows[0]["loss"] and not model.training
    assert seen == [(10, 768)] * 60 and ["test" in row for row in rows] == [False] * 19 + [True]


def test_the_same_field_with_fewer_weights():
    """49 C^2 against 27 C^2 weights, and as many biases as layers have maps."""
    channels = windows.CHANNELS
    rows = {name: summarize(build(), (1, 3, 32, 32)) for name, build in windows.NETWORKS.items()}
    fields = {name: [row.receptive_field for row in found if row.layer == "Conv2d"][-1] for name, found in rows.items()}
    assert fields["one 7x7"] == fields["three 3x3"]
    counts = {name: sum(row.parameters for row in found if row.layer == "Conv2d") - (27 * channels + channels)
              for name, found in rows.items()}
    assert counts == {"one 7x7": 49 * channels**2 + channels, "three 3x3": 27 * channels**2 + 3 * channels}


def test_networks_differ_in_one_layer():
    plain, normalised = (normalisation.network(name) for name in ("A", "A-LRN"))
    assert [type(layer).__name__ for layer in normalised if not isinstance(layer, nn.LocalResponseNorm)] == [
        type(layer).__name__ for layer in plain]
    assert sum(isinstance(layer, nn.LocalResponseNorm) for layer in normalised) == 1
    assert plain(minidl.zeros(2, 3, 32, 32)).shape == normalised(minidl.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_gradient_norms():
    minidl.manual_seed(0)
    norms, model = shortcuts.GradientNorms(), nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(2 * 900, 10))
    for factor in (1.0, 3.0):
        model.zero_grad()
        (factor * model(minidl.ones(1, 3, 32, 32)).sum()).backward()
        norms(model)
    assert norms.first == [pytest.approx(norms.mean[0] / 2, rel=1e-5)]
    assert norms.first[0] == pytest.approx(float(np.linalg.norm(model[0].weight.grad.numpy())) / 3, rel=1e-5)


def test_few_images_of_each_class():
    pixels, labels = coloured(50)
    data = ImageArrays(pixels, labels)
    part = few_images.some(data, 2, 0, None)
    assert np.bincount(part.labels).tolist() == [2] * 10
    again, other = few_images.some(data, 2, 0, None), few_images.some(data, 2, 1, None)
    assert np.array_equal(part.images, again.images) and not np.array_equal(part.images, other.images)


@pytest.mark.parametrize("name", ["windows", "normalisation", "shortcuts", "winners"])
def test_the_command(cifar, capsys, name):
    options = {"windows": "--images 20 --epochs 1 --seeds 1", "normalisation": "--images 20 --epochs 1 --seeds 1",
               "shortcuts": "--images 20 --epochs 1", "winners": ""}[name]
    assert main(f"experiment {name} {options} --out out".split()) == 0, capsys.readouterr()
    found = json.loads((cifar / "out" / f"{name}.json").read_text())
    assert found["experiment"] == name and found["results"] and found["versions"]["numpy"]
    assert width(cifar / "out" / f"{name}.png") > 300


MISTAKES = {
    "experiment few-images": "few-images needs --from", "experiment fewimages": "did you mean few-images?",
    "experiment winners --epochs 3": "winners has no --epochs",
    "experiment windows --images 5": "--images must be at least 10",
    "experiment windows --seeds 0": "--seeds must be at least 1",
    "experiment windows --from source": "windows has no --from",
    "experiment windows --images 100": "CIFAR-10 has 60 images",
    "compare --batches x": "--batches takes numbers", "compare lenet": "unknown model 'lenet'",
}


def test_few_images_by_command(cifar, monkeypatch, capsys):
    for place, kind in enumerate(("dark", "light")):
        (cifar / "new" / kind).mkdir(parents=True)
        for k in range(5):
            Image.new("RGB", (40, 36), (100 * place + k,) * 3).save(cifar / "new" / kind / f"{k}.png")
    monkeypatch.setattr(few_images.run, "__defaults__", ((1, 2), 1, 1, print))
    monkeypatch.setattr(few_images, "STEPS", 2)
    assert main("train resnet20 --data cifar10 --epochs 1 --out source".split()) == 0
    assert main("experiment few-images --from source --data new --out out".split()) == 0
    found = json.loads((cifar / "out" / "few-images.json").read_text())["results"]["accuracy"]
    assert found.keys() == few_images.WAYS.keys() and all(0 <= v[0] <= 1 for way in found.values() for v in way.values())
    capsys.readouterr()
    for command, words in MISTAKES.items():
        assert main(command.split()) == 2
        err = capsys.readouterr().err
        assert words in err and len(err.splitlines()) == 1, err


def test_complexity():
    """Counts as in the table of facts; what only trains is not counted."""
    found = complexity.measure("googlenet", batches=(1, 2), rounds=1)
    assert (found["parameters"], found["multiply_adds"]) == (6_624_904, 1_498_376_192)
    assert set(found["seconds"]) == {1, 2} and min(found["seconds"].values()) > 0
    assert found["peak_bytes"] > 4 * 64 * 112 * 112 and found["kept_bytes"] > found["peak_bytes"] / 2


def test_compare_by_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(complexity, "ROUNDS", 1)
    assert main(["compare", "alexnet", "--batches", "1", "--out", str(tmp_path)]) == 0
    row, = json.loads((tmp_path / "compare.json").read_text())["results"]["models"]
    assert row["parameters"] == 61_100_840 and row["multiply_adds"] == 714_188_480 and row["top1"] == 56.522
    assert width(tmp_path / "compare.png") > 500 and "1.43" in capsys.readouterr().out


def test_look_by_command(cifar, capsys):
    """Occlusion maps for any network; units for chains of layers."""
    for kind in ("a", "b"):
        (cifar / "new" / kind).mkdir(parents=True)
        for k in range(5):
            Image.fromarray(coloured(10)[0][k].transpose(1, 2, 0)).save(cifar / "new" / kind / f"{k}.png")
    assert main("train resnet20 --data new --epochs 1 --out run".split()) == 0
    assert main("look run new/a/1.png --out out".split()) == 0
    assert width(cifar / "out" / "occlusion-1.png") > 500
    assert main("look run --out out".split()) == 2
    assert "CifarResNet has none" in capsys.readouterr().err


def test_resnet_has_its_depth():
    """few-images builds the source's architecture again from its layers."""
    for depth in (8, 20):
        assert sum(isinstance(layer, (nn.Conv2d, nn.Linear)) for layer in CifarResNet(depth).modules()) == depth
