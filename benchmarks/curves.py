"""Training curves by the compiled kernels and by the readable ones, same seeds: LeNet-5 on the digits, ResNet-20 on CIFAR-10."""

import argparse
import json

import numpy as np

from benchmarks.harness import RESULTS, ROOT

SEEDS = (0, 1, 2)


def main() -> None:
    """Train, draw the curves into docs/speed/curves.png, and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300, help="steps of LeNet-5 (default 300)")
    parser.add_argument("--resnet-steps", type=int, default=150, help="steps of ResNet-20, in batches of 32 (default 150)")
    options = parser.parse_args()
    curves = {"LeNet-5": _runs("LeNet-5", _digits(), options.steps, 32, 0.02)}
    images = _cifar()
    if images is None:
        print("CIFAR-10 is not there: ResNet-20 is left out")
    else:
        curves["ResNet-20"] = _runs("ResNet-20", images, options.resnet_steps, 32, 0.1)
    for name, runs in curves.items():
        ends = {backend: np.mean([run[-10:] for run in each.values()]) for backend, each in runs.items()}
        spread = np.std([np.mean(run[-10:]) for run in runs["portable"].values()])
        print(f"{name}: mean loss of the last 10 steps, compiled {ends['cpu']:.4f}, portable {ends['portable']:.4f}, "
              f"spread over seeds {spread:.4f}")
    (RESULTS / "curves.json").write_text(json.dumps(curves) + "\n")
    _draw(curves)


def _runs(name, images, steps, batch, lr) -> dict:
    return {backend: {seed: _train(name, images, steps, batch, lr, seed, backend) for seed in SEEDS}
            for backend in ("cpu", "portable")}


def _train(name, images, steps, batch, lr, seed, backend) -> list[float]:
    import minidl
    from benchmarks.networks import build
    from minidl import nn, optim

    minidl.manual_seed(seed)
    x, y = images
    model = build("minidl", name)
    optimizer, loss_function = optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4), nn.CrossEntropyLoss()
    order, losses = np.random.default_rng(seed), []
    with minidl.use_backend(None if backend == "cpu" else backend):
        for _ in range(steps):
            chosen = order.integers(0, len(x), batch)
            optimizer.zero_grad()
            loss = loss_function(model(minidl.tensor(x[chosen])), minidl.tensor(y[chosen]))
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def _digits():
    from minidl.data import Digits

    data = Digits(train=True, size=28)
    return _arrays(data, len(data))


def _cifar():
    from minidl.data import CIFAR10
    from minidl.errors import DataError

    try:
        data = CIFAR10(train=True)
    except DataError:
        return None
    return _arrays(data, 4000)


def _arrays(data, count):
    images, labels = zip(*(data[i] for i in range(count)), strict=True)
    return np.stack([np.asarray(image, np.float32) for image in images]), np.array(labels, np.int64)


def _draw(curves) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(curves), figsize=(5 * len(curves), 3.2), squeeze=False)
    for axis, (name, runs) in zip(axes[0], curves.items(), strict=True):
        for backend, color, style in (("portable", "#c2c2c2", "-"), ("cpu", "#2a6fbb", ":")):
            for seed, losses in runs[backend].items():
                label = f"{backend}, three seeds" if seed == SEEDS[0] else None
                axis.plot(losses, style, color=color, linewidth=1.2, label=label)
        axis.set(title=name, xlabel="step", ylabel="loss")
        axis.legend()
    figure.tight_layout()
    (ROOT / "docs/speed").mkdir(exist_ok=True)
    figure.savefig(ROOT / "docs/speed/curves.png", dpi=110)


if __name__ == "__main__":
    main()
