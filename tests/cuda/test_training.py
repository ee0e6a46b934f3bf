"""Training, checkpoints, study tools and commands on a GPU, real or pretended, give what they give on the CPU."""

import json
import math

import numpy as np
import pytest

import minidl
from minidl import cuda, nn, optim
from minidl.cli import main
from minidl.data import DataLoader, Digits, Subset
from minidl.kernels.cuda import launch
from minidl.kernels.recording import recordable
from minidl.models.classify import transfer
from minidl.nn.utils import device_of
from minidl.study import occlusion, record
from minidl.train import DivergedError, RunFolder, Trainer, evaluate
from minidl.train.lr_find import lr_find

pytestmark = pytest.mark.skipif(not cuda.is_available(), reason="run with --device pretend, or cuda")
CLOSE = dict(rtol=1e-4, atol=1e-5)  # float32 sums in another order, over some steps


def network(device) -> nn.Sequential:
    minidl.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 13), nn.BatchNorm1d(13), nn.ReLU(), nn.Dropout(0.1),
                         nn.Linear(13, 10)).to(device)


def trainer(device, path, **options) -> Trainer:
    train = DataLoader(Subset(Digits(), range(90)), 20, shuffle=True, seed=1)
    model = network(device)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    return Trainer(model, optimizer, train, DataLoader(Subset(Digits(train=False), range(30)), 20), path, **options)


def metrics(run: Trainer) -> np.ndarray:
    names = ("train_loss", "train_accuracy", "test_loss", "test_accuracy")
    return np.array([[row[name] for name in names] for row in run.history])


def test_the_same_training(tmp_path):
    """Dropout's masks, which come from one generator, included."""
    here, there = (trainer(device, RunFolder(tmp_path / device).create({})) for device in ("cpu", "cuda"))
    assert (here.device.type, there.device.type) == ("cpu", "cuda")
    for run in (here, there):
        minidl.manual_seed(5)
        run.fit(2)
    np.testing.assert_allclose(metrics(there), metrics(here), **CLOSE)
    for ours, its in zip(here.model.parameters(), there.model.parameters(), strict=True):
        assert its.device.type == "cuda" and its.grad.device.type == "cuda"
        np.testing.assert_allclose(its.detach().numpy(), ours.detach().numpy(), **CLOSE)
    assert all(path.stat().st_size > 0 for path in (tmp_path / "cuda").iterdir())


@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"amp": "fp16"}])
def test_captured_steps_train_to_the_same_bits(tmp_path, options):
    """With a smaller last batch, and continued after the first epoch; each epoch is recorded anew."""
    def fitted(name, epochs, **more):
        run = trainer("cuda", RunFolder(tmp_path / name).create({}), **options, **more)
        minidl.manual_seed(5)
        run.fit(epochs)
        return run

    with recordable():  # the same kernels
        plain = fitted("plain", 2)
    straight = fitted("straight", 2, captured=True)
    fitted("parts", 1, captured=True)
    resumed = trainer("cuda", RunFolder(tmp_path / "parts").open(), **options, captured=True)
    resumed.resume()
    resumed.fit(2)
    for run in (straight, resumed):
        np.testing.assert_array_equal(metrics(run)[:, :2], metrics(plain)[:, :2])  # tests may use other kernels
        for p, expected in zip(run.model.state_dict().values(), plain.model.state_dict().values(), strict=True):
            np.testing.assert_array_equal(p.numpy(), expected.numpy())


def test_a_captured_step_that_overflows_leaves_no_trace_in_running_statistics(tmp_path):
    run = trainer("cuda", RunFolder(tmp_path).create({}), amp="fp16", captured=True)
    overflows, seen = iter((False, True, False, True)), []  # at a replay, and in a first call of another shape

    class Spoilt(nn.Module):
        def forward(self, x):
            return x * factor

    factor = minidl.ones((), device="cuda")
    run.model = nn.Sequential(Spoilt(), *run.model)
    overflowed = run._overflowed

    def watched(loss):
        found = overflowed(loss)
        seen.append(found)
        factor.fill_(math.inf if next(overflows, False) else 1.0)
        return found

    run._overflowed = watched
    assert math.isfinite(run.fit(1)["test_loss"])
    assert seen == [False, False, True, False, True]
    assert all(np.isfinite(buffer.numpy()).all() for buffer in run.model.buffers())


@pytest.mark.parametrize(("first", "then"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_run_goes_on_elsewhere(tmp_path, first, then):
    minidl.manual_seed(5)
    straight = trainer("cpu", RunFolder(tmp_path / "straight").create({}))
    straight.fit(2)
    minidl.manual_seed(5)
    trainer(first, RunFolder(tmp_path / "cut").create({})).fit(1)
    resumed = trainer(then, RunFolder(tmp_path / "cut").open())
    resumed.resume()
    resumed.fit(2)
    assert device_of(resumed.model).type == then
    np.testing.assert_allclose(metrics(resumed), metrics(straight), **CLOSE)


def test_divergence_is_found_late_but_found(tmp_path):
    """On a GPU losses are read ten times in a second; what was trained meanwhile is not kept."""
    run = trainer("cuda", RunFolder(tmp_path).create({}), loss=lambda output, labels: output.sum() * float("nan"))
    with pytest.raises(DivergedError, match="became nan in epoch 1"):
        run.fit(1)
    assert run.epoch == 0 and run.history == []


def test_the_rate_test_leaves_all_as_it_was():
    run = trainer("cuda", None)
    before = {name: value.numpy().copy() for name, value in run.model.state_dict().items()}
    found = lr_find(run.model, run.optimizer, run.train, steps=10)
    assert len(found.rates) == 10
    assert all(np.array_equal(before[name], value.numpy()) for name, value in run.model.state_dict().items())


def test_evaluation_returns_numpy():
    found = evaluate(network("cuda"), DataLoader(Subset(Digits(train=False), range(30)), 20))
    expected = evaluate(network("cpu"), DataLoader(Subset(Digits(train=False), range(30)), 20))
    assert type(found["probabilities"]) is type(found["labels"]) is np.ndarray
    np.testing.assert_allclose(found["probabilities"], expected["probabilities"], **CLOSE)
    assert np.array_equal(found["labels"], expected["labels"]) and found["loss"] == pytest.approx(expected["loss"], 1e-5)


def test_probabilities_of_mixed_precision_are_float32():
    with minidl.autocast("cuda"):
        found = evaluate(network("cuda"), DataLoader(Subset(Digits(train=False), range(30)), 20))
    assert found["probabilities"].dtype == np.float32
    np.testing.assert_allclose(found["probabilities"].sum(1), 1, rtol=1e-6)


def test_saved_on_a_gpu_loaded_without_one(tmp_path):
    model = network("cuda")
    minidl.save(model.state_dict(), tmp_path / "weights.safetensors")
    found = minidl.load(tmp_path / "weights.safetensors")
    assert all(value.device.type == "cpu" for value in found.values())
    minidl.save({"all": [model.state_dict(), {"step": 3}]}, tmp_path / "nested.safetensors")
    nested = minidl.load(tmp_path / "nested.safetensors", map_location="cuda")["all"]
    assert nested[1] == {"step": 3} and all(value.device.type == "cuda" for value in nested[0].values())
    other = network("cpu")
    other.load_state_dict(nested[0])
    assert all(np.array_equal(found[name].numpy(), value.numpy()) for name, value in other.state_dict().items())


def test_moving_a_module_keeps_its_parameters():
    """The optimizer holds the same objects before and after; gradients move along."""
    model = network("cpu")
    parameters, optimizer = list(model.parameters()), optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(minidl.ones(3, 64, device="cpu")).sum().backward()
    assert model.cuda() is model and [id(p) for p in model.parameters()] == [id(p) for p in parameters]
    assert all(p.device.type == p.grad.device.type == "cuda" for p in parameters)
    assert all(buffer.device.type == "cuda" for buffer in model.buffers())
    optimizer.step()
    assert all(state["momentum_buffer"].device.type == "cuda" for state in optimizer.state_dict()["state"].values())
    assert device_of(model.cpu()).type == "cpu"


def test_features_are_computed_where_the_model_is():
    data = Subset(Digits(), range(17))
    there, here = transfer.extract(network("cuda"), data, batch_size=8), transfer.extract(network("cpu"), data, batch_size=8)
    np.testing.assert_allclose(there.features, here.features, **CLOSE)
    model = transfer.replace_head(network("cuda"), 3)
    assert all(p.device.type == "cuda" for p in model.parameters())


def test_occlusion():
    bright = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2)).to("cuda")
    image = np.random.default_rng(0).random((1, 6, 8), np.float32)
    found = occlusion.occlusion_map(bright, image, 0, size=2, stride=2)
    np.testing.assert_allclose(found, occlusion.occlusion_map(bright.to("cpu"), image, 0, size=2, stride=2), **CLOSE)


def test_explanations_are_of_the_cpu():
    layer = nn.Linear(3, 2).to("cuda")
    with record(layer) as seen:
        y = layer(minidl.ones(1, 3, device="cuda", requires_grad=True))
        y.sum().backward()
    explained = seen[0].explain((0, 1))
    assert explained.total == pytest.approx(y[0, 1].item(), rel=1e-5) and len(explained.terms) == 4
    assert seen[0].explain_gradient((0, 2)).total == pytest.approx(layer.weight.sum(0)[2].item(), rel=1e-5)


def test_commands(tmp_path, capsys):
    """Train, evaluate and predict; the run remembers its device, and the default device is then what it was."""
    before = minidl.get_default_device()
    assert main(["train", "lenet", "--overfit", "3", "--epochs", "1", "--batch-size", "60", "--device", "cuda", "--out",
                 str(tmp_path / "run")]) == 0
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    versions = json.loads((tmp_path / "run" / "versions.json").read_text())
    assert config["device"] == "cuda" and cuda.get_device_name() in versions["gpu"]
    assert minidl.get_default_device() == before
    assert main(["train", "lenet", "--resume", str(tmp_path / "run"), "--epochs", "1", "--device", "cpu"]) == 0
    assert main(["info"]) == 0
    assert cuda.get_device_name() in capsys.readouterr().out


@pytest.mark.parametrize("command", [
    ["train", "lenet"], ["eval", "nowhere"], ["predict", "nothing.png"], ["lr-find", "lenet"], ["compare", "alexnet"],
    ["experiment", "windows"], ["look", "nowhere"]])
@pytest.mark.parametrize(("device", "message"), [("gpu", "unknown device 'gpu'"), ("cuda:99", "there is no GPU 99")])
def test_devices_that_are_not_there(tmp_path, monkeypatch, capsys, command, device, message):
    monkeypatch.chdir(tmp_path)
    assert main([*command, "--device", device]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize("make", [
    lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True), lambda p: optim.AdamW(p, 0.01), lambda p: optim.Adadelta(p, 0.5),
    lambda p: optim.RMSprop(p, 0.01, momentum=0.5, centered=True)])
def test_an_optimizer_follows_its_parameters(make):
    """To the GPU after the second step and back after the fourth, as if nothing had been moved."""
    found = []
    for places in (["cpu"] * 6, ["cpu", "cpu", "cuda", "cuda", "cpu", "cpu"]):
        layer = network("cpu")[1]
        optimizer = make(layer.parameters())
        for number, place in enumerate(places):
            layer.to(place)
            optimizer.zero_grad()
            (layer(minidl.full((2, 64), 0.1 * number, device=place)) ** 2).sum().backward()
            optimizer.step()
        assert all(value.device.type == "cpu" for state in optimizer.state_dict()["state"].values()
                   for value in state.values() if isinstance(value, minidl.Tensor))
        found.append(layer.weight.detach().numpy())
    np.testing.assert_allclose(found[1], found[0], **CLOSE)


@pytest.mark.parametrize("build", [lambda p: minidl.optim.SGD(p, lr=0.5), lambda p: minidl.optim.Adam(p, lr=0.5)])
def test_parameters_without_axes(build):
    p = minidl.ones((), device="cuda").requires_grad_()
    (p * 2).backward()
    build([p]).step()
    assert p.shape == () and p.item() in (0.0, pytest.approx(0.5))


def test_a_kernel_is_looked_up_once(monkeypatch):
    minidl.nn.functional.dropout(minidl.ones(4, device="cuda"))
    monkeypatch.setattr(launch, "_first", None)
    for _ in range(2):
        minidl.nn.functional.dropout(minidl.ones(4, device="cuda"))
