"""The learning rate test leaves no trace, and its rule is what it says."""

import numpy as np
import pytest

import minidl
from minidl import nn, optim
from minidl.data import DataLoader, Digits, prefetch
from minidl.errors import DataError, UsageError
from minidl.nn.utils import device_of
from minidl.train.lr_find import lr_find, picture


def parts(make=lambda p: optim.SGD(p, 0.1, momentum=0.9)):
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.2), nn.Linear(16, 10))
    optimizer, loader = make(model.parameters()), DataLoader(Digits(), 32, shuffle=True, seed=3)
    return model, optimizer, loader


def step(model, optimizer, loader):
    images, labels = next(prefetch(loader, device_of(model)))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    optimizer.step()


@pytest.mark.parametrize("make", [lambda p: optim.SGD(p, 0.1, momentum=0.9), lambda p: optim.Adam(p, 0.01)])
def test_everything_is_put_back(make):
    model, optimizer, loader = parts(make)
    step(model, optimizer, loader)
    model[0].eval()
    before = [v.numpy().copy() for v in model.state_dict().values()]
    state = [v.copy() if hasattr(v, "copy") else v for s in optimizer.state.values() for v in s.values()]
    place, rng, grads = loader.state_dict(), minidl.get_rng_state(), [p.grad for p in model.parameters()]
    lr_find(model, optimizer, loader, steps=30)
    assert all(np.array_equal(a, v.numpy()) for a, v in zip(before, model.state_dict().values(), strict=True))
    after = [v for s in optimizer.state.values() for v in s.values()]
    assert all((a == b).all() if hasattr(a, "ndim") else a == b for a, b in zip(state, after, strict=True))
    assert optimizer.param_groups[0]["lr"] in (0.1, 0.01) and loader.state_dict() == place
    assert repr(minidl.get_rng_state()) == repr(rng) and all(a is p.grad for a, p in zip(grads, model.parameters(), strict=True))
    assert model.training and not model[0].training


def test_the_rule():
    found = lr_find(*parts(), low=1e-4, high=100.0, steps=60)
    lowest = found.rates[int(np.argmin(found.losses))]
    assert found.suggestion == lowest / 10 and len(found.rates) < 60  # it blew up before 100
    assert np.allclose(np.diff(np.log(found.rates)), np.log(1e6) / 59)
    assert picture(found).axes[0].get_xscale() == "log"


def test_wrong_calls():
    model, optimizer, loader = parts()
    for options in ({"low": 0.0}, {"low": 1.0, "high": 0.1}, {"steps": 3}, {"high": float("inf")}):
        with pytest.raises(UsageError, match="0 < low < high and at least 10 steps"):
            lr_find(model, optimizer, loader, **options)
    with pytest.raises(DataError, match="no batch"):
        lr_find(model, optimizer, [])
    with minidl.no_grad():
        model[1].weight.copy_(model[1].weight * float("nan"))
    with pytest.raises(DataError, match="not finite at the first batch"):
        lr_find(model, optimizer, loader)
