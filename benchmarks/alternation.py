"""Faster R-CNN trained in the paper's four steps and with all losses at once: mAP on unseen scenes, and seconds of training."""

import argparse
import json
import tempfile
import time
from dataclasses import asdict

from benchmarks.harness import RESULTS, circumstances


def main() -> None:
    """Train both, print, and write results/alternation.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=500, help="scenes to train on (default 500)")
    parser.add_argument("--test", type=int, default=500, help="scenes to test on (default 500)")
    parser.add_argument("--epochs", type=int, default=8, help="at once, and of each step (default 8)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = {"at once": measure(at_once, **vars(options)), "four steps": measure(alternately, **vars(options))}
    for name, row in found.items():
        print(f"{name:12}{row['seconds']:8.1f} s   mAP@0.5 {100 * row['map']:.2f} %")
    report = {"benchmark": "alternation", "description": __doc__, **circumstances(), **vars(options), "trained": found}
    (RESULTS / "alternation.json").write_text(json.dumps(report, indent=1) + "\n")


def measure(way, train: int, test: int, epochs: int, seed: int) -> dict[str, float]:
    """Seconds of a way of training, and the detector's mAP@0.5."""
    import minidl
    from minidl.data import Scenes
    from minidl.models.detect.training import evaluate

    minidl.manual_seed(seed)
    start = time.perf_counter()
    detector = way(Scenes(length=train), epochs, seed)
    return {"seconds": time.perf_counter() - start, "map": evaluate(detector, _loader(Scenes(train=False, length=test))).mean_ap}


def at_once(scenes, epochs: int, seed: int):
    """Approximate joint training."""
    from minidl.models import faster_rcnn_small

    detector = faster_rcnn_small(scenes.classes)
    _train(detector, scenes, epochs, seed)
    return detector


def alternately(scenes, epochs: int, seed: int):
    """The paper's four steps."""
    from minidl.models import faster_rcnn_small
    from minidl.models.detect.alternation import four_steps

    return four_steps(lambda: faster_rcnn_small(scenes.classes), lambda part: _train(part, scenes, epochs, seed))


def _train(detector, scenes, epochs: int, seed: int) -> None:
    """By the recipe of the small detectors for scenes; the trainer looks at four of them after the last epoch."""
    from minidl.data import Scenes
    from minidl.models.detect.recipe import SMALL_RECIPES, training
    from minidl.models.detect.training import DetectionTrainer
    from minidl.train import RunFolder

    recipe = asdict(SMALL_RECIPES["scenes"]) | {"epochs": epochs, "every": epochs}
    loader = _loader(scenes, recipe["batch_size"], shuffle=True, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        trainer = DetectionTrainer(detector, train=loader, test=_loader(Scenes(train=False, length=4)),
                                   run=RunFolder(folder).create({}), **training(detector, recipe, scenes, len(loader)))
        trainer.fit(epochs)


def _loader(scenes, *options, **named):
    from minidl.data import DataLoader, detection_collate

    return DataLoader(scenes, *options, collate_fn=detection_collate, **named)


if __name__ == "__main__":
    main()
