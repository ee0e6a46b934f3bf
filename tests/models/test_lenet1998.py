"""LeNet-5 of 1998: the paper's counts, its loss, and curvatures against exact second derivatives."""

import math

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.autograd import grad, gradcheck
from minidl.cli import main
from minidl.errors import UsageError
from minidl.models import LeNet5Of1998
from minidl.models.classify import lenet1998
from minidl.models.classify.lenet1998 import (
    RBF,
    DiagonalLevenbergMarquardt,
    PartialConv2d,
    ScaledTanh,
    Subsampling,
    bitmaps,
    curvatures,
    discriminative_loss,
    global_rate,
    input_coding,
)


def connections(model, image) -> int:
    """Every weight and bias, counted once for each place where it is used."""
    total, x = 0, image
    for layer in model.layers:
        y = layer(x)
        places = y.numel() // y.shape[1]
        if isinstance(layer, Subsampling):
            total += 5 * y.numel()  # four inputs and a bias, as the paper counts
        elif not isinstance(layer, (ScaledTanh, nn.Flatten)):
            total += places * sum(p.numel() for p in layer.parameters())
        x = y
    return total + 840


def test_the_papers_counts():
    model = LeNet5Of1998()
    layers = (model.c1, model.s2, model.c3, model.s4, model.c5, model.f6)
    counts = [sum(p.numel() for p in layer.parameters()) for layer in layers]
    assert counts == [156, 12, 1516, 32, 48_120, 10_164] and sum(counts) == 60_000
    assert connections(model, minidl.zeros(1, 1, 32, 32)) == 340_908
    assert [row for row in model.state_dict() if "bitmaps" in row] == ["output.bitmaps"]


def test_each_map_of_c3_reads_the_maps_of_table_1():
    layer = PartialConv2d(6, lenet1998.C3_INPUTS, 5)
    x = minidl.randn(1, 6, 14, 14, requires_grad=True)
    for o, expected in enumerate(lenet1998.C3_INPUTS):
        (gx,) = grad(layer(x)[0, o].sum(), x)
        assert tuple(np.flatnonzero(gx.numpy()[0].any((1, 2)))) == expected
    assert sum(map(len, lenet1998.C3_INPUTS)) == 60
    full = layer.full_weight(layer.weight).detach().numpy()
    naive = layer.bias.detach().numpy()[3] + sum((x.detach().numpy()[0, c, 2:7, 4:9] * full[3, c]).sum() for c in (3, 4, 5))
    assert layer(x)[0, 3, 2, 4].item() == pytest.approx(naive, abs=1e-5)


def test_subsampling_adds_scales_and_shifts():
    layer, x = Subsampling(3), minidl.randn(2, 3, 4, 6)
    w, b = (p.detach().numpy()[1, 0, 0] for p in (layer.weight, layer.bias))
    assert layer(x)[1, 1, 1, 2].item() == pytest.approx(float(w * x.numpy()[1, 1, 2:4, 4:6].sum() + b), abs=1e-5)


def test_bitmaps_are_ten_different_characters_of_7x12():
    found = bitmaps()
    assert found.shape == (10, 84) and set(np.unique(found)) == {-1.0, 1.0}
    distances = ((found[:, None] - found) ** 2).sum(2)
    assert (distances + 1000 * np.eye(10)).min() >= 16


def test_input_coding():
    image = np.zeros((1, 1, 28, 28), np.uint8)
    image[0, 0, 3, 4] = 255
    coded = input_coding(image)
    assert coded.shape == (1, 1, 32, 32)
    assert coded[0, 0, 5, 6] == pytest.approx(1.175) and coded[0, 0, 0, 0] == pytest.approx(-0.1)


def test_the_loss_is_equation_9():
    y, label, j = np.array([3.0, 0.5, 7.0]), 2, 0.3
    expected = y[label] + math.log(math.exp(-j) + np.exp(-y).sum())
    found = discriminative_loss(minidl.tensor(-y[None]), minidl.tensor([label]), j)
    assert found.item() == pytest.approx(expected)


def test_the_squash_has_the_right_gradient():
    assert gradcheck(ScaledTanh(), minidl.tensor([0.3, -2.0, 1.0], dtype=minidl.float64, requires_grad=True))
    assert minidl.autograd.gradgradcheck(ScaledTanh(), minidl.tensor([0.3, -2.0], dtype=minidl.float64, requires_grad=True))


# Curvatures: under a loss sum(h a²) / 2, whose second derivatives for a layer's outputs a are h alone, the rules are exact.


def exact_diagonal(function, p):
    """The diagonal of the Hessian of a scalar, element by element."""
    (g,) = grad(function(), p, create_graph=True)
    flat = g.reshape(-1)
    return np.array([grad(flat[i], p, retain_graph=True)[0].numpy().reshape(-1)[i] for i in range(flat.numel())]).reshape(p.shape)


@pytest.mark.parametrize("make, shape", [
    (lambda: nn.Conv2d(2, 3, 5), (2, 2, 7, 6)), (lambda: PartialConv2d(3, ((0, 1), (1, 2), (0, 1, 2)), 5), (2, 3, 6, 7)),
    (lambda: nn.Linear(5, 4), (3, 5)), (lambda: Subsampling(3), (2, 3, 4, 6)), (nn.Flatten, (2, 3, 2, 2))])
def test_curvatures_of_a_layer_are_exact(make, shape):
    minidl.manual_seed(0)
    layer, x = make().to(minidl.float64), minidl.randn(*shape, dtype=minidl.float64, requires_grad=True)
    h = minidl.rand(*layer(x).shape, dtype=minidl.float64)

    def loss():
        a = layer(x)
        return (h * a * a).sum() / 2

    with minidl.no_grad():
        of_parameters, of_input = lenet1998._through(layer, x, h)
    assert set(of_parameters) == set(layer.parameters())
    for p, found in of_parameters.items():
        assert np.allclose(found.numpy().reshape(p.shape), exact_diagonal(loss, p))
    assert np.allclose(of_input.numpy(), exact_diagonal(loss, x))


def test_curvature_of_the_squash_leaves_out_the_second_derivative():
    x, h = minidl.randn(4, 3, dtype=minidl.float64), minidl.rand(4, 3, dtype=minidl.float64)
    slope = 1.7159 * 2 / 3 / np.cosh(2 / 3 * x.numpy()) ** 2
    assert np.allclose(lenet1998._through(ScaledTanh(), x, h)[1].numpy(), h.numpy() * slope**2)


def test_curvature_of_the_loss_is_exact():
    minidl.manual_seed(0)
    output = RBF().to(minidl.float64)
    x = (output.bitmaps[:3] * 0.9 + 0.1 * minidl.randn(3, 84, dtype=minidl.float64)).detach().requires_grad_()
    near = (output.bitmaps[2] + output.bitmaps[3]) / 2
    x.data[1] = near  # two classes that compete
    labels = minidl.tensor([0, 3, 2])
    for j in (0.1, 30.0):
        exact = exact_diagonal(lambda j=j: discriminative_loss(-output(x), labels, j) * 3, x)
        assert np.allclose(lenet1998._of_loss(output, x.detach(), labels, j).numpy(), exact, atol=1e-8)
    assert np.ptp(exact[1]) > 1


def test_curvatures_of_the_network_are_means_over_samples():
    minidl.manual_seed(0)
    model, x, labels = LeNet5Of1998(), minidl.randn(4, 1, 32, 32), minidl.tensor([1, 7, 0, 0])
    found = curvatures(model, x, labels)
    assert set(found) == set(model.parameters()) and all((h >= 0).all() for h in found.values())
    single = [curvatures(model, x[i : i + 1], labels[i : i + 1]) for i in range(4)]
    for p, h in found.items():
        assert h.shape == p.shape and np.allclose(h, sum(one[p] for one in single) / 4, rtol=1e-4, atol=1e-9)


def test_the_optimizers_options():
    p = nn.Parameter(minidl.ones(2))
    for options in ({"lr": -1.0}, {"mu": 0.0}):
        with pytest.raises(UsageError):
            DiagonalLevenbergMarquardt([p], **options)
    rates = {0: 5e-4, 2: 2e-4, 4: 2e-4, 5: 1e-4, 7: 1e-4, 8: 5e-5, 11: 5e-5, 12: 1e-5, 30: 1e-5}
    assert {epoch: global_rate(epoch) for epoch in rates} == rates


def test_the_command_line(tmp_path, capsys):
    command = ["train", "lenet-1998", "--data", "digits", "--out", str(tmp_path / "run"), "--seed", "0"]
    assert main([*command, "--epochs", "2"]) == 0
    accuracy = float(capsys.readouterr().out.splitlines()[-1].split()[2])
    assert accuracy > 80
    assert main(["train", "lenet-1998", "--resume", str(tmp_path / "run"), "--epochs", "3"]) == 0
    assert main(["eval", str(tmp_path / "run")]) == 0
    assert float(capsys.readouterr().out.splitlines()[-1].split()[2]) > accuracy - 5
    assert main([*command, "--lr", "0.1", "--augment"]) == 2
    assert "lenet-1998 has a recipe of its own, without --lr, --augment" in capsys.readouterr().err
    with pytest.raises(UsageError, match="bitmaps for the ten digits; the data have 3 classes"):
        lenet1998.build(3)
