"""Explanations: shown terms add up to the recorded number, forward and backward, for every kind of layer."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.nn import functional as F
from minidl.study import record

LABELS = minidl.tensor([2, 0, 1])
CASES = {
    "conv": ((2, 4, 7, 6), lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2), groups=2)),
    "conv without bias": ((2, 3, 5, 4), lambda: nn.Conv2d(3, 2, 3, padding=1, bias=False)),
    "transposed conv": ((2, 4, 3, 5), lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, groups=2, bias=False)),
    "linear": ((3, 5), lambda: nn.Linear(5, 4)),
    "max pool": ((2, 3, 7, 6), lambda: nn.MaxPool2d(3, 2, padding=1)),
    "adaptive max pool": ((2, 3, 7, 5), lambda: nn.AdaptiveMaxPool2d((3, 2))),
    "average pool": ((2, 3, 7, 6), lambda: nn.AvgPool2d((2, 3), 2, padding=1)),
    "relu": ((3, 4), nn.ReLU),
    "leaky relu": ((3, 4), lambda: nn.LeakyReLU(0.1)),
    "tanh": ((3, 4), nn.Tanh),
    "sigmoid": ((3, 4), nn.Sigmoid),
    "softplus": ((3, 4), nn.Softplus),
    "batch norm": ((4, 3, 2, 5), lambda: nn.BatchNorm2d(3)),
    "batch norm with relu": ((4, 3, 2, 5), lambda: nn.BNReLU2d(3)),
    "batch norm in evaluation": ((4, 3, 2, 5), lambda: nn.BatchNorm2d(3).eval()),
    "group norm": ((3, 4, 2, 5), lambda: nn.GroupNorm(2, 4)),
    "layer norm": ((3, 5), lambda: nn.LayerNorm(5)),
    "local response norm": ((2, 6, 3, 2), lambda: nn.LocalResponseNorm(5, alpha=0.5)),
    "dropout": ((3, 40), lambda: nn.Dropout(0.4)),
    "dropout of channels": ((3, 8, 2, 2), lambda: nn.Dropout2d(0.4)),
    "cross-entropy": ((3, 4), lambda: lambda x: F.cross_entropy(x, LABELS)),
    "cross-entropy with everything": ((3, 4), lambda: lambda x: F.cross_entropy(
        x, LABELS, weight=minidl.tensor([1.0, 2.0, 0.5, 1.0]), ignore_index=0, label_smoothing=0.1)),
    "cross-entropy of pixels, unreduced": ((3, 4, 2), lambda: lambda x: F.cross_entropy(
        x, minidl.tensor([[0, 1], [2, 3], [1, 1]]), reduction="none")),
    "cross-entropy, summed": ((3, 4), lambda: lambda x: F.cross_entropy(x, LABELS, reduction="sum")),
}


def recorded(name):
    """The op that does the work, after a backward pass from random gradients."""
    shape, make = CASES[name]
    minidl.manual_seed(3)
    layer, x = make(), minidl.randn(*shape, requires_grad=True)
    with record(layer if isinstance(layer, nn.Module) else nn.Identity()) as seen:
        y = layer(x)
        y.backward(minidl.randn(*y.shape))
    return max(seen, key=lambda op: len(op.kernels))


def some(shape, count=6):
    random = np.random.default_rng(len(shape))
    return {tuple(int(random.integers(0, n)) for n in shape) for _ in range(count)}


def close(explanation):
    scale = max(1.0, sum(abs(term.value) for term in explanation.terms))
    return abs(explanation.total - explanation.recorded) <= 1e-5 * scale


@pytest.mark.parametrize("name", CASES)
def test_terms_of_the_output_add_up(name):
    op = recorded(name)
    for index in some(op.outputs[0].shape):
        explanation = op.explain(index)
        assert close(explanation), explanation
        assert explanation.recorded == pytest.approx(float(op.outputs[0][index]))
        for term in explanation.terms:
            assert term.value == pytest.approx(np.prod(term.factors), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_terms_of_each_gradient_add_up(name):
    op = recorded(name)
    checked = 0
    for i, gx in enumerate(op.input_gradients):
        for index in some(gx.shape) if gx is not None else ():
            explanation = op.explain_gradient(index, i)
            assert close(explanation), explanation
            assert explanation.recorded == float(gx[index])
            checked += len(explanation.terms)
    assert checked


def test_a_convolution_names_pixels_and_weights():
    op = recorded("conv")
    x, w, b = op.inputs
    terms = {term.text: term for term in op.explain((1, 4, 0, 2)).terms}
    assert len(terms) == 2 * 3 * 2 + 1
    assert terms["b[4]"].value == b[4]
    assert terms["padding * w[4,1,0,0]"].value == 0
    assert terms["x[1,3,1,4] * w[4,1,2,1]"].factors == pytest.approx((x[1, 3, 1, 4], w[4, 1, 2, 1]))
    assert terms["x[1,2,0,2] * w[4,0,1,0]"].factors == pytest.approx((x[1, 2, 0, 2], w[4, 0, 1, 0]))


def test_a_pixel_gets_a_term_from_every_window_that_saw_it():
    conv, x = nn.Conv2d(1, 2, 3), minidl.randn(1, 1, 5, 6, requires_grad=True)
    with record(conv) as seen:
        conv(x).backward(minidl.ones(1, 2, 3, 4))
    explanation = seen[0].explain_gradient((0, 0, 2, 1))
    names = {term.text for term in explanation.terms}
    assert names == {f"dy[0,{o},{i},{j}] * w[{o},0,{2 - i},{1 - j}]" for o in (0, 1) for i in (0, 1, 2) for j in (0, 1)}
    weights = conv.weight.detach().numpy()
    assert all(term.factors[1] == pytest.approx(weights[eval(term.text.split("w")[1].replace("[", "(").replace("]", ")"))])
               for term in explanation.terms)
    corner = seen[0].explain_gradient((0, 0, 0, 0))
    assert len(corner.terms) == 2


def test_the_gradient_of_a_weight_names_pixels():
    op = recorded("conv")
    explanation = op.explain_gradient((4, 1, 2, 1), 1)
    term = next(term for term in explanation.terms if term.text.startswith("dy[1,4,0,2]"))
    assert term.text == "dy[1,4,0,2] * x[1,3,1,4]"
    assert term.factors == pytest.approx((op.output_gradients[0][1, 4, 0, 2], op.inputs[0][1, 3, 1, 4]))


def test_winners_and_losers():
    x = minidl.tensor([[[[1.0, 7.0], [7.0, 2.0]]]], requires_grad=True)
    with record(nn.Identity()) as seen:
        F.max_pool2d(x, 2).sum().backward()
    terms = seen[0].explain((0, 0, 0, 0)).terms
    assert [term.text.split()[-1] for term in terms] == ["lost", "won", "lost", "lost"]
    assert [term.value for term in terms] == [0, 7, 0, 0]
    assert seen[0].explain_gradient((0, 0, 0, 1)).total == 1 and not seen[0].explain_gradient((0, 0, 1, 0)).terms


def test_printed():
    op = recorded("linear")
    lines = str(op.explain((1, 2))).splitlines()
    assert lines[0].startswith("y[1,2] = ") and "the sum of 6 terms" in lines[0]
    assert lines[1].split()[:3] == ["x[1,0]", "*", "w[2,0]"] and lines[-1].split()[0] == "b[2]"
    assert "smaller terms" in str(recorded("conv").explain_gradient((0, 0, 1, 0), 1))
