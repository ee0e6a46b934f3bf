"""Pictures of a run, as matplotlib figures: curves, filters, confusion matrix, worst mistakes."""

import numpy as np

from minidl.errors import require

BLUE, ORANGE, GREY = "#2b6cb0", "#dd6b20", "#a0aec0"


def _figure(width: float, height: float):
    return require("matplotlib.figure", extra="train").Figure(figsize=(width, height), layout="constrained")


def curves(history: list[dict]):
    """Loss and accuracy of training and test, epoch by epoch."""
    figure = _figure(9, 3.6)
    epochs = [row["epoch"] for row in history]
    for place, (what, label) in enumerate((("loss", "loss"), ("accuracy", "accuracy, %")), 1):
        axes = figure.add_subplot(1, 2, place)
        factor = 100 if what == "accuracy" else 1
        for part, colour in (("train", BLUE), ("test", ORANGE)):
            values = [factor * row[f"{part}_{what}"] for row in history]
            axes.plot(epochs, values, color=colour, marker="o", markersize=3.5, label=part)
            axes.annotate(f"{values[-1]:.2f}" if what == "accuracy" else f"{values[-1]:.4f}", (epochs[-1], values[-1]),
                          textcoords="offset points", xytext=(5, 6 if part == "train" else -10), color=colour, fontsize=8)
        if what == "loss":
            axes.set_yscale("log")
        axes.set(xlabel="epoch", ylabel=label)
        axes.margins(x=0.12)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    return figure


def filters(weight: np.ndarray):
    """First-layer filters (O, C, KH, KW), in grey around 0, or in colour for three channels."""
    count = len(weight)
    columns = min(count, 12)
    rows = -(-count // columns)
    figure = _figure(0.9 * columns, 0.9 * rows + 0.5)
    figure.suptitle(f"first-layer filters, {weight.shape[2]}x{weight.shape[3]}", fontsize=10)
    limit = float(np.abs(weight).max()) or 1.0
    for i, kernel in enumerate(weight):
        axes = figure.add_subplot(rows, columns, i + 1)
        if weight.shape[1] == 3:
            axes.imshow((kernel / limit / 2 + 0.5).transpose(1, 2, 0))
        else:
            axes.imshow(kernel.mean(0), cmap="RdBu_r", vmin=-limit, vmax=limit)
        axes.set_axis_off()
    return figure


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: list[str] | None = None):
    """How many samples of each class (rows) were taken for which (columns); the diagonal is right."""
    names = classes or [str(i) for i in range(int(max(labels.max(), predicted.max())) + 1)]
    n = len(names)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, predicted), 1)
    figure = _figure(1.2 + 0.5 * n, 1.0 + 0.5 * n)
    axes = figure.add_subplot()
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.argwhere(counts):
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color="white" if share[i, j] > 0.5 else "#1a202c")
    axes.set_xticks(range(n), names, rotation=0 if max(map(len, names)) < 3 else 60)
    axes.set_yticks(range(n), names)
    axes.set(xlabel="predicted", ylabel="true", title=f"{(labels != predicted).sum()} mistakes of {len(labels)}")
    axes.title.set_fontsize(10)
    return figure


def mistakes(dataset, labels: np.ndarray, probabilities: np.ndarray, classes: list[str] | None = None, most: int = 24):
    """The samples that were most confidently wrong: true class, predicted class and its probability."""
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:most]
    names = classes or [str(i) for i in range(probabilities.shape[1])]
    columns = 8
    rows = max(1, -(-len(wrong) // columns))
    figure = _figure(1.15 * columns, 1.45 * rows + 0.3)
    figure.suptitle("the most confident mistakes: true \N{RIGHTWARDS ARROW} predicted" if len(wrong) else "no mistakes", fontsize=10)
    for place, index in enumerate(wrong, 1):
        axes = figure.add_subplot(rows, columns, place)
        image = np.asarray(dataset[int(index)][0])
        axes.imshow(image[0] if len(image) == 1 else np.clip(image.transpose(1, 2, 0), 0, 1), cmap="gray_r")
        guess = predicted[index]
        axes.set_title(f"{names[labels[index]]} \N{RIGHTWARDS ARROW} {names[guess]}  {probabilities[index, guess]:.0%}", fontsize=8)
        axes.set_axis_off()
    return figure
