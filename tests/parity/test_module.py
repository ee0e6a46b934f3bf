"""Modules, containers and hooks against PyTorch: names, order, display, and what hooks see."""

import warnings

import numpy as np
import pytest

import minidl
from minidl import nn

torch = pytest.importorskip("torch")
BOTH = [(minidl, nn), (torch, torch.nn)]


def build(library, layers):
    """The same model from either library."""

    class Block(layers.Module):
        def __init__(self, size):
            super().__init__()
            self.scale = layers.Parameter(library.ones(size))
            self.register_buffer("count", library.zeros(1))
            self.register_buffer("scratch", library.zeros(1), persistent=False)
            self.inner = layers.Sequential(layers.Linear(size, size + 1), layers.Flatten(), layers.Identity())
            self.register_parameter("absent", None)

        def forward(self, x):
            return self.inner(x * self.scale)

    class Net(layers.Module):
        def __init__(self):
            super().__init__()
            self.blocks = layers.ModuleList([Block(3), Block(4)])
            self.table = layers.ModuleDict({"head": layers.Linear(5, 2, bias=False), "rows": layers.Embedding(5, 2, 1)})
            self.tied = self.table["head"]
            self.nothing = None

        def extra_repr(self):
            return "a net"

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return self.tied(x)

    return Net()


def pair():
    ours, theirs = (build(*library) for library in BOTH)
    ours.load_state_dict({name: tensor.numpy() for name, tensor in theirs.state_dict().items()})
    return ours, theirs


def test_names_and_order():
    ours, theirs = pair()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for listing, options in [("named_parameters", {"prefix": "x"}), ("named_parameters", {"recurse": False}),
                             ("named_buffers", {}), ("named_modules", {"prefix": "x"}),
                             ("named_modules", {"remove_duplicate": False}), ("named_children", {})]:
        found, expected = ([name for name, _ in getattr(net, listing)(**options)] for net in (ours, theirs))
        assert found == expected, (listing, options)


def test_display():
    ours, theirs = pair()
    assert repr(ours) == repr(theirs)
    for index in (0, 1):
        assert repr(ours.blocks[index]) == repr(theirs.blocks[index])


def test_output_and_gradients():
    ours, theirs = pair()
    x = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    y, z = ours(minidl.tensor(x)), theirs(torch.tensor(x))
    (y**2).sum().backward()
    (z**2).sum().backward()
    assert np.allclose(y.detach().array, z.detach().numpy(), rtol=1e-5, atol=1e-6)
    for (name, p), t in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if t.grad is None:
            assert p.grad is None, name
        else:
            assert np.allclose(p.grad.array, t.grad.numpy(), rtol=1e-4, atol=1e-6), name


def traced(library, layers, inputs, replace):
    """What every kind of hook sees on a module with two tensor inputs and two outputs, and the inputs' gradients."""

    class Mix(layers.Module):
        def forward(self, x, factor, y):
            return x * y * factor, y**2

    def plain(values):
        return [value.detach().tolist() if hasattr(value, "detach") else value for value in values]

    def wanted(gradients):  # PyTorch also gives gradients of tensors that want none
        x, factor, y = plain(gradients)
        return [x if inputs[0][1] else None, factor, y if inputs[1][1] else None]

    module, seen = Mix(), []
    module.register_forward_pre_hook(lambda m, args: seen.append(["pre", plain(args)]))
    module.register_forward_hook(lambda m, args, out: seen.append(["forward", plain(args), plain(out)]))
    module.register_full_backward_hook(lambda m, gin, gout: seen.append(["backward", wanted(gin), plain(gout)]))
    if replace:
        module.register_full_backward_hook(lambda m, gin, gout: tuple(None if g is None else g * 3 for g in gin))
        module.register_full_backward_hook(lambda m, gin, gout: seen.append(["again", wanted(gin)]))
    x, y = (library.tensor(values, requires_grad=wants) for values, wants in inputs)
    a, b = module(x, 2.0, y)
    (a.sum() * 5 + (b.sum() if b.requires_grad else 0)).backward()
    return seen, [None if t.grad is None else t.grad.tolist() for t in (x, y)]


@pytest.mark.parametrize("wants", [(True, True), (True, False), (False, True)])
@pytest.mark.parametrize("replace", [False, True])
def test_hooks(wants, replace):
    inputs = list(zip(([1.0, 2.0], [3.0, 4.0]), wants, strict=True))
    ours, theirs = (traced(*library, inputs, replace) for library in BOTH)
    assert ours == theirs and any(entry[0] == "backward" for entry in ours[0])


def test_hooks_without_an_input_that_wants_a_gradient():
    seen = []
    for library, layers in BOTH:
        module, found = layers.Linear(2, 1, bias=False), []
        module.register_full_backward_hook(lambda m, gin, gout, found=found: found.append((gin, gout[0].tolist())))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PyTorch warns that no input requires a gradient
            (module(library.ones(1, 2)) * 3).sum().backward()
        seen.append(found)
    assert seen[0] == seen[1] == [((None,), [[3.0]])]
