"""Test accuracy of a run.

examples:
  minidl eval runs/digits
  minidl eval runs/mnist-1 --data mnist
"""

from minidl.cli.choices import build, data_set


def arguments(parser) -> None:
    parser.add_argument("path", metavar="RUN", help="a run folder")
    parser.add_argument("--data", metavar="NAME|DIR", help="default: the data of the run")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")


def run(options) -> None:
    from minidl.data import DataLoader
    from minidl.train import RunFolder, evaluate

    folder = RunFolder.open(options.path)
    test = data_set(options.data or folder.config["data"], train=False)
    model = build(folder.config["model"], len(test.classes))
    model.load_state_dict(folder.load_checkpoint()["model"])
    found = evaluate(model.to(options.device), DataLoader(test, 500), device=options.device)
    print(f"{found['count']} images, loss {found['loss']:.4f}")
    print(f"test accuracy {found['accuracy']:.2%}".replace("%", " %"))
