"""Deconvnet and occlusion maps, against the same by hand."""

import numpy as np
import pytest

import minidl
from minidl import models, nn
from minidl.errors import ShapeError, UsageError
from minidl.study import deconvnet, occlusion


def chain(seed=0):
    minidl.manual_seed(seed)
    return [nn.Conv2d(2, 3, 3, stride=2, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 4, 2), nn.ReLU()]


def image(height=9, width=13, seed=0):
    return np.random.default_rng(seed).standard_normal((2, height, width)).astype(np.float32)


def transposed(signal, weight, stride, padding, shape):
    """A transposed convolution, pixel by pixel."""
    out = np.zeros((shape[0], shape[1] + 2 * padding, shape[2] + 2 * padding))
    for o, i, j in np.ndindex(signal.shape):
        window = out[:, i * stride : i * stride + weight.shape[2], j * stride : j * stride + weight.shape[3]]
        window += signal[o, i, j] * weight[o]
    return out[:, padding : padding + shape[1], padding : padding + shape[2]]


def unpooled(signal, x):
    """Each value of the pooled signal goes where the maximum of its window was."""
    out = np.zeros(x.shape)
    for c, i, j in np.ndindex(signal.shape):
        window = x[c, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2]
        a, b = np.unravel_index(window.argmax(), window.shape)
        out[c, 2 * i + a, 2 * j + b] += signal[c, i, j]
    return out


@pytest.mark.parametrize("channel", range(4))
def test_projection(channel):
    """Convolution, ReLU, pooling, convolution, ReLU; back by hand."""
    layers, x = chain(), image()
    forward = [minidl.tensor(x[None])]
    with minidl.no_grad():
        for layer in layers:
            forward.append(layer(forward[-1]))
    maps = [t.numpy()[0].astype(float) for t in forward]
    place = np.unravel_index(maps[5][channel].argmax(), maps[5].shape[1:])
    signal = np.zeros_like(maps[5])
    signal[(channel, *place)] = maps[5][(channel, *place)]
    signal = transposed(np.maximum(signal, 0), layers[3].weight.detach().numpy(), 1, 0, maps[3].shape)
    signal = np.maximum(unpooled(signal, maps[2]), 0)
    expected = transposed(signal, layers[0].weight.detach().numpy(), 2, 1, maps[0].shape)
    np.testing.assert_allclose(deconvnet.project(layers, x, 5, channel), expected, rtol=1e-4, atol=1e-6)


def test_the_strongest():
    """By the peak of the map, the strongest first; the model stays as it was."""
    minidl.manual_seed(0)
    model = nn.Module()
    model.features = nn.Sequential(*chain())
    model.train()
    images = np.stack([image(seed=k) for k in range(7)])
    peaks = [deconvnet.activations(chain(), one[None], 4, 1).max() for one in images]
    found = deconvnet.strongest(model, images, 4, 1, count=3, batch_size=3)
    assert [value for value, _, _ in found] == pytest.approx(sorted(peaks, reverse=True)[:3], rel=1e-5)
    np.testing.assert_array_equal(found[0][1], images[int(np.argmax(peaks))])
    assert model.training


def test_what_cannot_be_projected():
    with pytest.raises(UsageError, match="ResNet has none"):
        deconvnet.layers_of(models.resnet18(num_classes=2))
    with pytest.raises(UsageError, match="there are 5 layers, numbered from 1, got 6"):
        deconvnet.activations(chain(), image()[None], 6, 0)
    with pytest.raises(UsageError, match="layer 5 has 4 maps, numbered from 0, got 4"):
        deconvnet.project(chain(), image(), 5, 4)
    with pytest.raises(UsageError, match="layer 5 has 4 maps, numbered from 0, got -1"):
        deconvnet.activations(chain(), image()[None], 5, -1)
    with pytest.raises(ShapeError, match="not maps"):
        deconvnet.activations([nn.Flatten()], image()[None], 1, 0)


def test_a_silent_unit():
    """A unit that nothing excites: an empty picture, and no error."""
    layers = chain()
    with minidl.no_grad():
        layers[3].bias.fill_(-1e6)
    assert not deconvnet.project(layers, image(), 5, 0).any()
    found = {0: [(0.0, np.zeros((3, 5, 5), np.float32), np.zeros((3, 5, 5), np.float32))]}
    assert deconvnet.picture(found, "silent").axes


def test_occlusion():
    """Each place by hand; batches do not matter."""
    minidl.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    x = image(8, 11)
    found = occlusion.occlusion_map(model, x, 2, size=3, stride=2, value=0.5, batch_size=4)
    assert found.shape == (3, 5) and model.training
    for i, j in np.ndindex(found.shape):
        covered = x.copy()
        covered[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] = 0.5
        with minidl.no_grad():
            expected = minidl.softmax(model(minidl.tensor(covered[None])), 1)[0, 2].item()
        assert found[i, j] == pytest.approx(expected, rel=1e-5)
    for size, stride in ((0, 1), (9, 1), (3, 0)):
        with pytest.raises(ShapeError, match=r"does not fit into an image of 8 x 11"):
            occlusion.occlusion_map(model, x, 0, size, stride)


def test_what_matters_is_found():
    """A classifier that reads one corner loses its certainty there and nowhere else."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False))
    with minidl.no_grad():
        model[1].weight.zero_()
        model[1].weight[0, 0] = 9.0
    found = occlusion.occlusion_map(model, np.ones((1, 6, 6), np.float32), 0, size=2, stride=2)
    assert found[0, 0] == pytest.approx(0.5) and found.ravel()[1:].min() > 0.99
    figure = occlusion.picture(np.ones((3, 6, 6), np.float32), found, "corner", 1.0)
    assert len(figure.axes) == 3


def test_a_batch_norm_that_ends_in_a_relu_is_treated_as_the_two():
    minidl.manual_seed(0)
    first, last = nn.Conv2d(1, 3, 3), nn.Conv2d(3, 2, 3)
    plain, fused = nn.BatchNorm2d(3).eval(), nn.BNReLU2d(3).eval()
    image = np.random.default_rng(0).standard_normal((1, 9, 8)).astype(np.float32)
    apart = deconvnet.project([first, plain, nn.ReLU(), last, nn.ReLU()], image, 5, channel=1)
    assert np.array_equal(deconvnet.project([first, fused, last, nn.ReLU()], image, 4, channel=1), apart) and apart.any()
    assert fused.relu
