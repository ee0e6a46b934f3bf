"""How detectors are trained: as classifiers are, by gradient descent with momentum and a falling rate, with three things more.
At first the rate rises (a detector's losses are wild before it knows anything), gradients are clipped, and the test images are
looked at from time to time. The small detectors, which begin from nothing, are trained by AdamW, with which they learn in
fewer epochs.
"""

from dataclasses import dataclass, replace

from minidl.models.classify import recipe


@dataclass(frozen=True)
class DetectionRecipe(recipe.Recipe):
    """How a detector is trained on a data set: ``warmup`` are steps in which the rate rises, ``clip_norm`` is the largest norm of
    the gradient (0: any), and ``every`` says after how many epochs the test images are looked at. ``backbone`` are pretrained
    weights of the convolutions ("imagenet" or a file, "": none); to ``min_size`` the shorter side of each picture is brought (0:
    to the detector's own). ``proposals`` is the mode of Selective Search, for detectors that need it. ``optimizer``: one of
    ``minidl.models.classify.recipe.OPTIMIZERS``.
    """

    weight_decay: float = 5e-4
    schedule: str = "steps"
    warmup: int = 100
    clip_norm: float = 10.0
    every: int = 1
    backbone: str = ""
    min_size: int = 0
    proposals: str = "fast"
    optimizer: str = "sgd"


RECIPES = {  # of the papers' networks; the first is for data sets that are not here
    "voc2007": DetectionRecipe(epochs=12, batch_size=2, lr=0.002),
    "coco2017": DetectionRecipe(epochs=12, batch_size=2, lr=0.0025, weight_decay=1e-4, warmup=1000),
}
_SMALL = DetectionRecipe(epochs=12, batch_size=4, lr=0.001, weight_decay=1e-4, schedule="cosine", min_size=240, optimizer="adamw")
SMALL_RECIPES = {"voc2007": _SMALL, "scenes": replace(_SMALL, epochs=8, batch_size=8, min_size=0),
                 "bccd": replace(_SMALL, every=4)}


def training(model, config: dict, data, batches: int) -> dict:
    """What a ``DetectionTrainer`` needs besides model and data, for ``batches`` steps an epoch."""
    return recipe.training(model, config, data, batches) | {"clip_norm": config["clip_norm"], "every": config["every"]}
