"""Modules: registration, traversal, state dicts, hooks, copies."""

import copy
import pickle

import numpy as np
import pytest

import minidl
from minidl import nn
from minidl.errors import CheckpointError, ShapeError


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


NAMES = ["shift", "scale", "first.weight", "first.bias", "rest.0.weight", "rest.0.bias", "rest.2.weight"]


def test_registration_and_traversal():
    net = Net()
    assert list(net.state_dict()) == NAMES
    assert [n for n, _ in net.named_parameters()] == [n for n in NAMES if n != "scale"]
    assert [n for n, _ in net.named_buffers()] == ["scale", "scratch"]
    assert [n for n, _ in net.named_modules()] == ["", "first", "rest", "rest.0", "rest.1", "rest.2"]
    assert [n for n, _ in net.named_children()] == ["first", "rest"]
    assert net.get_submodule("rest.2") is net.rest[2] and net.get_parameter("rest.0.bias") is net.rest[0].bias
    with pytest.raises(AttributeError, match="no module 'other'"):
        net.get_submodule("rest.other")
    with pytest.raises(AttributeError, match="no attribute 'missing'"):
        _ = net.missing
    assert "first" in dir(net)


def test_shared_parameters_are_listed_once():
    layer = nn.Linear(2, 2)
    net = nn.Sequential(layer, layer)
    assert len(list(net.parameters())) == 2 and len(net.state_dict()) == 4 - 2


def test_assignment():
    net = Net()
    net.first = None
    assert net.first is None and "first.weight" not in net.state_dict()
    for name, value in (("shift", minidl.zeros(2)), ("rest", 3), ("scale", 1.0)):
        with pytest.raises(TypeError, match=name):
            setattr(net, name, value)
    net.scale = minidl.tensor([3.0])
    assert dict(net.named_buffers())["scale"].item() == 3
    net.shift = nn.Parameter(minidl.ones(2))
    assert net.get_parameter("shift").tolist() == [1, 1]
    del net.shift
    assert "shift" not in net.state_dict()
    with pytest.raises(KeyError, match="dot"):
        net.register_parameter("a.b", nn.Parameter(minidl.zeros(1)))
    with pytest.raises(TypeError):
        net.register_parameter("p", minidl.zeros(1))


def test_forgotten_super_init():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(1, 1)

    with pytest.raises(AttributeError, match=r"super\(\).__init__\(\)"):
        Forgetful()


def test_state_dict_round_trip():
    a, b = Net(), Net()
    assert b.load_state_dict(a.state_dict()) == ([], [])
    x = minidl.ones(1, 3)
    assert minidl.equal(a(x).detach(), b(x).detach())
    b.load_state_dict({name: np.asarray(t) for name, t in a.state_dict().items()})
    assert np.shares_memory(a.state_dict()["shift"].array, a.shift.array)


def test_a_state_that_does_not_fit_lists_everything_and_changes_nothing():
    net = Net()
    before = {name: t.array.copy() for name, t in net.state_dict().items()}
    state = {name: np.full(t.shape, 7.0) for name, t in net.state_dict().items() if name != "shift"}
    state["extra"] = np.zeros(1)
    state["first.weight"] = np.zeros((3, 4))
    with pytest.raises(CheckpointError) as error:
        net.load_state_dict(state)
    assert all(part in str(error.value) for part in ("missing: shift", "unexpected: extra", "expected (4, 3), got (3, 4)"))
    assert all(np.array_equal(before[name], t.array) for name, t in net.state_dict().items())
    state["first.weight"] = np.zeros((4, 3))
    assert net.load_state_dict(state, strict=False) == (["shift"], ["extra"])
    assert net.scale.item() == 7


def test_modes_and_apply():
    net = Net()
    assert net.training and not net.eval().training and not net.rest[0].training
    assert net.train().rest[1].training
    seen = []
    net.apply(lambda m: seen.append(type(m).__name__))
    assert seen == ["Linear", "Linear", "Identity", "Linear", "Sequential", "Net"]
    net.requires_grad_(False)
    assert not any(p.requires_grad for p in net.parameters())


def test_dtypes():
    net = Net()
    net.register_buffer("count", minidl.tensor(3))
    weight = net.first.weight
    net.double()
    assert net.first.weight is weight and weight.dtype == minidl.float64 and net.count.dtype == minidl.int64
    assert net(minidl.ones(1, 3, dtype="float64")).dtype == minidl.float64
    assert net.half().shift.dtype == minidl.float16 and net.to("cpu") is net


def test_zero_grad():
    net = Net()
    net(minidl.ones(1, 3)).sum().backward()
    net.zero_grad(set_to_none=False)
    assert net.shift.grad.tolist() == [0, 0]
    net.zero_grad()
    assert all(p.grad is None for p in net.parameters())


def test_forward_hooks():
    layer = nn.Identity()
    handles = [layer.register_forward_pre_hook(lambda m, args: (args[0] + 1,)),
               layer.register_forward_hook(lambda m, args, out: out * 10)]
    assert layer(minidl.tensor([1.0])).item() == 20
    handles[0].remove()
    assert layer(minidl.tensor([1.0])).item() == 10
    with handles[1]:
        pass
    assert layer(minidl.tensor([1.0])).item() == 1


def test_backward_hooks():
    layer = nn.Linear(2, 3)
    seen = []
    layer.register_full_backward_hook(lambda m, gin, gout: seen.append((gin[0].tolist(), gout[0].tolist())))
    x = minidl.ones(1, 2, requires_grad=True)
    (layer(x * 1) * 2).sum().backward()
    assert seen[0][1] == [[2, 2, 2]] and np.allclose(seen[0][0], 2 * layer.weight.detach().array.sum(0))


def test_copies_and_pickles():
    net = Net()
    twin = copy.deepcopy(net)
    assert twin.first.weight is not net.first.weight and minidl.equal(twin.first.weight, net.first.weight)
    with minidl.no_grad():
        twin.shift.fill_(5)
    assert net.shift.tolist() == [0, 0]
    again = pickle.loads(pickle.dumps(nn.Linear(2, 3)))
    assert isinstance(again.weight, nn.Parameter) and again.weight.requires_grad


def test_containers():
    layers = nn.ModuleList([nn.Linear(1, 2), nn.Linear(2, 3)])
    layers.append(nn.Identity())
    assert len(layers) == 3 and layers[-1] is list(layers)[2] and len(layers[:2]) == 2
    table = nn.ModuleDict({"a": nn.Linear(1, 2)})
    table["b"] = nn.Identity()
    assert list(table) == ["a", "b"] and "a" in table and list(table.state_dict()) == ["a.weight", "a.bias"]
    del table["a"]
    assert list(table.keys()) == ["b"]
    net = nn.Sequential({"one": nn.Identity(), "two": nn.Linear(1, 2)})
    assert [n for n, _ in net.named_children()] == ["one", "two"] and len(net[:1]) == 1
    net[0] = nn.Linear(1, 1)
    assert net.one.weight.shape == (1, 1)


def test_repr():
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.Identity())) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (1): Identity()\n)")


def test_linear():
    layer = nn.Linear(3, 4)
    bound = 1 / np.sqrt(3)
    assert np.abs(layer.weight.array).max() <= bound and np.abs(layer.bias.array).max() <= bound
    assert layer(minidl.ones(2, 5, 3)).shape == (2, 5, 4) and layer(minidl.ones(3)).shape == (4,)
    assert layer(minidl.ones(0, 3)).shape == (0, 4)
    with pytest.raises(ShapeError, match=r"\(2, 4\)"):
        layer(minidl.ones(2, 4))


def test_embedding():
    table = nn.Embedding(5, 3, padding_idx=1)
    assert table.weight.array[1].tolist() == [0, 0, 0]
    table(minidl.tensor([1, 2, 2])).sum().backward()
    assert table.weight.grad.array[:, 0].tolist() == [0, 0, 2, 0, 0]
    for wrong in (5, -1):
        with pytest.raises(IndexError, match="size 5"):
            table(minidl.tensor([wrong]))


def test_clipping():
    p = [minidl.zeros(2, requires_grad=True), minidl.zeros(1, requires_grad=True), minidl.zeros(1, requires_grad=True)]
    p[0].grad, p[1].grad = minidl.tensor([3.0, 0.0]), minidl.tensor([4.0])
    assert nn.utils.clip_grad_norm_(p, 10.0).item() == 5 and p[1].grad.item() == 4
    nn.utils.clip_grad_norm_(iter(p), 1.0)
    assert p[0].grad.array[0] == pytest.approx(0.6, rel=1e-5)
    p[1].grad = minidl.tensor([float("inf")])
    with pytest.raises(minidl.errors.GraphError, match="inf"):
        nn.utils.clip_grad_norm_(p, 1.0, error_if_nonfinite=True)
    nn.utils.clip_grad_value_(p, 0.5)
    assert p[1].grad.item() == 0.5


def test_vectors():
    net = nn.Linear(2, 3)
    vector = nn.utils.parameters_to_vector(net.parameters()).detach()
    assert vector.shape == (9,)
    nn.utils.vector_to_parameters(vector * 0 + 1, net.parameters())
    assert net.bias.tolist() == [1, 1, 1]
    with pytest.raises(ShapeError):
        nn.utils.vector_to_parameters(minidl.zeros(3), net.parameters())
