"""Architectures against torchvision's: the same names and shapes, and with the same weights the same logits and gradients."""

import numpy as np
import pytest

import minidl
from minidl import models
from tests.parity.vision import torch, torchvision

SMALL = ["alexnet", "resnet18", "googlenet"]
LARGE = ["vgg16", "vgg16_bn", "resnet50", "resnet34", "resnet101"]


def pair(name, dtype):
    """torchvision's model with random weights, dropout off, and ours with the same."""
    torch.manual_seed(0)
    options = {"init_weights": False} if name == "googlenet" else {}
    theirs = getattr(torchvision().models, name)(num_classes=10, **options).to(getattr(torch, dtype))
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        elif isinstance(module, torch.nn.BatchNorm2d):  # statistics as after some training
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    ours = getattr(models, name)(num_classes=10).to(dtype)
    for module in ours.modules():
        if isinstance(module, minidl.nn.Dropout):
            module.p = 0.0
    ours.load_state_dict({key: value.numpy() for key, value in theirs.state_dict().items()})
    return ours, theirs


def image(name, dtype):
    size = 224 if name.startswith(("vgg", "alexnet")) else 64
    return np.random.default_rng(0).standard_normal((2, 3, size, size)).astype(dtype)


def total(outputs):
    """A scalar of all outputs, each weighted differently."""
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return sum((weight * y * y).sum() for weight, y in zip((1.0, 0.3, 0.2), outputs, strict=False))


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
@pytest.mark.parametrize("train", [False, True], ids=["eval", "train"])
def test_in_float64(name, train):
    ours, theirs = pair(name, "float64")
    ours.train(train), theirs.train(train)
    x = image(name, "float64")
    y, expected = ours(minidl.tensor(x)), theirs(torch.tensor(x))
    first, other = (v[0] if isinstance(v, tuple) else v for v in (y, expected))
    assert np.allclose(first.detach().numpy(), other.detach().numpy(), rtol=0, atol=1e-9 * float(other.detach().abs().max()))
    total(y).backward()
    total(expected).backward()
    gradients = {key: p.grad for key, p in theirs.named_parameters() if p.grad is not None}
    floor = 1e-12 * max(float(g.norm()) for g in gradients.values())
    for key, p in ours.named_parameters():
        if key in gradients:
            error = np.linalg.norm(p.grad.numpy() - gradients[key].numpy())
            assert error <= max(1e-9 * float(gradients[key].norm()), floor), (key, error)


@pytest.mark.parametrize("name", [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
@pytest.mark.parametrize("train, tolerance", [(False, 1e-4), (True, 2e-3)], ids=["eval", "train"])
def test_logits_in_float32(name, train, tolerance):
    ours, theirs = pair(name, "float32")
    ours.train(train), theirs.train(train)
    x = image(name, "float32")
    y, expected = (v[0] if isinstance(v, tuple) else v for v in (ours(minidl.tensor(x)), theirs(torch.tensor(x))))
    error = np.abs(y.detach().numpy() - expected.detach().numpy()).max()
    assert error <= tolerance * float(expected.detach().abs().max())


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("name", SMALL)
def test_a_file_of_torch_save(tmp_path, name, new):
    """As published weights come: a file that PyTorch wrote, read without it by the constructor."""
    _, theirs = pair(name, "float32")
    torch.save(theirs.state_dict(), tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    ours = getattr(models, name)(num_classes=10, weights=tmp_path / "a.pth").eval()
    x = image(name, "float32")
    y, expected = ours(minidl.tensor(x)).detach().numpy(), theirs.eval()(torch.tensor(x)).detach().numpy()
    assert np.abs(y - expected).max() <= 1e-4 * np.abs(expected).max()


def test_names_of_every_published_model():
    for name in ("alexnet", "vgg11", "vgg13_bn", "vgg19", "resnet34", "resnet152", "googlenet"):
        options = {"init_weights": False} if name == "googlenet" else {}
        with torch.device("meta"):
            theirs = getattr(torchvision().models, name)(**options).state_dict()
        ours = getattr(models, name)().state_dict()
        assert {key: tuple(v.shape) for key, v in theirs.items()} == {key: v.shape for key, v in ours.items()}
