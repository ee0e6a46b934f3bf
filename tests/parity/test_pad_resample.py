"""Padding and resampling against PyTorch."""

import numpy as np
import pytest

import minidl

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pads", [(1, 2), (2, 1, 0, 2)])
def test_pad(mode, pads):
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5) if len(pads) == 4 else (2, 4, 5))
    assert np.array_equal(minidl.pad(minidl.Tensor(x), pads, mode).array,
                          torch.nn.functional.pad(torch.tensor(x), pads, mode).numpy())


@pytest.mark.parametrize("options", [{"size": (5, 3)}, {"size": 7}, {"scale_factor": 1.7}, {"scale_factor": (0.6, 2.0)}])
@pytest.mark.parametrize("mode, corners", [("nearest", None), ("bilinear", False), ("bilinear", True)])
def test_interpolate(options, mode, corners):
    array = np.random.default_rng(0).standard_normal((2, 3, 4, 6))
    x, t = minidl.Tensor(array, requires_grad=True), torch.tensor(array, requires_grad=True)
    y = minidl.interpolate(x, **options, mode=mode, align_corners=corners)
    ty = torch.nn.functional.interpolate(t, **options, mode=mode, align_corners=corners)
    assert np.allclose(y.detach().array, ty.detach().numpy(), rtol=1e-10, atol=1e-12)
    g = np.random.default_rng(1).standard_normal(y.shape)
    y.backward(minidl.Tensor(g))
    ty.backward(torch.tensor(g))
    assert np.allclose(x.grad.array, t.grad.numpy(), rtol=1e-10, atol=1e-12)
