"""The pictures of docs/lenet-1998.md: ``python docs/lenet1998.py RUN``, where RUN is a run of lenet-1998 on MNIST.

The curve is of that run. Feature maps and mistakes are of the same network trained on the digits that come with minidl, whose
licence allows to show them.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import minidl
from minidl.cli.choices import data_set, trained
from minidl.study import pictures, record
from minidl.train import RunFolder

HERE = Path(__file__).resolve().parent / "lenet-1998"
PAPER = {"test": 0.95, "training, after 19 passes": 0.35}  # per cent, section III.B


def errors(history):
    """Error per pass, beside the paper's last figures."""
    figure = pictures.figure_of(8, 3.6)
    axes = figure.add_subplot()
    passes = [row["epoch"] for row in history]
    for part, colour in (("test", "#dd6b20"), ("train", "#2b6cb0")):
        values = [100 * (1 - row[f"{part}_accuracy"]) for row in history]
        axes.plot(passes, values, color=colour, marker="o", markersize=3, label=f"{part}, ours: {values[-1]:.2f} % at the end")
    for (part, value), colour in zip(PAPER.items(), ("#dd6b20", "#2b6cb0"), strict=True):
        axes.axhline(value, color=colour, linestyle=":", label=f"{part}, the paper: {value} %")
    axes.set_ylim(0, 5)
    axes.set_title("error on MNIST, %", loc="left", fontsize=10)
    axes.set_xlabel("pass over the 60,000 training images", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    return figure


def main(run: str) -> None:
    HERE.mkdir(exist_ok=True)
    errors(RunFolder(run).open().metrics()).savefig(HERE / "error.png", dpi=120)
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "minidl", "train", "lenet-1998", "--data", "digits", "--seed", "0", "--out", folder]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        (HERE / "mistakes.png").write_bytes((Path(folder) / "mistakes.png").read_bytes())
        model, _ = trained(folder)
    image = minidl.tensor(data_set("digits", False, model="lenet-1998")[4][0][None])
    with record(model) as seen:
        model(image)
    for layer in ("c1", "c3"):
        pictures.feature_maps(seen.of(layer)[-1]).savefig(HERE / f"{layer}.png", dpi=110)


if __name__ == "__main__":
    main(sys.argv[1])
