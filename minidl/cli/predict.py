"""Name what pictures show.

Without --run, LeNet-5 reads handwritten digits: each picture should show one digit on an even ground, dark on light or light on
dark. It is cropped to the ink and brought to the size and place that the network was trained on. A run that was trained on colour
pictures names the classes it was trained on.

examples:
  minidl predict digit.png
  minidl predict *.png --run runs/lenet-mnist
  minidl predict cat.jpg --run runs/alexnet-imagenette
  minidl predict cat.jpg --model resnet18 --weights imagenet
"""

import numpy as np

from minidl.cli.choices import MODELS, architecture, build, device_option, one_of, trained, use_device
from minidl.errors import UsageError

MOST = 3  # classes named


def arguments(parser) -> None:
    parser.add_argument("images", nargs="+", metavar="IMAGE", help="picture files: PNG, JPEG, BMP, GIF, WebP or PPM")
    parser.add_argument("--run", metavar="RUN", dest="path", help="a run folder (default: the LeNet-5 that ships with minidl)")
    parser.add_argument("--model", metavar="MODEL", help=f"with --weights, in place of a run: one of {', '.join(MODELS)}")
    parser.add_argument("--weights", metavar="imagenet|FILE",
                        help="published weights, downloaded at first, or a file of weights for ImageNet's thousand classes")
    device_option(parser)


def run(options) -> None:
    import minidl

    use_device(options.device)
    model, config = _chosen(options)
    images = minidl.tensor(np.stack([prepare(path, config) for path in options.images]))
    model.eval()
    with minidl.no_grad():
        probabilities = minidl.softmax(model(images), 1).numpy()
    classes = config["classes"]
    for path, row in zip(options.images, probabilities, strict=True):
        best, *others = np.argsort(-row, kind="stable")[:MOST]
        rest = ", ".join(f"{classes[k]} {100 * row[k]:.1f} %" for k in others)
        print(f"{path}: {classes[best]}  {100 * row[best]:.1f} %  (then {rest})")


def _chosen(options) -> tuple:
    """Model and configuration."""
    from minidl.data.imagenet import class_names
    from minidl.models import lenet5

    if (options.model is None) != (options.weights is None) or options.path and options.model:
        raise UsageError("give --run, or --model and --weights together, or none of them")
    if options.path:
        return trained(options.path)
    if options.model:
        if MODELS[one_of(options.model, MODELS, "model")].input_shape[0] != 3:
            raise UsageError(f"--weights are for networks of ImageNet's classes, {options.model} is none")
        config = {"model": options.model, "data": "imagenet", "classes": class_names()}
        return build(options.model, weights=options.weights), config
    return lenet5(weights="digits"), {"model": "lenet", "data": "digits", "classes": [str(digit) for digit in range(10)]}


def prepare(path, config: dict) -> np.ndarray:
    """A picture file as the input (C, H, W) of the network of a run."""
    from minidl.data.image import read_image

    module, (channels, size, _) = architecture(config["model"]), MODELS[config["model"]].input_shape
    if channels == 3:
        return module.inputs(size)(read_image(path)[None])[0]
    return _handwriting(path, config["data"], getattr(module, "input_coding", None))


def _handwriting(path, data: str, coding) -> np.ndarray:
    """A handwritten digit as the network reads one: by a coding of its own, or as its data set is normalised."""
    from minidl.data import MNIST, Digits, FashionMNIST, pictures
    from minidl.data.digits import enlarge

    ink = pictures.find_ink(pictures.read_grey(path))
    image = enlarge(pictures.as_uci(ink)[None], 28)[0] if data == "digits" else pictures.as_mnist(ink)
    if coding is not None:
        return coding(image[None, None])[0]
    source = {"digits": Digits, "fashion-mnist": FashionMNIST}.get(data, MNIST)
    return (image[None] - np.float32(source.mean)) / np.float32(source.std)
