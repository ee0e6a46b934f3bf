"""Test accuracy of a run.

examples:
  minidl eval runs/lenet-digits
  minidl eval runs/lenet-digits --data mnist           on other data than its own
"""

from minidl.cli.choices import DATA, data_set, trained


def arguments(parser) -> None:
    parser.add_argument("path", metavar="RUN", help="a run folder")
    parser.add_argument("--data", metavar="NAME|DIR", help=f"{', '.join(DATA)}, or a folder (default: the data of the run)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")


def run(options) -> None:
    from minidl.data import DataLoader
    from minidl.device import Device
    from minidl.train import evaluate

    device = Device.parse(options.device)
    model, config = trained(options.path)
    test = data_set(options.data or config["data"], train=False, model=config["model"])
    found = evaluate(model.to(device), DataLoader(test, 500), device=device)
    print(f"{len(test):,} images, loss {found['loss']:.4f}")
    print(f"test accuracy {100 * found['accuracy']:.2f} %")
