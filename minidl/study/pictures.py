"""Pictures of the inside of a network, as matplotlib figures: filters, feature maps, gradients, the im2col matrix.

Numbers are coloured by sign: red above 0, blue below, white at 0; one scale holds for the whole picture.
"""

import numpy as np

from minidl.errors import GraphError, ShapeError, require
from minidl.tensor import Tensor

MOST_PLANES = 64
COLUMNS_IN_A_ROW = 8


def figure_of(width: float, height: float, layout: str | None = "constrained"):
    """An empty figure, in inches, that belongs to no window."""
    return require("matplotlib.figure", extra="train").Figure(figsize=(width, height), layout=layout)


def filters(weight: np.ndarray):
    """First-layer filters (O, C, KH, KW): three channels as colours, others as their mean."""
    title = f"{len(weight)} first-layer filters of {weight.shape[2]}x{weight.shape[3]}"
    if weight.shape[1] != 3:
        return planes(weight.mean(1), title)
    limit = float(np.abs(weight).max()) or 1.0
    return _tiles([(kernel / limit / 2 + 0.5).transpose(1, 2, 0) for kernel in weight], title)[0]


def feature_maps(op, image: int = 0):
    """The channels that a recorded op made of one image.

    Raises ShapeError unless the op's output is (N, C, H, W), IndexError for an image that is not in the batch.
    """
    maps = _images_of(op, op.outputs[0], image)
    return planes(maps, f"{op.module or op.name}: {len(maps)} feature maps of {maps.shape[1]}x{maps.shape[2]}")


def gradient_maps(op, image: int = 0):
    """The gradient that came back to each channel of a recorded op's output.

    Raises GraphError before the backward pass, and as ``feature_maps``.
    """
    if op.output_gradients is None or op.output_gradients[0] is None:
        raise GraphError(f"no gradient has come to {op.name}: call backward() inside the recording")
    maps = _images_of(op, op.output_gradients[0], image)
    return planes(maps, f"{op.module or op.name}: gradients of {len(maps)} feature maps")


def columns(op, image: int = 0):
    """The im2col matrix of a convolution recorded under ``use_backend("portable")``: a row for each place in the window, a
    column for each place of the window.

    Raises GraphError if there is none, IndexError for an image that is not in the batch.
    """
    if op.columns is None:
        raise GraphError(f"{op.name} has no im2col matrix: record a convolution inside minidl.use_backend('portable')")
    matrix = Tensor(op.columns[image]).numpy()
    figure = figure_of(9, min(6.0, max(2.2, 9 * matrix.shape[0] / matrix.shape[1] + 1.0)))
    axes = figure.add_subplot()
    axes.imshow(matrix, aspect="auto", **_signed(float(np.abs(matrix).max())))
    axes.set_title(f"{op.module or op.name}: the windows of image {image} as {matrix.shape[1]} columns", loc="left", fontsize=10)
    axes.set_xlabel("window (i, j), row by row", fontsize=9)
    axes.set_ylabel("place in the window", fontsize=9)
    axes.tick_params(labelsize=8)
    return figure


def planes(maps: np.ndarray, title: str):
    """Planes (C, H, W) side by side, at most 64 of them."""
    limit = float(np.abs(maps[:MOST_PLANES]).max(initial=0))
    figure, grid, drawn = _tiles(maps, title, **_signed(limit))
    if drawn:
        figure.colorbar(drawn[0], ax=grid, fraction=0.02, pad=0.02).ax.tick_params(labelsize=7, length=2)
    return figure


def _tiles(images, title, **options):
    """Images of one size in rows: figure, axes and what was drawn."""
    shown = images[:MOST_PLANES]
    across = min(len(shown), COLUMNS_IN_A_ROW) or 1
    down = max(1, -(-len(shown) // across))
    height = 1.1 * shown[0].shape[0] / shown[0].shape[1] if len(shown) else 1.1
    figure = figure_of(1.1 * across + 0.9, height * down + 0.7)
    figure.suptitle(title if len(shown) == len(images) else f"{title} (the first {len(shown)})", fontsize=10)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    return figure, grid, [axes.imshow(image, **options) for axes, image in zip(grid.flat, shown, strict=False)]


def _signed(limit: float) -> dict:
    """Colours by sign, for values from -limit to limit."""
    return dict(cmap="RdBu_r", vmin=-limit or -1, vmax=limit or 1, interpolation="nearest")


def _images_of(op, array, image) -> np.ndarray:
    if array.ndim != 4:
        raise ShapeError(f"{op.name} made an array of shape {array.shape}: only images (N, C, H, W) can be drawn")
    return Tensor(array[image]).numpy()
