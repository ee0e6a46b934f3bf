"""One of the lecture's arguments as an experiment: numbers, and a picture.

  windows         one 7x7 convolution against three 3x3
  normalisation   VGG's A against A-LRN
  shortcuts       a plain network of 56 layers against a ResNet: training curves, gradients layer by layer
  few-images      a new task with few images: features learnt elsewhere against training from scratch (needs --from)
  winners         ILSVRC's and PASCAL VOC's winners over the years, from published figures

examples:
  minidl experiment windows
  minidl experiment shortcuts --images 2000 --epochs 2
  minidl experiment few-images --from runs/resnet20-cifar10 --data imagenette
"""

import importlib

from minidl.cli.choices import data_set, device_option, one_of, trained, use_device
from minidl.cli.results import save_results
from minidl.errors import UsageError

EXPERIMENTS = {"windows": ("images", "epochs", "seeds"), "normalisation": ("images", "epochs", "seeds"),
               "shortcuts": ("images", "epochs"), "few-images": ("epochs", "seeds"), "winners": ()}


def arguments(parser) -> None:
    parser.add_argument("name", help=f"one of {', '.join(EXPERIMENTS)}")
    parser.add_argument("--images", type=int, help="training images of CIFAR-10 (default: 5,000)")
    parser.add_argument("--epochs", type=int, help="passes over them (default: the experiment's)")
    parser.add_argument("--seeds", type=int, help="repetitions with other initial weights and orders (default: 3)")
    parser.add_argument("--from", dest="source", metavar="RUN", help="for few-images: a run of a ResNet for CIFAR")
    parser.add_argument("--data", default="imagenette", help="for few-images: the new task (default: imagenette)")
    parser.add_argument("--out", metavar="DIR", default="experiments", help="where picture and numbers go (default: experiments)")
    device_option(parser)


def run(options) -> None:
    use_device(options.device)
    known = EXPERIMENTS[one_of(options.name, EXPERIMENTS, "experiment")]
    given = {name: value for name in ("images", "epochs", "seeds") if (value := getattr(options, name)) is not None}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{options.name} has no --{name}")
        if value < (10 if name == "images" else 1):
            raise UsageError(f"--{name} must be at least {10 if name == 'images' else 1}, got {value}")
    module = importlib.import_module(f"minidl.models.experiments.{options.name.replace('-', '_')}")
    results, figure = module.run(*_sources(options), **given)
    save_results(options.out, options.name, figure, results, experiment=options.name, options=given,
                 device=options.device)


def _sources(options) -> tuple:
    """For few-images, the source network and both parts of the new task."""
    if options.name != "few-images":
        if options.source:
            raise UsageError(f"{options.name} has no --from")
        return ()
    if not options.source:
        raise UsageError("few-images needs --from, a run such as that of: minidl train resnet20 --data cifar10 --epochs 15")
    model, config = trained(options.source)
    from minidl.models import CifarResNet

    if not isinstance(model, CifarResNet):
        raise UsageError(f"few-images needs a run of a ResNet for CIFAR, {options.source} is one of {config['model']}")
    parts = [data_set(options.data, train, model=config["model"]) for train in (True, False)]
    if not hasattr(parts[0], "pixels"):
        raise UsageError(f"few-images needs pictures in files as the new task, such as imagenette, got {options.data}")
    return model, *parts
