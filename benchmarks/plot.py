"""Pictures of the figures in benchmarks/results: ``python -m benchmarks.plot`` draws them into docs/speed."""

import json
import re
from pathlib import Path

from benchmarks.conv_layers import COPY, LAYERS, SIDE, operations
from benchmarks.harness import RESULTS, ROOT
from benchmarks.networks import NETWORKS

FOLDER = ROOT / "docs/speed"
OURS, PEER = "#2a6fbb", "#c2c2c2"


def networks(plt, report) -> None:
    """Bars of how many times faster than PyTorch's fastest way each network runs."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.4), sharey=True)
    names = [name for name in NETWORKS if f"{name} training step" in report["rows"]]
    for axis, what in zip(axes, ("training step", "inference"), strict=True):
        ratios = [report["rows"][f"{name} {what}"]["fastest"] for name in names]
        labels = [f"{name}, batch {NETWORKS[name].shape[0]}" for name in names]
        bars = axis.barh(labels, ratios, color=[OURS if ratio >= 1 else PEER for ratio in ratios])
        axis.bar_label(bars, [f"{ratio:.2f}" for ratio in ratios], padding=3)
        axis.axvline(1, color="black", linewidth=1)
        axis.set(title=what, xlabel="PyTorch's fastest way / minidl", xlim=(0, max(ratios) * 1.15))
    axes[0].invert_yaxis()
    _finish(figure, report, "networks")


def layers(plt, report) -> None:
    """Achieved GFLOP/s of each kind of layer, counted by the definition, beside those of a large product of matrices."""
    figure, axis = plt.subplots(figsize=(10, 7))
    names = [name for name in LAYERS if f"{name} forward" in report["rows"]]
    for offset, library, color in ((-0.2, "minidl", OURS), (0.2, "torch", PEER)):
        speeds = []
        for name in names:
            times = report["rows"][f"{name} forward"]["seconds"]
            fastest = min(seconds for framework, seconds in times.items() if framework.split()[0] == library)
            count = operations(LAYERS[name]) / (LAYERS[name][1] if "depthwise" in name else 1)
            speeds.append(count / fastest / 1e9)
        axis.barh([i + offset for i in range(len(names))], speeds, 0.4, label=library, color=color)
    product = 2 * SIDE**3 / report["rows"][f"product of {SIDE}x{SIDE} matrices"]["seconds"]["minidl"] / 1e9
    axis.axvline(product, color="black", linewidth=1, label=f"a large product of matrices: {product:.0f}")
    axis.set(xlabel="GFLOP/s, forward, operations by the definition (Winograd does fewer)")
    axis.set_yticks(range(len(names)), names)
    axis.invert_yaxis()
    axis.legend()
    _finish(figure, report, "layers")


def roofline(plt, report) -> None:
    """Each layer's speed over its operations per byte, below what memory and arithmetic allow."""
    figure, axis = plt.subplots(figsize=(8, 5))
    rows = report["rows"]
    product = 2 * SIDE**3 / rows[f"product of {SIDE}x{SIDE} matrices"]["seconds"]["minidl"] / 1e9
    copy = 8 * COPY / rows[f"copy of {COPY * 4 >> 20} MB"]["seconds"]["minidl"] / 1e9
    for name, layer in LAYERS.items():
        if f"{name} forward" not in rows or "depthwise" in name:
            continue
        (n, c, h, w), channels, kernel, stride, _, _ = layer
        moved = 4 * (n * c * h * w + n * channels * (h // stride) * (w // stride) + channels * c * kernel * kernel)
        speed = operations(layer) / rows[f"{name} forward"]["seconds"]["minidl"] / 1e9
        axis.plot(operations(layer) / moved, speed, "o", color=OURS if kernel in (3, 5) and stride == 1 and c >= 8 else "#e08a2c")
    intensity = [1, product / copy, 2000]
    axis.plot(intensity, [min(product, copy * i) for i in intensity], color="black", linewidth=1,
              label=f"one can copy {copy:.0f} GB/s and multiply at {product:.0f} GFLOP/s")
    axis.plot([], [], "o", color=OURS, label="Winograd passes the limit by doing fewer operations")
    axis.plot([], [], "o", color="#e08a2c", label="other layers")
    axis.set(xscale="log", yscale="log", xlabel="operations per byte of input, output and weights", ylabel="GFLOP/s")
    axis.legend(fontsize=8)
    _finish(figure, report, "roofline")


def growth(plt, report) -> None:
    """Step time over batch, image size and width."""
    figure, axes = plt.subplots(1, 3, figsize=(11, 3.2))
    kinds = ((r"ResNet-18, batch (\d+)", "batch"), (r"ResNet-18, (\d+) pixels", "side of the image"),
             (r"two 3x3 layers, (\d+) maps", "maps"))
    for axis, (pattern, label) in zip(axes, kinds, strict=True):
        rows = report["rows"].items()
        found = [(int(match[1]), row["seconds"]) for name, row in rows if (match := re.fullmatch(pattern, name))]
        for framework, color in (("minidl", OURS), ("torch", "#888888")):
            points = [(x, seconds[framework] * 1e3) for x, seconds in found if framework in seconds]
            if points:
                axis.plot(*zip(*points, strict=True), "o-", color=color, label=framework)
        axis.set(xscale="log", yscale="log", xlabel=label, ylabel="ms")
        for one, ticks in ((axis.xaxis, [x for x, _ in found]), (axis.yaxis, [1, 2, 5, 10, 20, 50, 100, 200])):
            low, high = one.get_view_interval()
            one.set_ticks([tick for tick in ticks if low <= tick <= high], labels=[str(t) for t in ticks if low <= t <= high])
            one.minorticks_off()
        axis.legend()
    _finish(figure, report, "growth")


def _finish(figure, report, name) -> None:
    packages = " ".join(f"{key} {value}" for each in report["versions"].values() for key, value in each.items()
                        if key in ("minidl", "torch", "numpy", "numba"))
    unique = " ".join(dict.fromkeys(re.findall(r"\S+ \S+", packages)))
    blas = (report["versions"]["minidl"].get("blas") or ["unknown"])[0]
    figure.text(0.01, 0.005, f"{report['cpu']}, {report['threads']} threads; {unique}; {blas}; {report['date']}, commit "
                             f"{report['commit']}", fontsize=6, color="#555555")
    figure.tight_layout(rect=(0, 0.03, 1, 1))
    figure.savefig(FOLDER / f"{name}.png", dpi=110)


def main() -> None:
    """Draw what has been measured."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    FOLDER.mkdir(exist_ok=True)
    for benchmark, drawings in (("steps", [networks]), ("conv_layers", [layers, roofline]), ("growth", [growth])):
        path = Path(RESULTS / f"{benchmark}.json")
        if not path.exists():
            print(f"{path.name} is not there: python -m benchmarks.{benchmark}")
            continue
        for draw in drawings:
            draw(plt, json.loads(path.read_text()))
            print(f"docs/speed/{draw.__name__}.png")


if __name__ == "__main__":
    main()
