"""R-CNN on the synthetic scenes: mAP on unseen ones, seconds of each stage, and what each stage is worth."""

import argparse
import json
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.harness import RESULTS, circumstances


def main() -> None:
    """Train, measure, print, and write results/rcnn.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=300, help="scenes to train on (default 300)")
    parser.add_argument("--test", type=int, default=200, help="scenes to test on (default 200)")
    parser.add_argument("--epochs", type=int, default=30, help="of fine-tuning (default 30)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--ablations", action="store_true", help="measure also without each of the stages")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.train, options.test, options.epochs, options.seed, options.ablations)
    for name, seconds in found["seconds"].items():
        print(f"{seconds:8.1f} s  {name}")
    for name, score in found["map"].items():
        print(f"{100 * score:8.2f} %  mAP@0.5 {name}")
    if options.ablations:
        report = {"benchmark": "rcnn", "description": __doc__, **circumstances(), **vars(options), **found}
        (RESULTS / "rcnn.json").write_text(json.dumps(report, indent=1) + "\n")


def measure(folder: Path, train: int, test: int, epochs: int, seed: int = 0, ablations: bool = False) -> dict[str, dict]:
    """Seconds by stage, and mAP@0.5 by what was left out."""
    import minidl
    from minidl.data import DataLoader, Scenes, detection_collate
    from minidl.data.box_transforms import RandomHorizontalFlip
    from minidl.models.detect.proposals import CachedSearch, WithProposals
    from minidl.models.detect.rcnn import SMALL_RECIPES, RCNNTrainer, fit, rcnn_small
    from minidl.models.detect.recipe import training
    from minidl.models.detect.training import evaluate
    from minidl.train import RunFolder

    minidl.manual_seed(seed)
    start = time.perf_counter()
    search = folder / "proposals", "fast", 0, 8
    scenes = WithProposals(Scenes(length=train, transform=RandomHorizontalFlip(pairs=())), *search).compute()
    seconds = {"proposals": time.perf_counter() - start}
    unseen = Scenes(train=False, length=test)
    WithProposals(unseen, *search).compute()  # so that they do not count as training, nor as testing
    loader = DataLoader(scenes, SMALL_RECIPES["scenes"].batch_size, shuffle=True, seed=seed, collate_fn=detection_collate)
    tested = DataLoader(unseen, collate_fn=detection_collate)
    detector = rcnn_small(Scenes.classes, proposer=CachedSearch(*search))
    untrained = {name: value.clone() for name, value in detector.state_dict().items()}
    recipe = asdict(SMALL_RECIPES["scenes"]) | {"epochs": epochs, "every": epochs}
    trainer = RCNNTrainer(detector, train=loader, test=tested, run=RunFolder(folder / "run").create({}),
                          **training(detector, recipe, scenes, len(loader)))
    trainer.fit(epochs)
    seconds |= {"fine-tuning": sum(row["seconds"] for row in trainer.history), **trainer.seconds}
    seconds = {**seconds, "training": sum(seconds.values())}
    start = time.perf_counter()
    score = {"": evaluate(detector, tested).mean_ap}
    seconds["testing, without proposals"] = time.perf_counter() - start
    if ablations:
        detector.use_regressors = False
        score["without box regression"] = evaluate(detector, tested).mean_ap
        detector.use_svms = False
        score["softmax, without box regression"] = evaluate(detector, tested).mean_ap
        detector.load_state_dict(untrained)
        detector.use_svms = detector.use_regressors = True
        fit(detector, scenes, folder / "untrained")
        score["without fine-tuning, from random weights"] = evaluate(detector, tested).mean_ap
    return {"seconds": seconds, "map": score}


if __name__ == "__main__":
    main()
