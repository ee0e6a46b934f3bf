"""State dicts: what is in them, and that loading is all or nothing."""

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import CheckpointError, GraphError
from tests.checks import share_memory


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.Linear(4, 5), nn.Identity(), nn.Linear(5, 2, bias=False))
        self.register_buffer("scale", minidl.tensor([2.0]))
        self.register_buffer("count", minidl.tensor(7))
        self.register_buffer("scratch", minidl.zeros(1), persistent=False)
        self.shift = nn.Parameter(minidl.zeros(2))

    def forward(self, x):
        return self.rest(self.first(x)) * self.scale + self.shift


NAMES = ["shift", "scale", "count", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.2.weight"]


def arrays(net):
    return {name: np.array(tensor) for name, tensor in net.state_dict().items()}


def test_state_dict():
    net = Net()
    state = net.state_dict()
    assert list(state) == NAMES and list(net.state_dict(prefix="net."))[3] == "net.first.weight"
    assert not any(tensor.requires_grad for tensor in state.values())
    assert share_memory(state["shift"].array, net.shift.array)


def test_shared_modules_appear_under_each_name():
    layer = nn.Linear(2, 3)
    net = nn.Sequential(layer, layer)
    assert list(net.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert net.load_state_dict(net.state_dict()) == ([], [])


@pytest.mark.parametrize("convert", [lambda t: t, lambda t: t.numpy(), lambda t: np.array(t.numpy(), order="F"),
                                     lambda t: t.numpy().astype(np.float64)])
def test_round_trip(convert):
    a, b = Net(), Net()
    result = b.load_state_dict({name: convert(tensor) for name, tensor in a.state_dict().items()})
    assert result == ([], []) and result.missing_keys == result.unexpected_keys == []
    for name, array in arrays(a).items():
        assert np.array_equal(array, b.state_dict()[name]) and array.dtype == b.state_dict()[name].dtype
        assert not share_memory(a.state_dict()[name].array, b.state_dict()[name].array)


def test_a_state_that_does_not_fit_lists_everything_and_changes_nothing():
    net = Net()
    before = arrays(net)
    state = {name: np.full(tensor.shape, 7.0) for name, tensor in net.state_dict().items()}
    del state["shift"], state["scale"]
    state |= {"extra": np.zeros(1), "rest.1.weight": np.zeros(1), "first.weight": np.zeros((3, 4)), "first.bias": np.zeros(()),
              "rest.0.weight": "text", "rest.0.bias": np.zeros(5, complex), "count": [7]}
    with pytest.raises(CheckpointError) as error:
        net.load_state_dict(state)
    assert str(error.value).splitlines() == [
        "this state does not fit Net:", "  missing: shift, scale", "  unexpected: extra, rest.1.weight",
        "  of another shape: count: expected (), got list, first.weight: expected (4, 3), got (3, 4), "
        "first.bias: expected (4,), got (), rest.0.weight: expected (5, 4), got str, "
        "rest.0.bias: expected (5,), got ndarray complex128"]
    assert all(np.array_equal(before[name], array) for name, array in arrays(net).items())


def test_loading_only_what_is_there():
    net = Net()
    with pytest.raises(CheckpointError, match="expected"):
        net.load_state_dict({"scale": np.zeros(2)}, strict=False)
    result = net.load_state_dict({"scale": np.full(1, 9.0), "extra": np.zeros(1)}, strict=False)
    assert net.scale.item() == 9 and result.unexpected_keys == ["extra"] and len(result.missing_keys) == len(NAMES) - 1


def test_what_is_no_dict():
    with pytest.raises(TypeError, match="expects a dict of tensors or arrays, got Net"):
        Net().load_state_dict(Net())


def test_loading_is_a_write():
    net = Net()
    loss = net(minidl.ones(1, 3)).sum()
    net.load_state_dict(Net().state_dict())
    with pytest.raises(GraphError, match="changed in place"):
        loss.backward()
