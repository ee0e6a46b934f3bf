"""Read handwritten digits in pictures.

Each picture should show one digit, dark on light or light on dark. It is cropped to the ink, brought to the 8x8 pixels that
the digits were stored with, and enlarged to the 28x28 that the network takes.

examples:
  minidl predict digit.png
  minidl predict *.png --run runs/digits
"""

from pathlib import Path

import numpy as np

from minidl.errors import DataError, require

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
MOST_PIXELS = 64_000_000


def arguments(parser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files")
    parser.add_argument("--run", metavar="RUN", dest="from_run", help="a run folder (default: the LeNet-5 that ships with minidl)")


def run(options) -> None:
    import minidl
    from minidl.models import LeNet5, lenet5
    from minidl.train import RunFolder

    model = lenet5(weights="digits")
    if options.from_run:
        model = LeNet5()
        model.load_state_dict(RunFolder.open(options.from_run).load_checkpoint()["model"])
    model.eval()
    images = [prepare(read_grey(path)) for path in options.images]
    with minidl.no_grad():
        probabilities = minidl.softmax(model(minidl.tensor(np.stack(images))), 1).array
    for path, row in zip(options.images, probabilities, strict=True):
        best = np.argsort(-row, kind="stable")[:3]
        print(f"{path}: {best[0]}  ({', '.join(f'{digit} {row[digit]:.1%}' for digit in best)})")


def read_grey(path) -> np.ndarray:
    """A picture as float32 grey values (H, W) from 0 to 1; transparency on white.

    Raises DataError for files that are missing, no picture, or larger than 64 million pixels.
    """
    pillow = require("PIL.Image", extra="train")
    try:
        with pillow.open(Path(path), formats=FORMATS) as image:
            if image.width * image.height > MOST_PIXELS:
                raise DataError(f"{path}: {image.width} x {image.height} pixels; the limit is {MOST_PIXELS}")
            rgba = image.convert("RGBA")
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise DataError(f"{path}: not a picture that can be read: {error}") from None
    white = pillow.new("RGBA", rgba.size, "white")
    return np.asarray(pillow.alpha_composite(white, rgba).convert("L"), np.float32) / 255


def prepare(grey: np.ndarray) -> np.ndarray:
    """A grey picture as the network's input (1, 28, 28): light ink on dark, cropped, centred, on the digits' scale."""
    from minidl.data.digits import Digits, enlarge

    border = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = np.abs(grey - np.median(border))
    ink = ink / ink.max() if ink.max() > 0.05 else np.zeros_like(ink)
    rows, columns = (np.flatnonzero((ink > 0.3).any(axis)) for axis in (1, 0))
    if len(rows):
        ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    side = max(ink.shape)
    square = np.zeros((side, side), np.float32)
    top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    square[top : top + ink.shape[0], left : left + ink.shape[1]] = ink
    small = _mean_of_cells(square, 8)
    small = small / max(small.max(), 1e-6)
    digits = Digits(train=False, size=28)
    return digits.transform(enlarge(small[None], 28)[None], None)[0].astype(np.float32)


def _mean_of_cells(image: np.ndarray, n: int) -> np.ndarray:
    """The means of n x n equal cells of a square image, cells of fractional size included."""
    side = len(image)
    edges = np.arange(n + 1) * side / n
    cover = np.clip(np.minimum(edges[1:, None], np.arange(side) + 1) - np.maximum(edges[:-1, None], np.arange(side)), 0, 1)
    weights = (cover / cover.sum(1, keepdims=True)).astype(np.float32)
    return weights @ image @ weights.T
