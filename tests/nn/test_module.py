"""Modules: registration, traversal, modes, dtypes, copies, display."""

import copy
import pickle

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import DtypeError
from tests.checks import share_memory


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(3, 4)
        self.rest = nn.Sequential(nn.Linear(4, 5), nn.Identity(), nn.Linear(5, 2, bias=False))
        self.register_buffer("scale", minidl.tensor([2.0]))
        self.register_buffer("scratch", minidl.zeros(1), persistent=False)
        self.shift = nn.Parameter(minidl.zeros(2))

    def forward(self, x):
        return self.rest(self.first(x)) * self.scale + self.shift


def names(pairs):
    return [name for name, _ in pairs]


def test_traversal_in_order_of_definition():
    net = Net()
    assert names(net.named_parameters()) == ["shift", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias",
                                             "rest.2.weight"]
    assert names(net.named_parameters(prefix="net", recurse=False)) == ["net.shift"]
    assert names(net.named_buffers()) == ["scale", "scratch"]
    assert names(net.named_modules()) == ["", "first", "rest", "rest.0", "rest.1", "rest.2"]
    assert names(net.named_children()) == ["first", "rest"]
    assert list(net.modules())[1] is net.first and list(net.children())[1] is net.rest
    assert list(net.parameters())[0] is net.shift and list(net.buffers())[0] is net.scale


def test_what_is_shared_is_listed_once():
    layer, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.weight = layer.weight
    net = nn.Sequential(layer, layer, other)
    assert names(net.named_parameters()) == ["0.weight", "0.bias", "2.bias"]
    assert names(net.named_children()) == ["0", "2"] and names(net.named_modules()) == ["", "0", "2"]
    assert names(net.named_modules(remove_duplicate=False)) == ["", "0", "1", "2"]


def test_lookup_by_path():
    net = Net()
    assert net.get_submodule("rest.2") is net.rest[2] and net.get_submodule("") is net
    assert net.get_parameter("rest.0.bias") is net.rest[0].bias and net.get_buffer("scale") is net.scale
    for missing, message in [(lambda: net.get_submodule("rest.other"), "Sequential has no module 'other'"),
                             (lambda: net.get_parameter("rest.2.bias"), "Linear has no parameter 'bias'"),
                             (lambda: net.get_buffer("shift"), "Net has no buffer 'shift'"),
                             (lambda: net.missing, "'Net' has no attribute 'missing'$")]:
        with pytest.raises(AttributeError, match=message):
            missing()
    assert {"first", "scale", "shift", "training"} <= set(dir(net))


def test_assigning_what_fits_keeps_the_place():
    net = Net()
    net.first = nn.Linear(3, 4, bias=False)
    net.scale = minidl.tensor([3.0])
    net.shift = nn.Parameter(minidl.ones(2))
    assert names(net.named_children()) == ["first", "rest"] and names(net.named_buffers()) == ["scale", "scratch"]
    assert net.get_buffer("scale").item() == 3 and net.get_parameter("shift").tolist() == [1, 1]
    net.first = net.scale = net.shift = None
    assert net.first is None and net.scale is None and net.shift is None
    assert names(net.named_parameters(recurse=False)) == [] and names(net.named_children()) == ["rest"]
    net.shift = nn.Parameter(minidl.ones(2))
    assert names(net.named_parameters(recurse=False)) == ["shift"]


@pytest.mark.parametrize("name, value, expected", [
    ("shift", minidl.zeros(2), "an nn.Parameter or None, got Tensor"), ("rest", 3, "an nn.Module or None, got int"),
    ("scale", 1.0, "a Tensor or None, got float")])
def test_assigning_what_does_not_fit(name, value, expected):
    net = Net()
    before = getattr(net, name)
    with pytest.raises(TypeError, match=f"'{name}' must be {expected}"):
        setattr(net, name, value)
    assert getattr(net, name) is before


def test_a_name_can_change_its_kind_by_assigning_a_parameter_or_module():
    net = Net()
    net.plain = 3
    net.plain = nn.Identity()
    net.scale = nn.Parameter(minidl.ones(1))
    net.scratch = nn.Parameter(minidl.ones(1))
    net.shift = nn.Identity()
    assert "scratch" in net.state_dict()
    assert names(net.named_children()) == ["first", "rest", "plain", "shift"] and "plain" not in vars(net)
    assert names(net.named_parameters(recurse=False)) == ["scale", "scratch"] and not names(net.named_buffers())


def test_deleting():
    net = Net()
    del net.shift, net.first, net.scratch
    assert not hasattr(net, "shift") and not hasattr(net, "first")
    net.register_buffer("scratch", minidl.zeros(1))
    assert "scratch" in net.state_dict()  # persistent again
    with pytest.raises(AttributeError):
        del net.shift


def test_registering():
    net = Net()
    net.register_module("extra", None)
    net.add_module("extra", nn.Identity())
    assert isinstance(net.extra, nn.Identity)
    with pytest.raises(KeyError, match="dot, got 'a.b'"):
        net.register_parameter("a.b", nn.Parameter(minidl.zeros(1)))
    with pytest.raises(KeyError, match="empty"):
        net.register_buffer("", minidl.zeros(1))
    for taken in ("forward", "training", "shift", "first"):
        with pytest.raises(KeyError, match=f"Net already has an attribute '{taken}'"):
            net.register_buffer(taken, minidl.zeros(1))
    for register, value, expected in [(net.register_parameter, minidl.zeros(1), "an nn.Parameter"),
                                      (net.register_buffer, [1.0], "a Tensor"), (net.register_module, print, "an nn.Module")]:
        with pytest.raises(TypeError, match=f"'new' must be {expected} or None"):
            register("new", value)


def test_forgotten_super_init():
    class Forgetful(nn.Module):
        def __init__(self, value):
            self.layer = value

    for value in (nn.Linear(1, 1), nn.Parameter(minidl.zeros(1))):
        with pytest.raises(AttributeError, match=r"Forgetful: call super\(\).__init__\(\) before assigning 'layer'"):
            Forgetful(value)
    with pytest.raises(AttributeError, match=r"was super\(\).__init__\(\) called"):
        Forgetful(3)(1)


def test_a_module_without_forward():
    with pytest.raises(NotImplementedError, match="Module has no forward"):
        nn.Module()(1)


def test_modes_and_apply():
    net = Net()
    assert net.training and net.eval() is net and not net.training and not net.rest[0].training
    assert net.train().rest[1].training
    with pytest.raises(TypeError, match="expects a bool, got list"):
        net.train([1, 2])
    seen = []
    assert net.apply(lambda m: seen.append(type(m).__name__)) is net
    assert seen == ["Linear", "Linear", "Identity", "Linear", "Sequential", "Net"]
    assert not any(p.requires_grad for p in net.requires_grad_(False).parameters())


def test_dtypes():
    net = Net()
    net.register_buffer("count", minidl.tensor(70_001))
    weight = net.first.weight
    net(minidl.ones(1, 3)).sum().backward()
    assert net.double() is net and net.first.weight is weight and weight.dtype == weight.grad.dtype == minidl.float64
    assert net(minidl.ones(1, 3, dtype="float64")).dtype == minidl.float64
    net.half()
    assert net.shift.dtype == minidl.float16 and net.count.dtype == minidl.int64
    assert net.count.item() == 70_001  # float16 ends at 65,504: the count was never cast
    assert net.float().scale.dtype == minidl.float32 and net.to("cpu") is net and net.cpu() is net
    net.to(minidl.zeros(1, dtype="float64"))
    assert net.scale.dtype == minidl.float64
    with pytest.raises(DtypeError, match="floating-point dtypes only, got int32"):
        net.to("int32")


def test_zero_grad():
    net = Net()
    net(minidl.ones(1, 3)).sum().backward()
    net.shift.grad.fill_(float("nan"))
    net.zero_grad(set_to_none=False)
    assert net.shift.grad.tolist() == [0, 0]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_deepcopy():
    net = Net()
    net.tied = net.first
    twin = copy.deepcopy(net)
    assert twin.tied is twin.first is not net.first and twin.first.weight is not net.first.weight
    assert minidl.equal(twin.first.weight, net.first.weight)
    with minidl.no_grad():
        twin.shift.fill_(5)
    assert net.shift.tolist() == [0, 0] and twin(minidl.zeros(1, 3)).shape == (1, 2)


def test_pickle():
    net = nn.Sequential(nn.Linear(2, 3), nn.Embedding(4, 2))
    net[0].weight.requires_grad = False
    again = pickle.loads(pickle.dumps(net))
    assert isinstance(again[0].weight, nn.Parameter)
    assert not again[0].weight.requires_grad and again[0].bias.requires_grad
    assert all(np.array_equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))


def test_parameter():
    source = minidl.ones(2)
    p = nn.Parameter(source)
    assert isinstance(p, minidl.Tensor) and share_memory(p.array, source.array)
    assert p.requires_grad and p.is_leaf and not nn.Parameter(source, requires_grad=False).requires_grad
    assert nn.Parameter(p * 2).is_leaf and repr(p) == f"Parameter containing:\n{p.detach().requires_grad_()!r}"
    with pytest.raises(DtypeError, match="int64"):
        nn.Parameter(minidl.tensor([1]))


def test_repr():
    class Described(nn.Module):
        def extra_repr(self):
            return "one,\ntwo"

    net = nn.Sequential(nn.Linear(2, 3), Described())
    assert repr(net) == ("Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n"
                         "  (1): Described(\n    one,\n    two\n  )\n)")
