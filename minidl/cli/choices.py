"""Models and data sets by the names that users type."""

import difflib
import importlib
from pathlib import Path
from typing import NamedTuple

from minidl import cuda
from minidl.device import Device, set_default_device
from minidl.errors import CheckpointError, UsageError

CLASSIFY, DETECT = "minidl.models.classify.", "minidl.models.detect."


class Choice(NamedTuple):
    """A classifier: its module, its constructor there, and the images it is made for."""

    module: str
    constructor: str
    input_shape: tuple[int, int, int] = (3, 224, 224)


class Detecting(NamedTuple):
    """A detector: its module, its constructor there, whether it can begin with pretrained convolutions, whether weights of the
    whole are published, and whether it learns from proposals that others make.
    """

    module: str
    constructor: str
    pretrained: bool = False
    published: bool = False
    proposals: bool = False


_GREY, _SMALL, _DEPTHS = (1, 28, 28), (3, 32, 32), (20, 32, 44, 56, 110)
_VGG = ("vgg11", "vgg11-lrn", "vgg13", "vgg16", "vgg16-c", "vgg19", "vgg11-bn", "vgg13-bn", "vgg16-bn", "vgg19-bn")
MODELS = {
    "lenet": Choice("lenet", "build", _GREY), "lenet-1998": Choice("lenet1998", "build", _GREY),
    "linear": Choice("linear", "linear", _SMALL), "linear-224": Choice("linear", "linear224"),
    "alexnet": Choice("alexnet", "alexnet"), "alexnet-2012": Choice("alexnet", "alexnet2012", (3, 227, 227)),
    "zfnet": Choice("zfnet", "zfnet"), **{name: Choice("vgg", name.replace("-", "_")) for name in _VGG},
    "googlenet": Choice("googlenet", "googlenet"), "googlenet-2014": Choice("googlenet", "googlenet2014"),
    **{f"resnet{depth}": Choice("resnet", f"resnet{depth}") for depth in (18, 34, 50, 101, 152)},
    **{f"{kind}{depth}": Choice("cifar_resnet", f"{kind}{depth}", _SMALL) for kind in ("resnet", "plain") for depth in _DEPTHS},
}
DETECTORS = {
    "faster-rcnn": Detecting("faster_rcnn", "faster_rcnn_small"),
    "faster-rcnn-vgg16": Detecting("faster_rcnn", "faster_rcnn_vgg16", pretrained=True),
    "faster-rcnn-resnet50-c4": Detecting("faster_rcnn", "faster_rcnn_resnet50_c4", pretrained=True),
    "faster-rcnn-resnet101-c4": Detecting("faster_rcnn", "faster_rcnn_resnet101_c4", pretrained=True),
    "faster-rcnn-resnet50-fpn": Detecting("faster_rcnn", "faster_rcnn_resnet50_fpn", pretrained=True, published=True),
    "fast-rcnn": Detecting("fast_rcnn", "fast_rcnn_small", proposals=True),
    "fast-rcnn-vgg16": Detecting("fast_rcnn", "fast_rcnn_vgg16", pretrained=True, proposals=True),
    "r-cnn": Detecting("rcnn", "rcnn_small", proposals=True),
    "r-cnn-alexnet": Detecting("rcnn", "rcnn_alexnet", pretrained=True, proposals=True),
    "r-cnn-vgg16": Detecting("rcnn", "rcnn_vgg16", pretrained=True, proposals=True),
}
DEVICE = "where to compute: cpu, cuda (the GPU) or cuda:N (default: cpu)"
GREY = ("digits", "mnist", "fashion-mnist")
COLOUR = ("cifar10", "cifar100", "imagenette", "imagenet")
DATA = (*GREY, *COLOUR)


def one_of(value: str, known, what: str) -> str:
    """``value`` if it is known; raises UsageError with a suggestion otherwise.

    >>> one_of("lnet", MODELS, "model")
    Traceback (most recent call last):
    ...
    minidl.errors.UsageError: unknown model 'lnet'; did you mean lenet?
    """
    if value in known:
        return value
    close = difflib.get_close_matches(value, known, 1)
    hint = f"did you mean {close[0]}?" if close else f"choose from {', '.join(known)}"
    raise UsageError(f"unknown {what} {value!r}; {hint}")


def architecture(name: str):
    """The module of a model: it has its constructors, ``RECIPES`` by data set, of which the first is for all others, and
    ``training(model, config, data, batches)``. How it reads images is told by ``input_coding`` for grey ones, and for colour ones
    by the transforms ``inputs(size)``, in tests, and ``augmented(size)``, in training.

    Raises UsageError for an unknown name, and for that of a detector.
    """
    if name in DETECTORS:
        raise UsageError(f"{name} is a detector, and this is for classifiers: detectors have train, eval and detect")
    return importlib.import_module(CLASSIFY + MODELS[one_of(name, MODELS, "model")].module)


def build(name: str, num_classes: int | None = None, weights=None):
    """A model, by its name on the command line; ``num_classes`` as its paper has them, if not given.

    ``weights``: "imagenet" for the published ones, or a file.
    """
    constructor = getattr(architecture(name), MODELS[name].constructor)
    options = {} if weights is None else {"weights": weights}
    return constructor(**options) if num_classes is None else constructor(num_classes, **options)


def device_option(parser) -> None:
    """The option --device, which is the same for all commands that compute."""
    parser.add_argument("--device", default="cpu", help=DEVICE)


def use_device(name: str) -> None:
    """Let models be made and run on the device of --device, until the command ends.

    Raises DeviceError for one that is not there, MissingDependencyError without CuPy.
    """
    device = Device.parse(name)
    if device.type == "cuda":
        cuda.set_device(device)
    set_default_device(device)


def on_error(answer: str) -> str:
    """What a loader does about pictures that are damaged, by the answer to --bad-images: stop or skip.

    >>> on_error("stop")
    'raise'
    """
    return {"stop": "raise", "skip": "skip"}[one_of(answer, ("stop", "skip"), "answer to bad images")]


def data_set(name: str, train: bool, augment: bool = False, model: str = "lenet"):
    """Images with their labels, coded as a model reads them: a data set by name, or from the files in a folder."""
    channels, size, _ = MODELS[model].input_shape
    if name not in DATA and not Path(name).is_dir():
        if "/" in name or "\\" in name:
            raise UsageError(f"there is no folder {name!r}; give one that holds your data, or one of {', '.join(DATA)}")
        one_of(name, DATA, "data set")
    is_grey = name in GREY if name in DATA else _is_grey(Path(name), channels == 1)
    if is_grey != (channels == 1):
        raise UsageError(f"{model} reads {'grey' if channels == 1 else 'colour'} images, and {name} has "
                         f"{'grey' if is_grey else 'colour'} ones: for it there are "
                         f"{', '.join(other for other, choice in MODELS.items() if (choice.input_shape[0] == 1) == is_grey)}")
    if is_grey:
        return _grey(name, train, augment, model)
    module = architecture(model)
    return _colour(name, train, module.augmented(size) if augment else module.inputs(size))


def _is_grey(folder: Path, otherwise: bool) -> bool:
    """Whether a folder holds idx files; where it has neither these nor class folders, ``otherwise``."""
    if any(folder.glob("*-ubyte*")):
        return True
    return otherwise and not any(path.is_dir() for path in folder.iterdir())


def _grey(name: str, train: bool, augment: bool, model: str):
    from minidl.data import MNIST, Digits, FashionMNIST

    if name == "digits":
        found = Digits(train=train, size=28, augment=augment)
    else:
        cls = {"fashion-mnist": FashionMNIST}.get(name, MNIST)
        found = cls(root=None if name in DATA else name, train=train, augment=augment)
    found.transform = getattr(architecture(model), "input_coding", found.transform)
    return found


def _colour(name: str, train: bool, transform):
    from minidl.data import CIFAR10, CIFAR100, ImageFolder, ImageNet, Imagenette

    known = {"cifar10": CIFAR10, "cifar100": CIFAR100, "imagenette": Imagenette, "imagenet": ImageNet}
    if name in known:
        return known[name](train=train, transform=transform)
    return ImageNet(name, train, transform) if ImageNet.is_in(name) else ImageFolder(name, train, transform)


def recorded(path) -> tuple:
    """Folder and configuration of a run; raises CheckpointError if it names no model, data or classes."""
    from minidl.train import RunFolder

    folder = RunFolder(path).open()
    config = folder.config
    classes = config.get("classes", [str(digit) for digit in range(10)])
    if not isinstance(config.get("model"), str) or not isinstance(config.get("data"), str) or not isinstance(classes, list):
        raise CheckpointError(f"{folder.path} was not made by `minidl train`: config.json names no model, data or classes")
    return folder, config | {"classes": classes}


def trained(path) -> tuple:
    """Model and configuration of the run folder of a classifier."""
    folder, config = recorded(path)
    if config["model"] in DETECTORS:
        raise UsageError(f"{path} is a run of {config['model']}, a detector: use `minidl detect --run {path}`")
    model = build(config["model"], len(config["classes"]))
    model.load_state_dict(folder.load_checkpoint()["model"])
    return model, config
