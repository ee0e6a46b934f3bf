"""Pictures say what the numbers say."""

import io

import numpy as np
import pytest

from minidl.data import TensorDataset
from minidl.train import plots


def drawn(figure) -> bytes:
    """The figure as PNG."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return file.getvalue()


def row(epoch, loss=0.5):
    return {"epoch": epoch, "train_loss": loss, "train_accuracy": 0.5, "test_loss": 2 * loss, "test_accuracy": 0.25}


@pytest.mark.parametrize("epochs", [1, 3, 40])
def test_curves(epochs):
    figure = plots.curves([row(epoch, 1 / epoch) for epoch in range(1, epochs + 1)])
    loss, accuracy = figure.axes
    assert loss.get_yscale() == "log"
    for axes, last in ((loss, (1 / epochs, 2 / epochs)), (accuracy, (50, 25))):
        for line, value in zip(axes.get_lines(), last, strict=True):
            assert line.get_xdata().tolist() == list(range(1, epochs + 1)) and line.get_ydata()[-1] == value
    assert [text.get_text() for text in accuracy.get_legend().get_texts()] == ["train  50.00 %", "test  25.00 %"]
    drawn(figure)


def test_curves_of_a_loss_of_zero():
    """A logarithmic axis leaves out what is 0, without a warning."""
    drawn(plots.curves([row(1), row(2, 0.0)]))


def test_curves_of_what_was_not_always_measured():
    """Each diagram has the metrics it is told, at the epochs at which they are not None."""
    history = [{"epoch": k, "train_loss": 1.0, "test_map": 0.1 * k if k != 2 else None} for k in (1, 2, 3)]
    panels = (plots.Panel("loss", {"sum": "train_loss"}),
              plots.Panel("mAP", {"test": "test_map"}, "{:.1f} %", 100, is_loss=False))
    line = plots.curves(history, panels).axes[1].get_lines()[0]
    assert line.get_xdata().tolist() == [1, 3] and line.get_label() == "test  30.0 %"
    assert plots.curves(history[1:2], panels).axes[1].get_lines()[0].get_label() == "test  -"


def test_a_classifier_beside_a_detector():
    loss, score = plots.overlay({"a": [row(1)], "b": [{"epoch": 1, "train_loss": 3.0, "test_map": 0.75}]}).axes
    assert (loss.get_title(loc="left"), score.get_title(loc="left")) == ("test loss or training loss",
                                                                         "test accuracy, % or mAP@0.5, %")
    assert [line.get_ydata().tolist() for axes in (loss, score) for line in axes.get_lines()] == [[1.0], [3.0], [25.0], [75.0]]
    assert score.get_lines()[1].get_label() == "b  75"


def test_confusion():
    labels, predicted = np.array([0, 0, 0, 1, 2, 2]), np.array([0, 0, 2, 1, 1, 2])
    axes = plots.confusion(labels, predicted, ["cat", "dog", "horse", "none"]).axes[0]
    texts = {(round(t.get_position()[1]), round(t.get_position()[0])): t.get_text() for t in axes.texts}
    assert {place: text for place, text in texts.items() if "%" not in text} == {
        (0, 0): "2", (0, 2): "1", (1, 1): "1", (2, 1): "1", (2, 2): "1"}
    assert [text.get_text() for text in axes.texts if "%" in text.get_text()] == ["66.7 %", "100.0 %", "50.0 %", "0.0 %"]
    assert axes.get_title(loc="left") == "2 mistakes of 6: accuracy 66.67 %"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "horse", "none"]
    drawn(axes.figure)


def test_mistakes_most_confident_first():
    images = np.arange(4 * 2 * 3, dtype=np.float32).reshape(4, 1, 2, 3)
    dataset = TensorDataset(images, np.zeros(4, int))
    probabilities = np.array([[0.6, 0.4], [0.2, 0.8], [0.1, 0.9], [0.3, 0.7]])
    figure = plots.mistakes(dataset, np.array([0, 0, 0, 1]), probabilities, ["a", "b"])
    assert [axes.get_title() for axes in figure.axes[:3]] == ["a → b  90 %", "a → b  80 %", ""]
    shown = figure.axes[0].images[0].get_array()
    assert np.allclose(shown, (images[2, 0] - images[2].min()) / 5)
    drawn(figure)


def test_more_mistakes_than_room_and_none():
    dataset = TensorDataset(np.ones((40, 3, 2, 2), np.float32), np.zeros(40, int))
    certain = np.tile([0.0, 1.0], (40, 1))
    figure = plots.mistakes(dataset, np.zeros(40, int), certain, ["shirt", "coat"])
    assert len([axes for axes in figure.axes if axes.images]) == plots.MOST_MISTAKES
    assert figure.axes[0].get_title() == "shirt\n→ coat  100 %"
    drawn(figure)
    assert plots.mistakes(dataset, np.ones(40, int), certain, ["a", "b"]).get_suptitle() == "no mistakes"
