"""RoI ops against torchvision: roi_align in Python, all of them where its compiled operators load."""

import importlib

import numpy as np
import pytest

import minidl
from tests.parity.vision import compiled, torchvision

torch = pytest.importorskip("torch")


def inputs(dtype):
    """x and boxes in a picture of twice its size: inside and outside, empty, inverted, with edges at halves."""
    random = np.random.default_rng(0)
    boxes = random.uniform(-4, 44, (60, 2, 2))
    boxes = np.concatenate([boxes.min(1), boxes.max(1)], 1)
    boxes[20:30], boxes[30:34, 2:], boxes[34:37] = boxes[20:30].round(), boxes[30:34, :2], boxes[34:37][:, [2, 3, 0, 1]]
    rois = np.concatenate([random.integers(0, 2, (60, 1)), boxes], 1)
    return random.standard_normal((2, 12, 17, 19)).astype(dtype), rois.astype(dtype)


def assert_alike(ours, y, theirs, expected, dtype):
    """Values and gradients."""
    tolerance = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(y.detach().numpy(), expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    if theirs is not None:
        weights = np.random.default_rng(2).standard_normal(y.shape).astype(dtype)
        y.backward(minidl.Tensor(weights))
        expected.backward(torch.tensor(weights))
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=tolerance, atol=10 * tolerance)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("ratio", [-1, 1, 2])
def test_roi_align(ratio, aligned, dtype, backend):
    """torchvision's version in Python knows no samples outside the image and no regions without samples."""
    x, rois = inputs(dtype)
    rois[:, 1:] = rois[:, 1:].clip(0, 34)
    rois = rois[(rois[:, 3] > rois[:, 1]) & (rois[:, 4] > rois[:, 2])]
    torchvision()
    peer = importlib.import_module("torchvision.ops.roi_align")._roi_align.__wrapped__
    ours, theirs = minidl.Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with minidl.use_backend(backend):
        y = minidl.ops.roi_align(ours, minidl.Tensor(rois), (3, 4), 0.5, ratio, aligned)
        assert_alike(ours, y, theirs, peer(theirs, torch.tensor(rois), 0.5, 3, 4, ratio, aligned), dtype)


@pytest.mark.parametrize("backend", ["portable", None])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(("name", "options"), [("roi_pool", ()), ("ps_roi_pool", ()), ("roi_align", (-1, False)),
                                                ("roi_align", (-1, True)), ("roi_align", (2, False)), ("roi_align", (2, True))])
def test_compiled(name, options, dtype, backend):
    peer, (x, rois) = compiled(), inputs(dtype)
    theirs = None if name == "ps_roi_pool" else torch.tensor(x, requires_grad=True)  # its gradient is not that of its values
    expected = getattr(peer, name)(torch.tensor(x) if theirs is None else theirs, torch.tensor(rois), 0.5, 3, 4, *options)
    expected = expected[0] if isinstance(expected, (tuple, list)) else expected
    ours = minidl.Tensor(x, requires_grad=True)
    with minidl.use_backend(backend):
        y = getattr(minidl.ops, name)(ours, minidl.Tensor(rois), (3, 4), 0.5, *options)
        assert_alike(ours, y, theirs, expected, dtype)
