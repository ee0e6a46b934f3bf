"""Sequential, ModuleList, ModuleDict."""

import pytest

import minidl
from minidl import nn


def layers(*sizes):
    return [nn.Linear(n, n + 1) for n in sizes]


def keys(container):
    return [name for name, _ in container.named_children()]


@pytest.mark.parametrize("make", [lambda modules: nn.Sequential(*modules), nn.ModuleList])
def test_ordered(make):
    a, b, c, d = layers(1, 2, 3, 4)
    found = make([a, b])
    assert found.append(c) is found and found.extend([d]) is found and len(found) == 4
    assert list(found) == [a, b, c, d] and found[-1] is d and found[1] is b
    assert list(found.state_dict())[2:4] == ["1.weight", "1.bias"]
    part = found[1:3]
    assert type(part) is type(found) and list(part) == [b, c]
    found[-1] = a
    assert found[3] is a
    del found[0]
    assert list(found) == [b, c, a] and keys(found) == ["0", "1", "2"]
    assert found.insert(0, d) is found and found.insert(-1, d) is found
    assert list(found) == [d, b, c, d, a]
    assert found.pop(1) is b and found.pop() is a
    del found[1:]
    assert list(found) == [d] and keys(found) == ["0"]
    for index in (1, -2):
        with pytest.raises(IndexError):
            found[index]
        with pytest.raises(IndexError):
            found[index] = a
    with pytest.raises(TypeError, match="must be an nn.Module or None, got int"):
        found.append(3)


def test_extending_by_itself_ends():
    a, b = layers(1, 2)
    assert list(nn.ModuleList([a, b]).extend(iter([b]))) == [a, b, b]
    both = nn.ModuleList([a, b])
    assert list(both.extend(both)) == [a, b, a, b]


def test_sequential():
    first, second = layers(2, 3)
    x = minidl.ones(5, 2)
    assert minidl.equal(nn.Sequential(first, second)(x), second(first(x))) and nn.Sequential()(x) is x
    net = nn.Sequential({"one": first, "two": second})
    assert keys(net) == ["one", "two"] and net.two is second and keys(net[1:]) == ["two"]
    net[0] = nn.Identity()
    assert isinstance(net.one, nn.Identity)
    with pytest.raises(KeyError, match="forward"):
        nn.Sequential({"forward": first})


def test_a_slice_of_a_subclass_is_a_sequential():
    class Block(nn.Sequential):
        def __init__(self, size):
            super().__init__(nn.Linear(size, size), nn.Identity())

    assert type(Block(3)[:1]) is nn.Sequential


def test_module_list_computes_nothing():
    with pytest.raises(NotImplementedError, match="ModuleList has no forward"):
        nn.ModuleList()(minidl.ones(1))


def test_module_dict():
    a, b = layers(1, 2)
    table = nn.ModuleDict([("a", a)])
    table["b"] = b
    table.update({"c": a})
    assert list(table) == list(table.keys()) == ["a", "b", "c"] and list(table.values()) == [a, b, a]
    assert len(table) == 3 and "b" in table and "d" not in table and table["b"] is b and dict(table.items())["c"] is a
    assert list(table.state_dict())[:2] == ["a.weight", "a.bias"]
    del table["a"]
    assert table.pop("b") is b and list(table) == ["c"]
    table.clear()
    assert len(table) == 0 and not list(table.parameters())
    for missing in (lambda: table["a"], lambda: table.pop("a"), lambda: table.__delitem__("a")):
        with pytest.raises(KeyError):
            missing()
    with pytest.raises(KeyError, match="keys"):
        table["keys"] = a
