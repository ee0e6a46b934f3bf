"""Train a model and leave a run folder with curves, pictures and a checkpoint.

examples:
  minidl train lenet                                   LeNet-5 on the embedded digits
  minidl train lenet --data mnist --epochs 3           fewer epochs than the recipe's 10
  minidl train lenet --data mnist --seed 1 --out runs/mnist-1
  minidl train lenet --data path/to/idx-files          your own images of 28x28 in MNIST's format
  minidl train lenet --resume runs/mnist-1             go on where a run stopped, to the same bits
"""

import dataclasses
import math
import time
from pathlib import Path

from minidl.cli.choices import DATA, MODELS, build, data_set, one_of
from minidl.errors import UsageError

OPTIONS = ("epochs", "batch_size", "lr", "momentum", "weight_decay")


def arguments(parser) -> None:
    parser.add_argument("model", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--data", default="digits", metavar="NAME|DIR", help=f"{', '.join(DATA)}, or a folder (default digits)")
    parser.add_argument("--epochs", type=int, help="default: the recipe's")
    parser.add_argument("--batch-size", type=int, help="default: the recipe's")
    parser.add_argument("--lr", type=float, help="learning rate at the start (default: the recipe's)")
    parser.add_argument("--momentum", type=float, help="default: the recipe's")
    parser.add_argument("--weight-decay", type=float, help="default: the recipe's")
    parser.add_argument("--augment", action="store_true", default=None, help="move images a little at random (default: the recipe's choice)")
    parser.add_argument("--no-augment", dest="augment", action="store_false", help="take images as they are")
    parser.add_argument("--seed", type=int, default=0, help="initial weights, order and augmentation (default 0)")
    parser.add_argument("--workers", type=int, default=0, help="processes that prepare batches (default 0: none)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or cuda:N (default cpu)")
    parser.add_argument("--out", metavar="DIR", help="the run folder (default runs/MODEL-DATA-TIME)")
    parser.add_argument("--resume", metavar="RUN", help="continue a run with its own options; --epochs may be raised")


def run(options) -> None:
    from minidl.device import Device
    from minidl.train import RunFolder

    one_of(options.model, MODELS, "model")
    Device.parse(options.device)
    if options.resume:
        folder = RunFolder.open(options.resume)
        config = folder.config | ({"epochs": options.epochs} if options.epochs else {})
        trainer = _trainer(config, folder)
        trainer.resume()
    else:
        config = _config(options)
        trainer = _trainer(config, None)
        out = options.out or f"runs/{options.model}-{Path(options.data).name}-{time.strftime('%Y%m%d-%H%M%S')}"
        trainer.run = RunFolder.create(out, config)
    last = trainer.fit(config["epochs"])
    print(f"pictures, metrics and checkpoint are in {trainer.run.path}")
    print(f"test accuracy {last['test_accuracy']:.2%}".replace("%", " %"))


def _config(options) -> dict:
    """The recipe, with what the command line overrides, checked."""
    from minidl.models.classify.lenet import RECIPES

    recipe = RECIPES.get(options.data, RECIPES["mnist"])
    config = {"model": options.model, "data": options.data, "seed": options.seed, "device": options.device,
              "workers": options.workers, **dataclasses.asdict(recipe)}
    config |= {name: value for name in (*OPTIONS, "augment") if (value := getattr(options, name)) is not None}
    for name, low in (("epochs", 1), ("batch_size", 1), ("workers", 0)):
        if config[name] < low:
            raise UsageError(f"--{name.replace('_', '-')} must be at least {low}, got {config[name]}")
    for name in ("lr", "momentum", "weight_decay"):
        if not 0 <= config[name] < math.inf:
            raise UsageError(f"--{name.replace('_', '-')} must be a number of at least 0, got {config[name]}")
    return config


def _trainer(config: dict, folder):
    """Everything that a run consists of, from its configuration."""
    import minidl
    from minidl import optim
    from minidl.data import DataLoader
    from minidl.train import Trainer

    minidl.manual_seed(config["seed"])
    train, test = data_set(config["data"], True, config["augment"]), data_set(config["data"], False)
    loader = DataLoader(train, config["batch_size"], shuffle=True, num_workers=config["workers"], seed=config["seed"])
    model = build(config["model"], len(train.classes)).to(config["device"])
    optimizer = optim.SGD(model.parameters(), config["lr"], config["momentum"], weight_decay=config["weight_decay"])
    steps = config["epochs"] * len(loader)
    schedule = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))
    return Trainer(model, optimizer, loader, DataLoader(test, 500), folder, schedule=schedule, classes=train.classes,
                   device=config["device"])
