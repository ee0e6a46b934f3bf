"""What the classifiers' recipes share: gradient descent with momentum, four schedules of the learning rate, and how images are
prepared. The numbers, and what a paper does differently, stand in each architecture's file.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from minidl import optim
from minidl.data.transforms import CenterCrop, Compose, Normalize, RandomCrop, RandomHorizontalFlip, Resize, ToTensor
from minidl.models.classify.transfer import parameter_groups

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's channels, as the published weights expect


@dataclass(frozen=True)
class Recipe:
    """How a network is trained on a data set: SGD with momentum, and a learning rate that falls by one of ``SCHEDULES``."""

    epochs: int
    batch_size: int
    lr: float
    momentum: float = 0.9
    weight_decay: float = 5e-4
    augment: bool = True
    schedule: str = "cosine"


def cosine(optimizer, config: dict, batches: int):
    """Along half a cosine down to 0."""
    # Not CosineAnnealingLR, whose length is part of its state: when a resumed run gets more epochs, the cosine stretches.
    steps = config["epochs"] * batches
    return _warmed(optimizer, config, lambda step: 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))


def steps(optimizer, config: dict, batches: int):
    """Divided by 10 after half of the training, and again after three quarters (He et al. 2016, section 4.2)."""
    total = config["epochs"] * batches
    return _warmed(optimizer, config, lambda step: 0.1 ** ((2 * step >= total) + (4 * step >= 3 * total)))


def plateau(optimizer, config: dict, batches: int):
    """Divided by 10 when the error on the test images has not fallen for a tenth of the epochs, as AlexNet, VGG and ResNet do."""
    return optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=max(1, config["epochs"] // 10), min_lr=config["lr"] * 1e-3)


def exponential(optimizer, config: dict, batches: int):
    """4 % less every 8 epochs (Szegedy et al. 2015, section 6)."""
    return _warmed(optimizer, config, lambda step: 0.96 ** (step // batches // 8))


def constant(optimizer, config: dict, batches: int):
    """The same from the first step to the last."""
    return _warmed(optimizer, config, lambda step: 1.0)


def _warmed(optimizer, config: dict, factor: Callable[[int], float]):
    """The rate times ``factor(step)``; in the first ``config["warmup"]`` steps, if there are any, only its growing part."""
    rise = config.get("warmup", 0) + 1
    return optim.lr_scheduler.LambdaLR(optimizer, lambda step: min((step + 1) / rise, 1.0) * factor(step))


SCHEDULES = {"cosine": cosine, "steps": steps, "plateau": plateau, "exponential": exponential, "constant": constant}


def sgd(parameters, config: dict):
    """Gradient descent with momentum."""
    return optim.SGD(parameters, config["lr"], config["momentum"], weight_decay=config["weight_decay"])


def adamw(parameters, config: dict):
    """AdamW, whose first moment is the momentum."""
    return optim.AdamW(parameters, config["lr"], (config["momentum"], 0.999), weight_decay=config["weight_decay"])


OPTIMIZERS = {"sgd": sgd, "adamw": adamw}


def training(model, config: dict, data, batches: int) -> dict:
    """What a ``Trainer`` needs besides model and data: optimizer and schedule, for ``batches`` steps an epoch."""
    parameters = parameter_groups(model, config["lr"], config["lower"]) if "tune" in config else model.parameters()
    optimizer = OPTIMIZERS[config.get("optimizer", "sgd")](parameters, config)
    return {"optimizer": optimizer, "schedule": SCHEDULES[config["schedule"]](optimizer, config, batches)}


def inputs(size: int, moves=None, colors=()) -> Compose:
    """From pictures of any size to what a network for ``size`` x ``size`` pixels reads.

    ``moves`` are the augmentation, which must end in images of that size; without them, the shorter side becomes 8/7 of it (256
    for 224), and the middle is taken. ``colors`` are what is done to colours from 0 to 1.
    """
    moves = moves or [Resize(shorter_side(size)), CenterCrop(size)]
    return Compose([*moves, ToTensor(), *colors, Normalize(MEAN, DEVIATION)])


def shorter_side(size: int) -> int:
    """To what the shorter side is brought before crops of ``size`` are taken: 256 for 224.

    >>> shorter_side(224), shorter_side(32)
    (256, 37)
    """
    return round(size * 256 / 224)


def crops(size: int) -> list:
    """The shorter side becomes 8/7 of ``size``, a random crop is taken, and perhaps mirrored (Krizhevsky et al. 2012, section
    4.1).
    """
    return [Resize(shorter_side(size)), RandomCrop(size), RandomHorizontalFlip()]
