"""Pictures of a run, as matplotlib figures: curves, confusion matrix, worst mistakes."""

from itertools import cycle
from typing import NamedTuple

import numpy as np

from minidl.errors import require
from minidl.study.pictures import figure_of

BLUE, ORANGE, INK, PALE = "#2b6cb0", "#dd6b20", "#1a202c", "#cbd5e0"
COLOURS = (BLUE, ORANGE, "#2f855a", "#805ad5", "#c53030", "#718096")
LOSSES = {"test_loss": "test loss", "train_loss": "training loss"}
SCORES = {"test_accuracy": "test accuracy, %", "test_map": "mAP@0.5, %"}
TILES_IN_A_ROW = 8
MOST_MISTAKES = 24


class Panel(NamedTuple):
    """One of the two diagrams of a run: its title, the metrics of the rows by their names in the legend, and how these are
    multiplied and written. A loss has a logarithmic axis, and its legend on top.
    """

    title: str
    series: dict[str, str]
    form: str = "{:.4f}"
    factor: float = 1
    is_loss: bool = True


LOSS = Panel("loss", {"train": "train_loss", "test": "test_loss"})
ACCURACY = Panel("accuracy, %", {"train": "train_accuracy", "test": "test_accuracy"}, "{:.2f} %", 100, is_loss=False)


def curves(history: list[dict], panels: tuple[Panel, Panel] = (LOSS, ACCURACY)):
    """Metrics epoch by epoch, in two diagrams, with the last values in the legend; those that are None are left out."""
    figure = figure_of(9, 3.4, layout=None)  # drawn after every epoch, and a layout engine would draw it twice
    grid = figure.subplots(1, 2, gridspec_kw={"left": 0.06, "right": 0.985, "bottom": 0.14, "top": 0.92, "wspace": 0.12})
    for axes, panel in zip(grid, panels, strict=True):
        for (name, metric), colour in zip(panel.series.items(), cycle(COLOURS)):
            _line(axes, history, metric, name, panel.form, panel.factor, color=colour, marker="o",
                  markersize=3 if len(history) < 30 else 0)
        if panel.is_loss:
            axes.set_yscale("log")
            axes.yaxis.set_major_locator(require("matplotlib.ticker", extra="train").LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.minorticks_off()
        _over_epochs(axes, panel.title)
        axes.set_xlim(0.5, history[-1]["epoch"] + 0.5)
        axes.legend(fontsize=9, framealpha=0.7, edgecolor="none", loc="upper right" if panel.is_loss else "lower right")
    return figure


def overlay(histories: dict[str, list[dict]]):
    """Loss and score of several runs in one picture, with the last values in the legend. They are those of the test images, but
    detectors have no loss there, only that of training.
    """
    figure = figure_of(9, 3.6)
    for axes, titles, factor in zip(figure.subplots(1, 2), (LOSSES, SCORES), (1, 100), strict=True):
        metrics = {name: next(key for key in titles if key in history[0]) for name, history in histories.items()}
        for name, metric in metrics.items():
            _line(axes, histories[name], metric, name, "{:.4g}", factor)
        if titles is LOSSES:
            axes.set_yscale("log")
        _over_epochs(axes, " or ".join(dict.fromkeys(titles[metric] for metric in metrics.values())))
        axes.legend(frameon=False, fontsize=8)
    return figure


def _line(axes, history: list[dict], metric: str, name: str, form: str, factor: float, **style) -> None:
    """A metric where it was measured, and its last value in the legend."""
    known = [(row["epoch"], factor * row[metric]) for row in history if row.get(metric) is not None]
    last = form.format(known[-1][1]) if known else "-"
    axes.plot([epoch for epoch, _ in known], [value for _, value in known], linewidth=1.6, label=f"{name}  {last}", **style)


def _over_epochs(axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("epoch", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)
    axes.tick_params(labelsize=8, which="both")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: list[str]):
    """How many samples of each class (rows) were taken for which (columns): hits in blue, mistakes in orange.

    Each hit is shaded by its share of the row, each mistake by its share of the worst one. On the right, the share of each
    class that was found.
    """
    colormaps = require("matplotlib", extra="train").colormaps
    n = len(classes)
    counts = np.zeros((n, n), int)
    np.add.at(counts, (labels, predicted), 1)
    hits, wrong = np.diag(counts), counts * (1 - np.eye(n, dtype=int))
    recall = hits / np.maximum(counts.sum(1), 1)
    colours = colormaps["Oranges"](0.75 * wrong / max(wrong.max(), 1))
    colours[wrong == 0] = 1
    colours[np.diag_indices(n)] = colormaps["Blues"](0.15 + 0.7 * recall)

    figure = figure_of(1.9 + 0.46 * n, 1.2 + 0.46 * n)
    axes = figure.add_subplot()
    axes.imshow(colours)
    for i, j in np.argwhere(counts):
        colour = "white" if i == j and recall[i] > 0.5 else INK
        axes.text(j, i, counts[i, j], ha="center", va="center", fontsize=8, color=colour)
    for i in range(n):
        axes.text(n - 0.3, i, f"{100 * recall[i]:.1f} %", va="center", fontsize=8, color=BLUE)
    axes.set_xticks(range(n), classes, rotation=0 if max(map(len, classes)) < 3 else 60, fontsize=9)
    axes.set_yticks(range(n), classes, fontsize=9)
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color=PALE, linewidth=0.5)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    accuracy = hits.sum() / max(len(labels), 1)
    axes.set_title(f"{wrong.sum():,} mistakes of {len(labels):,}: accuracy {100 * accuracy:.2f} %", loc="left", fontsize=10)
    return figure


def mistakes(dataset, labels: np.ndarray, probabilities: np.ndarray, classes: list[str]):
    """The samples that were most confidently wrong: true class, and the predicted one with its probability."""
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")][:MOST_MISTAKES]
    rows = max(1, -(-len(wrong) // TILES_IN_A_ROW))
    figure = figure_of(1.15 * TILES_IN_A_ROW, 1.36 * rows + 0.4)
    figure.suptitle("the most confident mistakes: true class \N{RIGHTWARDS ARROW} predicted class and its probability"
                    if len(wrong) else "no mistakes", fontsize=10)
    grid = figure.subplots(rows, TILES_IN_A_ROW, squeeze=False)
    for axes in grid.flat[len(wrong):]:
        axes.set_axis_off()
    between = "\n" if max(map(len, classes)) > 3 else " "
    for axes, index in zip(grid.flat, wrong, strict=False):
        image, guess = np.asarray(dataset[int(index)][0]), predicted[index]
        image = (image - image.min()) / (np.ptp(image) or 1)
        axes.imshow(image[0] if len(image) == 1 else image.transpose(1, 2, 0), cmap="gray_r")
        axes.set_title(f"{classes[labels[index]]}{between}\N{RIGHTWARDS ARROW} {classes[guess]}  "
                       f"{100 * probabilities[index, guess]:.0f} %", fontsize=8, color=INK)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.spines[:].set(color=PALE, linewidth=0.6)
    return figure
