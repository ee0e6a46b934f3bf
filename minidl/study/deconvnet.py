"""What excites a unit: the images that do so most, and what of them reaches the unit, projected back to pixels.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (ECCV 2014), section 2.1. One activation is
kept and goes back through the layers: through max pooling to where the maximum was (the switches), through ReLU with negative
values cut off, through a convolution by its transpose. The first and the last are what backpropagation does; only ReLU is
treated otherwise: backward the signal is rectified, and not where the forward pass was.
"""

from collections.abc import Sequence
from copy import copy

import numpy as np

from minidl import nn
from minidl.autograd import grad
from minidl.errors import ShapeError, UsageError
from minidl.nn.utils import device_of, preserved
from minidl.study.occlusion import visible
from minidl.study.pictures import figure_of
from minidl.tape import enable_grad, no_grad
from minidl.tensor import tensor


def layers_of(model) -> Sequence[nn.Module]:
    """The chain of layers up to a model's maps; raises UsageError for a model that is no chain."""
    layers = getattr(model, "features", None)
    if not isinstance(layers, nn.Sequential):
        raise UsageError("a deconvnet needs a chain of layers, as the features of AlexNet, ZFNet or VGG are; "
                         f"{type(model).__name__} has none")
    return list(layers)


def activations(layers: Sequence[nn.Module], images: np.ndarray, depth: int, channel: int) -> np.ndarray:
    """One map (N, H, W) after the first ``depth`` layers, for images as the model reads them.

    Raises UsageError for a layer or a map that is not there, ShapeError for a layer that gives no maps.
    """
    return _forward(layers, images, depth, channel)[-1].numpy()[:, channel]


def _forward(layers: Sequence[nn.Module], images: np.ndarray, depth: int, channel: int) -> list:
    """The images, and what each of the first ``depth`` layers made of them."""
    if not 1 <= depth <= len(layers):
        raise UsageError(f"there are {len(layers)} layers, numbered from 1, got {depth}")
    found = [tensor(images, device=device_of(nn.Sequential(*layers)))]
    with no_grad():
        for layer in layers[:depth]:
            found.append(layer(found[-1]))
    if found[-1].ndim != 4:
        raise ShapeError(f"layer {depth} gives {found[-1].shape}, not maps (N, C, H, W)")
    if not 0 <= channel < found[-1].shape[1]:
        raise UsageError(f"layer {depth} has {found[-1].shape[1]} maps, numbered from 0, got {channel}")
    return found


def project(layers: Sequence[nn.Module], image: np.ndarray, depth: int, channel: int) -> np.ndarray:
    """What of an image (C, H, W) makes the strongest activation of a map after ``depth`` layers: (C, H, W), in pixels.

    Raises as ``activations``.

    >>> layers = [nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2)]
    >>> project(layers, np.ones((1, 8, 8), np.float32), 3, channel=1).shape
    (1, 8, 8)
    """
    inputs = _forward(layers, image[None], depth, channel)
    maps = inputs[-1].numpy()
    signal = np.zeros_like(maps)
    place = np.unravel_index(maps[0, channel].argmax(), maps.shape[2:])
    signal[(0, channel, *place)] = maps[(0, channel, *place)]
    back = tensor(signal, device=inputs[-1].device)
    for layer, x in zip(layers[:depth][::-1], inputs[-2::-1], strict=True):
        if isinstance(layer, nn.ReLU):
            back = back.relu()
            continue
        if isinstance(layer, nn.BNReLU2d):  # a ReLU, and the batch norm before it
            back, layer = back.relu(), copy(layer)
            layer.relu = False
        with enable_grad():
            x = x.detach()
            x.requires_grad = True
            back, = grad(layer(x), x, back)
    return back.numpy()[0]


def strongest(model, images: np.ndarray, depth: int, channel: int, count: int, batch_size: int = 50) -> list[tuple]:
    """The ``count`` images with the strongest activations of a map, each with its projection: (activation, image, projection)."""
    layers = layers_of(model)
    with preserved(model):
        model.eval()
        peaks = np.concatenate([activations(layers, images[start : start + batch_size], depth, channel).max((1, 2))
                                for start in range(0, len(images), batch_size)])
        best = np.argsort(-peaks, kind="stable")[:count]
        return [(float(peaks[k]), images[k], project(layers, images[k], depth, channel)) for k in best]


def picture(found: dict[int, list[tuple]], title: str):
    """A row for each channel: its strongest images, and under each what of it the unit saw, cut out around it."""
    count = max(map(len, found.values()))
    figure = figure_of(1.2 * count + 0.5, 2.5 * len(found) + 0.4)
    figure.suptitle(title, fontsize=10)
    grid = figure.subplots(2 * len(found), count, squeeze=False)
    for row, (channel, rows) in enumerate(found.items()):
        for column, (_, image, projection) in enumerate(rows):
            part = _around(projection)
            grid[2 * row, column].imshow(visible(image[part]))
            limit = float(np.abs(projection).max()) or 1.0
            grid[2 * row + 1, column].imshow((projection[part] / limit / 2 + 0.5).transpose(1, 2, 0))
        grid[2 * row, 0].set_ylabel(f"map {channel}", fontsize=9)
    for axes in grid.flat:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _around(projection: np.ndarray) -> tuple:
    """The part of the image where a projection is not 0: what the unit can see."""
    rows, columns = (np.flatnonzero(np.abs(projection).sum((0, axis)) > 0) for axis in (2, 1))
    if not len(rows):
        return (slice(None),) * 3
    return slice(None), slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
