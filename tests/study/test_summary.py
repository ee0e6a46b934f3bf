"""The summary against numbers worked out by hand."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import ShapeError
from minidl.study import summarize

FLOAT, LONG = 4, 8  # bytes


def test_a_few_layers_by_hand():
    """Convolution keeps its input, ReLU its output, which the next layer shares; pooling the places of its winners."""
    model = nn.Sequential(nn.Conv2d(2, 6, (3, 5), padding=(1, 2)), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 4, 3, bias=False))
    conv, relu, pool, last = summarize(model, (7, 2, 8, 12))
    assert (conv.output, conv.parameters) == ((7, 6, 8, 12), 6 * 2 * 3 * 5 + 6)
    assert conv.multiply_adds == 7 * 6 * 8 * 12 * 2 * 3 * 5 and conv.saved_bytes == 7 * 2 * 8 * 12 * FLOAT
    assert relu.saved_bytes == 7 * 6 * 8 * 12 * FLOAT and relu.multiply_adds == 0
    assert pool.output == (7, 6, 4, 6) and pool.saved_bytes == 7 * 6 * 4 * 6 * LONG
    assert last.parameters == 4 * 6 * 9 and last.multiply_adds == 7 * 4 * 2 * 4 * 6 * 9
    assert last.saved_bytes == 7 * 6 * 4 * 6 * FLOAT


def test_groups_and_linear_layers():
    model = nn.Sequential(nn.Conv2d(4, 6, 3, groups=2), nn.Flatten(), nn.Linear(6 * 3 * 5, 9))
    conv, flatten, linear = summarize(model, (2, 4, 5, 7))
    assert conv.multiply_adds == 2 * 6 * 3 * 5 * 2 * 9
    assert linear.multiply_adds == 2 * 90 * 9 and linear.saved_bytes == 2 * 90 * FLOAT
    assert flatten.saved_bytes == 0 and flatten.output == (2, 90)


def test_a_buffer_is_counted_once():
    """Two layers in a row that look at the same input, the second through a view."""

    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(6, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.a(x).sum() + self.b(x.reshape(8, 3)).sum()

    a, b = summarize(Twice(), (4, 6))
    assert a.saved_bytes == 4 * 6 * FLOAT and b.saved_bytes == 0


def test_receptive_field_of_branches():
    """The branch that sees most decides, and a shortcut adds nothing; measured as below, by gradients."""

    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.small = nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.Conv2d(2, 2, 1)
            self.large, self.last = nn.Conv2d(2, 2, 5, padding=2), nn.Conv2d(4, 1, 3, padding=1)

        def forward(self, x):
            x = self.first(x)
            return self.last(minidl.cat([self.large(x), self.small(x) + x], 1))

    model = Branches()
    assert {row.name: row.receptive_field for row in summarize(model, (1, 1, 33, 33))} == {
        "first": 3, "large": 11, "small": 3, "last": 15}
    x = minidl.randn(1, 1, 33, 33, requires_grad=True)
    model(x)[0, 0, 8, 8].backward()
    assert (np.flatnonzero((x.grad.array[0, 0] != 0).any(1)).tolist()) == list(range(16 - 7, 16 + 8))


def test_receptive_field():
    """Measured: the pixels whose gradient at one output is not 0."""
    layers = [nn.Conv2d(1, 2, 3, stride=2), nn.ReLU(), nn.Conv2d(2, 2, 3, dilation=2), nn.AvgPool2d(3, stride=1),
              nn.Conv2d(2, 1, 1)]
    rows = summarize(nn.Sequential(*layers), (1, 1, 41, 41))
    assert [row.receptive_field for row in rows] == [3, 3, 11, 15, 15]
    smooth = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.ReLU)))
    x = minidl.randn(1, 1, 41, 41, requires_grad=True)
    y = smooth(x)
    y[0, 0, y.shape[2] // 2, y.shape[3] // 2].backward()
    seen = x.grad.array[0, 0] != 0
    rows_seen, columns_seen = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert rows_seen[-1] - rows_seen[0] + 1 == columns_seen[-1] - columns_seen[0] + 1 == 15
    assert summarize(nn.Sequential(nn.Conv2d(1, 1, 3), nn.Flatten()), (1, 1, 5, 5))[1].receptive_field is None


def test_the_model_is_left_as_it_was():
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Dropout(0.5))
    model[2].eval()
    before = {name: t.array.copy() for name, t in model.state_dict().items()}
    state = minidl.get_rng_state()
    assert [row.layer for row in summarize(model, (2, 1, 6, 6))] == ["Conv2d", "BatchNorm2d", "Dropout"]
    assert all(np.array_equal(before[name], t.array) for name, t in model.state_dict().items())
    assert minidl.get_rng_state() == state and model.training and not model[2].training
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(ShapeError):
        summarize(model, (2, 5, 6, 6))
    assert not any(module._forward_hooks for module in model.modules())
