"""Transfer learning: heads, frozen layers, rates, features kept on disk, and the command."""

import json

import numpy as np
import pytest
from PIL import Image

import minidl
from minidl import models, nn
from minidl.cli import main
from minidl.data import DataLoader, ImageArrays, ImageFolder
from minidl.errors import DataError, UsageError
from minidl.models.classify import transfer
from minidl.models.classify.cifar_resnet import CifarResNet, inputs
from minidl.nn.functional import cross_entropy
from minidl.optim import SGD


def pictures(n=6):
    rng = np.random.default_rng(0)
    return ImageArrays(rng.standard_normal((n, 3, 32, 32)).astype(np.float32), np.arange(n) % 3)


@pytest.mark.parametrize("build", [models.alexnet, models.vgg11, models.googlenet, models.resnet18, CifarResNet])
def test_a_new_head(build):
    """The last layer alone is new, for as many classes as asked for."""
    model = build(num_classes=10) if build is not CifarResNet else CifarResNet(8)
    before = {name: p for name, p in model.named_parameters()}
    old = transfer.head(model)
    assert transfer.replace_head(model, 4) is model
    assert transfer.head(model).out_features == 4 and transfer.head(model).in_features == old.in_features
    changed = [name for name, p in model.named_parameters() if p is not before[name]]
    assert len(changed) == 2 and all(before[name] is old.weight or before[name] is old.bias for name in changed)


def test_no_head():
    with pytest.raises(UsageError, match="Sequential has no linear layer that could be its head"):
        transfer.head(nn.Sequential(nn.Conv2d(3, 4, 1)))


def test_frozen_layers_do_not_move():
    minidl.manual_seed(0)
    model = transfer.freeze(CifarResNet(8), 2)
    before = {name: p.detach().numpy().copy() for name, p in model.named_parameters()}
    optimizer = SGD(transfer.parameter_groups(model, 0.1, 0.5))
    images, labels = (minidl.tensor(array) for array in pictures().arrays())
    cross_entropy(model(images), labels).backward()
    optimizer.step()
    moved = {name for name, p in model.named_parameters() if not np.array_equal(p.detach().numpy(), before[name])}
    assert moved == {"layer3.0.conv2.weight", "layer3.0.bn2.weight", "layer3.0.bn2.bias", "fc.weight", "fc.bias"}
    for layers in (0, 9):
        with pytest.raises(UsageError, match="has 8 layers with weights"):
            transfer.freeze(CifarResNet(8), layers)


def test_rates():
    """The head at the whole rate, each other weight once at a part of it."""
    model = models.resnet18(num_classes=3)
    top, rest = transfer.parameter_groups(model, 0.1, 0.2)
    assert top["lr"] == 0.1 and rest["lr"] == pytest.approx(0.02)
    assert {id(p) for p in top["params"]} == {id(model.fc.weight), id(model.fc.bias)}
    assert len(top["params"]) + len(rest["params"]) == len(list(model.parameters()))


def test_features_are_what_the_head_reads(tmp_path):
    minidl.manual_seed(0)
    model, data = CifarResNet(8), pictures()
    found = transfer.extract(model, data, tmp_path, batch_size=4)
    assert model.training and found.features.shape == (6, 64)
    with minidl.no_grad():
        whole = model.eval()(minidl.tensor(data.images)).numpy()
        np.testing.assert_allclose(transfer.HeadOnly(model)(minidl.tensor(found.features)).numpy(), whole, rtol=1e-5, atol=1e-6)
    features, labels = next(iter(DataLoader(found, 4)))
    np.testing.assert_array_equal(features.numpy(), found.features[:4])
    assert labels.tolist() == [0, 1, 2, 0] and found[2][0].shape == (3, 32, 32)


def test_features_are_kept(tmp_path, monkeypatch):
    """Read again for the same weights and data, whatever the head; computed anew for others."""
    minidl.manual_seed(0)
    model, data = CifarResNet(8), pictures()
    first = transfer.extract(model, data, tmp_path)
    transfer.replace_head(model, 7)
    forward, seen = CifarResNet.forward, []
    monkeypatch.setattr(CifarResNet, "forward", lambda self, x: seen.append(len(x)) or forward(self, x))
    np.testing.assert_array_equal(transfer.extract(model, data, tmp_path).features, first.features)
    assert seen == [2] and len(list(tmp_path.iterdir())) == 1  # the first and the last, by which they are known again
    others = [(CifarResNet(8), data), (model, pictures(5))]
    plain = CifarResNet(8, residual=False)  # the same names and weights, another network
    plain.load_state_dict(model.state_dict() | {name: plain.state_dict()[name] for name in ("fc.weight", "fc.bias")})
    changed = pictures()
    changed.images[3] += 1
    for count, (other, of_data) in enumerate([*others, (plain, data), (model, changed)], 2):
        found = transfer.extract(other, of_data, tmp_path)
        np.testing.assert_array_equal(found.features, transfer.extract(other, of_data).features)
        assert len(list(tmp_path.iterdir())) == count


def test_features_of_pictures_in_files(tmp_path):
    """A picture that is replaced makes them anew; damaged ones are skipped if asked for, and not kept."""
    for k in range(5):
        (tmp_path / "set" / "a").mkdir(exist_ok=True, parents=True)
        Image.new("RGB", (40, 36), (40 * k,) * 3).save(tmp_path / "set" / "a" / f"{k}.png")
    minidl.manual_seed(0)
    model, kept = CifarResNet(8), tmp_path / "kept"

    def features(**options):
        return transfer.extract(model, ImageFolder(tmp_path / "set", transform=inputs(32)), kept, **options)

    first = features().features
    Image.new("RGB", (40, 36), (200, 10, 10)).save(tmp_path / "set" / "a" / "2.png")
    second = features().features
    assert np.array_equal(first[[0, 1, 3]], second[[0, 1, 3]]) and not np.array_equal(first[2], second[2])
    (tmp_path / "set" / "a" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"1\.png"):
        features()
    third = features(on_error="skip")
    np.testing.assert_array_equal(third.features, second[[0, 2, 3]])
    assert len(third) == 3 and third[1][0].shape == (3, 32, 32) and len(list(kept.iterdir())) == 2
    with pytest.raises(DataError, match="the data set is empty"):
        transfer.extract(model, pictures(0), kept)


def test_only_the_head_is_trained():
    model = CifarResNet(8)
    wrapped = transfer.HeadOnly(model)
    assert [p.shape for p in wrapped.parameters()] == [(10, 64), (10,)]
    assert wrapped.state_dict().keys() == model.state_dict().keys()
    other = CifarResNet(8)
    transfer.HeadOnly(other).load_state_dict(wrapped.state_dict())
    np.testing.assert_array_equal(other.state_dict()["conv1.weight"].numpy(), model.state_dict()["conv1.weight"].numpy())


# The command


@pytest.fixture
def tasks(tmp_path, monkeypatch):
    """Two sets of pictures in files, of two classes and of three."""
    rng = np.random.default_rng(0)
    for task, classes in (("first", ("dark", "light")), ("second", ("blue", "green", "red"))):
        for place, name in enumerate(classes):
            (tmp_path / task / name).mkdir(parents=True)
            for k in range(10):
                pixels = rng.integers(0, 90, (34, 33, 3), np.uint8)
                pixels[..., 2 - place if task == "second" else slice(None)] += np.uint8(120 if task == "second" else 120 * place)
                Image.fromarray(pixels).save(tmp_path / task / name / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert main("train resnet20 --data first --epochs 1 --batch-size 8 --lr 0.01 --out source".split()) == 0
    return tmp_path


@pytest.mark.parametrize("tune", ["head", "upper", "all"])
def test_transfer(tasks, capsys, tune):
    assert main(f"transfer --from source --data second --tune {tune} --layers 2 --epochs 2 --batch-size 8 --out out".split()) == 0
    config = json.loads((tasks / "out" / "config.json").read_text())
    assert config["classes"] == ["blue", "green", "red"] and config["tune"] == tune and config["model"] == "resnet20"
    trained = minidl.load(tasks / "out" / "model.safetensors")
    source = minidl.load(tasks / "source" / "model.safetensors")
    assert trained["fc.weight"].shape == (3, 64)
    same = np.array_equal(trained["conv1.weight"].numpy(), source["conv1.weight"].numpy())
    assert same == (tune != "all")
    capsys.readouterr()
    assert main(["eval", "out"]) == 0 and "test accuracy" in capsys.readouterr().out
    assert main(["predict", "second/red/0.png", "--run", "out"]) == 0
    assert any(name in capsys.readouterr().out for name in config["classes"])
    assert (tasks / "cache" / "minidl" / "features").is_dir() == (tune == "head")


def test_a_transfer_goes_on(tasks, capsys):
    """In one go, or stopped after an epoch: the same weights."""
    start = "transfer --from source --data second --tune all --batch-size 8 --schedule constant".split()
    assert main([*start, "--epochs", "2", "--out", "whole"]) == 0
    assert main([*start, "--epochs", "1", "--out", "parts"]) == 0
    assert main("transfer --resume parts --epochs 2".split()) == 0
    assert (tasks / "whole" / "model.safetensors").read_bytes() == (tasks / "parts" / "model.safetensors").read_bytes()


def test_a_head_goes_on_with_its_own_features(tasks, capsys):
    """The source may have been trained on meanwhile, or be gone: the run has all that it needs."""
    assert main("transfer --from source --data second --epochs 1 --batch-size 8 --out out".split()) == 0
    assert main("train resnet20 --resume source --epochs 2".split()) == 0
    assert main("transfer --resume out --epochs 2".split()) == 0
    loss = json.loads((tasks / "out" / "metrics.jsonl").read_text().splitlines()[-1])["test_loss"]
    capsys.readouterr()
    assert main(["eval", "out"]) == 0
    assert f"loss {loss:.4f}" in capsys.readouterr().out
    (tasks / "source").rename(tasks / "gone")
    assert main("transfer --resume out --epochs 3".split()) == 0
    capsys.readouterr()
    config = json.loads((tasks / "out" / "config.json").read_text())
    for change in ({"model": ["a"]}, {"tune": "x"}, {"layers": "3"}, {"lower": None}, {"model": "nothing"}):
        (tasks / "out" / "config.json").write_text(json.dumps(config | change))
        assert main("transfer --resume out --epochs 3".split()) == 2
        err = capsys.readouterr().err
        assert "is not of a transfer, or was changed" in err and len(err.splitlines()) == 1, err


def test_a_head_names_the_pictures_that_are_damaged(tasks, capsys):
    (tasks / "second" / "red" / "1.png").write_bytes(b"no picture")
    (tasks / "second" / "blue" / "4.png").write_bytes(b"")
    command = "transfer --from source --data second --epochs 1 --batch-size 8 --out out".split()
    assert main(command) == 2 and "not a picture" in capsys.readouterr().err
    assert main([*command, "--bad-images", "skip"]) == 0
    err = capsys.readouterr().err
    assert "1 training pictures were left out" in err and "1 test pictures were left out" in err and "1.png" in err


MISTAKES = {
    "transfer --data second": "transfer needs --from",
    "transfer --from source": "transfer needs --from, the weights to begin with, and --data",
    "transfer resnet20 --from source --data second": "leave out MODEL",
    "transfer --from imagenet --data second": "say which model the weights are of",
    "transfer --from source --data second --tune none": "unknown kind of tuning 'none'",
    "transfer --from source --data second --tune upper --layers 0": "--layers at least 1",
    "transfer --from source --data second --lower -1": "--lower must be at least 0",
    "transfer --resume source": "is not of a transfer, or was changed",
    "transfer --resume source --tune all": "leave out MODEL, --from, --tune",
    "transfer --from source --data second --augment": "there is nothing to augment",
    "transfer lenet --from source.safetensors --data second": "lenet reads grey ones",
    "transfer resnet20 --from huge.safetensors --data second": "is no state dict of a classifier of up to 100,000 classes",
    "predict a.png --model lenet --weights a.pth": "lenet is none",
    "eval source --workers 100000": "--workers must be from 0 to 256",
    "transfer resnet20 --resume source": "leave out MODEL, --from",
    "transfer zfnet --from imagenet --data second": "there are no published weights of zfnet",
    "eval source --data second": "the run knows 2 classes, second has 3",
    "eval source --views ten": "resnet20 reads whole images of 32x32",
    "eval source --views many": "unknown kind of views 'many'",
}


def test_mistakes(tasks, capsys):
    minidl.save({"a": minidl.zeros(2**30, 0)}, "huge.safetensors")
    for command, words in MISTAKES.items():
        capsys.readouterr()
        assert main(command.split()) == 2, command
        err = capsys.readouterr().err
        assert words in err and len(err.splitlines()) == 1, err
