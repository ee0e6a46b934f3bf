"""What accuracy costs: parameters, operations, memory and time of the classifiers on this machine, as a table and as charts.

examples:
  minidl compare
  minidl compare --device cuda --batches 1,64
  minidl compare alexnet googlenet resnet18 resnet50 --batches 1,8
"""

from minidl.cli.choices import device_option, one_of, use_device
from minidl.cli.results import save_results
from minidl.errors import UsageError


def arguments(parser) -> None:
    parser.add_argument("models", nargs="*", metavar="MODEL", help="by torchvision's names, such as vgg16_bn (default: twelve)")
    parser.add_argument("--batches", default="1,4", metavar="N,N,...", help="images in a batch (default: 1,4)")
    parser.add_argument("--out", metavar="DIR", default="experiments", help="where charts and numbers go (default: experiments)")
    device_option(parser)


def run(options) -> None:
    from minidl.models.experiments import complexity

    use_device(options.device)
    try:
        batches = [int(part) for part in options.batches.split(",")]
    except ValueError:
        batches = []
    if not batches or min(batches) < 1:
        raise UsageError(f"--batches takes numbers from 1 with commas between them, got {options.batches!r}")
    known = (*complexity.TOP1, *complexity.OTHERS)
    names = [one_of(name.replace("-", "_"), known, "model") for name in options.models] or list(complexity.TOP1)
    results, figure = complexity.run(names, tuple(batches))
    save_results(options.out, "compare", figure, results, device=options.device)
