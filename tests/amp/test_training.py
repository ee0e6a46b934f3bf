"""A network of LeNet's kind learns the digits as well in mixed precision as in float32."""

import pytest

import minidl
from minidl import nn, optim
from minidl.amp import GradScaler
from minidl.data import DataLoader, Digits
from minidl.train import evaluate
from tests.checks import DEVICE


def accuracy(low=None):
    """On the test images, after eight epochs; ``low`` is the dtype of autocast."""
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.Tanh(), nn.Flatten(),
                          nn.Linear(64, 40), nn.Tanh(), nn.Linear(40, 10))
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)
    scaler = GradScaler(DEVICE, init_scale=2.0**40, enabled=low == "float16")  # large enough to overflow at first
    for _ in range(8):
        for images, labels in DataLoader(Digits(), 32, shuffle=True, seed=0):
            optimizer.zero_grad()
            with minidl.autocast(DEVICE, low, enabled=low is not None):
                loss = nn.functional.cross_entropy(model(images.to(DEVICE)), labels.to(DEVICE))
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
    assert {p.dtype for p in model.parameters()} == {minidl.float32}
    if low == "float16":
        assert 1 < scaler.get_scale() < 2.0**40
    return evaluate(model, DataLoader(Digits(train=False), 100))["accuracy"]


@pytest.mark.parametrize("low", ["bfloat16", "float16"])
def test_to_the_same_accuracy(low):
    if low == "bfloat16":
        pytest.importorskip("ml_dtypes")
    plain = accuracy()
    assert plain > 0.9 and accuracy(low) > plain - 0.02  # seven of 360 images; other seeds make such differences, too
