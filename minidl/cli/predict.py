"""Read handwritten digits in pictures.

Each picture should show one digit on an even ground, dark on light or light on dark. It is cropped to the ink and brought to
the size and place that the network was trained on.

examples:
  minidl predict digit.png
  minidl predict *.png --run runs/lenet-mnist
"""

import numpy as np

from minidl.cli.choices import data_class, trained

MOST = 3  # classes named


def arguments(parser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files: PNG, JPEG, BMP, GIF, WebP or PPM")
    parser.add_argument("--run", metavar="RUN", dest="path", help="a run folder (default: the LeNet-5 that ships with minidl)")


def run(options) -> None:
    import minidl
    from minidl.models import lenet5

    model, data = lenet5(weights="digits"), "digits"
    if options.path:
        model, config = trained(options.path)
        data = config["data"]
    classes = data_class(data).classes
    images = minidl.tensor(np.stack([prepare(path, data) for path in options.images]))
    model.eval()
    with minidl.no_grad():
        probabilities = minidl.softmax(model(images), 1).numpy()
    for path, row in zip(options.images, probabilities, strict=True):
        best, *others = np.argsort(-row, kind="stable")[:MOST]
        rest = ", ".join(f"{classes[k]} {100 * row[k]:.1f} %" for k in others)
        print(f"{path}: {classes[best]}  {100 * row[best]:.1f} %  (then {rest})")


def prepare(path, data: str) -> np.ndarray:
    """A picture file as the input (1, 28, 28) of a network that was trained on ``data``."""
    from minidl.data import pictures
    from minidl.data.digits import enlarge

    ink = pictures.find_ink(pictures.read_grey(path))
    image = enlarge(pictures.as_uci(ink)[None], 28)[0] if data == "digits" else pictures.as_mnist(ink)
    cls = data_class(data)
    return (image[None] - np.float32(cls.mean)) / np.float32(cls.std)
