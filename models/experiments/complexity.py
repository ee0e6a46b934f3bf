"""What accuracy costs: parameters, operations, memory and time of the classifiers, measured on the default device.

After Canziani, Paszke and Culurciello, "An analysis of deep neural network models for practical applications" (arXiv
1605.07678). As there, an operation is an addition or a multiplication, two for each multiply-add. Accuracy is not measured: it
is that of the published weights (torchvision 0.29.2), one centre crop of ImageNet's validation set.
"""

import statistics
import time
import tracemalloc

import minidl
from minidl import cuda, models
from minidl.models.experiments.fit import COLOURS, axes_of
from minidl.nn.utils import preserved
from minidl.study import record, summarize
from minidl.study.pictures import figure_of

TOP1 = {"alexnet": 56.522, "vgg11": 69.02, "vgg13": 69.928, "vgg16": 71.592, "vgg19": 72.376, "vgg16_bn": 73.36,
        "googlenet": 69.778, "resnet18": 69.758, "resnet34": 73.314, "resnet50": 76.13, "resnet101": 77.374, "resnet152": 78.312}
OTHERS = ("zfnet", "vgg11_bn", "vgg13_bn", "vgg19_bn")  # of whose published weights, if any, no accuracy is given here
FAMILIES = ("alexnet", "vgg", "googlenet", "resnet")
ROUNDS = 3


def measure(name: str, batches=(1, 4), rounds: int = ROUNDS) -> dict:
    """One model: parameters and multiply-adds of what runs at test time; bytes kept for backward for one image; seconds an image
    at each batch size (median of some rounds, after one that does not count); peak bytes of a forward pass of the largest batch.
    """
    minidl.manual_seed(0)
    model = getattr(models, name)().eval()
    shape = model.input_shape
    found = {"name": name, "top1": TOP1.get(name), "kept_bytes": sum(row.saved_bytes for row in summarize(model, (1, *shape)))}
    with preserved(model), minidl.no_grad(), record(model) as seen:
        model.eval()(minidl.zeros(1, *shape))
    ran = {id(p): p.numel() for _, module, _ in seen.calls for p in module.parameters(recurse=False)}
    found |= {"parameters": sum(ran.values()), "multiply_adds": sum(op.multiply_adds for op in seen)}
    model.eval()
    with minidl.no_grad():
        found["seconds"] = {}
        for batch in batches:
            images, times = minidl.randn(batch, *shape), []
            for _ in range(rounds + 1):
                times.append(_seconds(model, images))
            found["seconds"][batch] = statistics.median(times[1:]) / batch
        found["peak_bytes"] = _peak_bytes(model, images)
    return found


def _seconds(model, images) -> float:
    start = time.perf_counter()
    model(images)
    if images.device.type == "cuda":
        cuda.synchronize()
    return time.perf_counter() - start


def _peak_bytes(model, images) -> int:
    """How much more memory a forward pass has in use at its fullest than there is before and after it."""
    if images.device.type == "cuda":
        cuda.reset_peak_memory_stats()
        before = cuda.memory_allocated()
        model(images)
        return cuda.max_memory_allocated() - before
    tracemalloc.start()
    model(images)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def run(names=tuple(TOP1), batches=(1, 4), report=print) -> tuple[dict, object]:
    """All models; results and the charts."""
    report("model        parameters   G-Ops   top-1   kept, MB   peak, MB   " + "   ".join(f"ms/image b{b}" for b in batches))
    rows = []
    for name in names:
        rows.append(row := measure(name, batches))
        times = "   ".join(f"{1e3 * row['seconds'][b]:11.1f}" for b in batches)
        top1 = "-" if row["top1"] is None else f"{row['top1']:.1f}"
        report(f"{name:11} {row['parameters']:11,}   {2e-9 * row['multiply_adds']:5.2f}   {top1:>5}   "
               f"{1e-6 * row['kept_bytes']:8.1f}   {1e-6 * row['peak_bytes']:8.1f}   {times}")
    return {"models": rows}, _picture(rows, batches)


def _colour(name: str) -> str:
    return next((colour for family, colour in zip(FAMILIES, COLOURS, strict=False) if name.startswith(family)), COLOURS[5])


def _picture(rows: list[dict], batches):
    figure = figure_of(11, 8)
    bubbles, times, growth, memory = figure.subplots(2, 2).flat
    largest = batches[-1]
    for row in rows:
        operations, colour = 2e-9 * row["multiply_adds"], _colour(row["name"])
        if row["top1"] is not None:
            bubbles.scatter(operations, row["top1"], s=row["parameters"] / 1e5, color=colour, alpha=0.45)
            bubbles.annotate(row["name"], (operations, row["top1"]), fontsize=7, xytext=(3, 2), textcoords="offset points",
                             rotation=30)
        milliseconds = [1e3 * seconds for seconds in row["seconds"].values()]
        growth.plot(list(row["seconds"]), milliseconds, color=colour)
        _point(times, row["name"], operations, milliseconds[-1])
        _point(growth, row["name"], largest, milliseconds[-1])
        _point(memory, row["name"], 4e-6 * row["parameters"], 1e-6 * row["peak_bytes"])
    axes_of(bubbles, "published top-1 accuracy, %; area: parameters", "operations for one image, 10^9").margins(0.12)
    axes_of(times, f"time for one image, ms, in batches of {largest}", "operations for one image, 10^9")
    axes_of(growth, "time for one image, ms", "images in a batch").set_xticks(list(batches))
    axes_of(memory, f"memory of a forward pass of {largest}, MB, weights aside", "weights, MB")
    for axes in (times, growth, memory):
        axes.margins(x=0.15, y=0.1)
        axes.set_ylim(bottom=0)
    return figure


def _point(axes, name: str, x: float, y: float) -> None:
    axes.plot(x, y, "o", color=_colour(name))
    axes.annotate(name, (x, y), fontsize=7, xytext=(3, 3), textcoords="offset points", rotation=30)  # so that few overlap
