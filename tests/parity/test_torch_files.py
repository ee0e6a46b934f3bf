"""Files that PyTorch itself wrote, read without it: every tensor, in both formats."""

import numpy as np
import pytest

import minidl
from tests.parity.vision import torch


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(3, 4, (3, 2)), torch.nn.BatchNorm2d(4), torch.nn.ReLU(), torch.nn.Flatten(),
                               torch.nn.Linear(16, 5))


def same(found, expected) -> None:
    """Our tensors against PyTorch's, in containers."""
    if isinstance(expected, torch.Tensor):
        wanted = expected.detach().float() if expected.dtype == torch.bfloat16 else expected.detach()
        assert found.shape == tuple(wanted.shape) and str(found.dtype) == str(wanted.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(found.numpy(), wanted.numpy())
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            same(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected) and len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    else:
        assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_checkpoint(tmp_path, new):
    """Weights, a state of an optimizer, and whatever else people save."""
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    model(torch.randn(2, 3, 4, 3)).sum().backward()
    optimizer.step()
    big = torch.arange(24.0).reshape(4, 6)
    saved = {
        "model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 7, "rate": 1e-3,
        "name": "n\u00e4me", "none": None,
        "list": [1, -2, 300, 70_000, 2**40, -(2**70), True, 1.5], "tuple": (1, (2, 3), (4, 5, 6), (7, 8, 9, 10), ()),
        "views": [big, big.t(), big[1:3, ::2], big[0, 0]], "parameter": torch.nn.Parameter(torch.ones(2, 3)),
        "dtypes": [torch.ones(3, dtype=dtype) for dtype in (
            torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
            torch.bool)],
        "empty": [torch.empty(0), torch.empty(0, 3), torch.tensor(5)],
    }
    torch.save(saved, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    same(minidl.load(tmp_path / "a.pth"), saved)


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_a_whole_model_is_refused(tmp_path, new):
    torch.save(network(), tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    with pytest.raises(minidl.errors.CheckpointError, match="the file names torch.nn.modules.container.Sequential"):
        minidl.load(tmp_path / "a.pth")
