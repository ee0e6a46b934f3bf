"""Find a learning rate: train a hundred batches with growing rates, draw the loss, and suggest one.

examples:
  minidl lr-find lenet --data mnist
  minidl lr-find lenet --low 1e-4 --high 1 --out rates.png
"""

from pathlib import Path

from minidl.cli.choices import DATA, MODELS, architecture, device_option
from minidl.cli.classifiers import trainer_of
from minidl.cli.results import save_figure
from minidl.cli.train import new_config
from minidl.errors import UsageError


def arguments(parser) -> None:
    parser.add_argument("model", help=f"one of {', '.join(MODELS)}")
    parser.add_argument("--data", help=f"{', '.join(DATA)}, or a folder of idx files (default: digits)")
    parser.add_argument("--low", type=float, default=1e-5, help="the first rate (default: 1e-5)")
    parser.add_argument("--high", type=float, default=10.0, help="the last rate (default: 10)")
    parser.add_argument("--steps", type=int, default=100, help="batches (default: 100)")
    parser.add_argument("--seed", type=int, help="decides initial weights and order (default: 0)")
    parser.add_argument("--out", metavar="PNG", default="lr-find.png", help="the picture (default: lr-find.png)")
    device_option(parser)


def run(options) -> None:
    from minidl.train.lr_find import RULE, lr_find, picture

    architecture(options.model)  # of a classifier
    if not Path(options.out).parent.is_dir():
        raise UsageError(f"--out: there is no folder {Path(options.out).parent}")
    given = {name: value for name in ("data", "seed", "device") if (value := getattr(options, name)) is not None}
    config = new_config(options.model, given)
    if "lr" not in config:
        raise UsageError(f"{options.model} is trained with rates of its own for each weight: there is none to find")
    trainer = trainer_of(config, None)
    found = lr_find(trainer.model, trainer.optimizer, trainer.train, trainer.loss, low=options.low, high=options.high,
                    steps=options.steps)
    save_figure(picture(found), options.out)
    print(f"tried {len(found.rates)} rates from {found.rates[0]:.2g} to {found.rates[-1]:.2g}; the curve is in {options.out}")
    print(f"suggested learning rate {found.suggestion:.2g} ({RULE}); the recipe's is {config['lr']:g}")
