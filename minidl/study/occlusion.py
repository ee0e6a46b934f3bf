"""What a classifier looks at: its probability for a class while a grey square covers one part of the image after the other.

Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks" (ECCV 2014), section 4.2, figure 6.
"""

import numpy as np

from minidl.errors import ShapeError
from minidl.nn.utils import device_of, preserved
from minidl.ops.softmax import softmax
from minidl.study.pictures import figure_of
from minidl.tape import no_grad
from minidl.tensor import tensor


def occlusion_map(model, image: np.ndarray, label: int, size: int, stride: int, value: float = 0.0,
                  batch_size: int = 32) -> np.ndarray:
    """The probability of class ``label`` for each place of a square of ``size`` pixels, moved by ``stride``.

    ``image`` (C, H, W) is as the model reads it; covered pixels become ``value``, where 0 is the mean colour of normalised
    images. Returns (rows, columns). Raises ShapeError for a square that does not fit.

    >>> from minidl import nn
    >>> bright = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 2))
    >>> occlusion_map(bright, np.ones((1, 6, 8), np.float32), 0, size=2, stride=2).shape
    (3, 4)
    """
    height, width = image.shape[1:]
    if not 1 <= size <= min(height, width) or stride < 1:
        raise ShapeError(f"a square of {size}, moved by {stride}, does not fit into an image of {height} x {width}")
    tops, lefts = range(0, height - size + 1, stride), range(0, width - size + 1, stride)
    places, found = [(top, left) for top in tops for left in lefts], []
    device = device_of(model)
    with preserved(model), no_grad():
        model.eval()
        for start in range(0, len(places), batch_size):
            chosen = places[start : start + batch_size]
            covered = np.repeat(image[None], len(chosen), 0)
            for one, (top, left) in zip(covered, chosen, strict=True):
                one[:, top : top + size, left : left + size] = value
            found.append(softmax(model(tensor(covered, device=device)), 1).numpy()[:, label])
    return np.concatenate(found).reshape(len(tops), len(lefts))


def picture(image: np.ndarray, probabilities: np.ndarray, title: str, whole: float):
    """The image beside the map: dark where covering the image there costs the class its probability; ``whole`` is uncovered."""
    figure = figure_of(8, 3.8)
    left, right = figure.subplots(1, 2)
    left.imshow(visible(image))
    left.set_title(f"{title}: {100 * whole:.0f} %", loc="left", fontsize=10)
    shown = right.imshow(100 * probabilities, cmap="viridis", vmin=0, vmax=100)
    right.set_title("its probability, %, with a square over this place", loc="left", fontsize=10)
    figure.colorbar(shown, ax=right, shrink=0.85)
    for axes in (left, right):
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def visible(image: np.ndarray) -> np.ndarray:
    """An image (C, H, W) of any range as (H, W, C) from 0 to 1, for drawing."""
    low, high = float(image.min()), float(image.max())
    return ((image - low) / ((high - low) or 1)).transpose(1, 2, 0)
