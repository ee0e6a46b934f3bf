"""Kernels that wait for memory, on a GPU: GB/s, as a share of what a large copy reaches; 80 % is the bar.

Counted is what has to be read and written once, of arrays that do not fit into the GPU's cache: a batch norm has to read its
input twice, first for the mean and the variance. Optimizers take longer in Python than on the GPU; "captured" is the kernel.
"""

import math

from benchmarks.gpu.library import PRECISIONS, Library
from benchmarks.harness import main
from benchmarks.networks import build

ITEM = {"fp32": 4, "bf16": 2}
SHAPE = (256, 64, 56, 56)  # after ResNet's and GoogLeNet's first layers
ROWS = (65536, 1000)  # classes of many images
NETWORK, PARAMETERS = "ResNet-50", 25_557_032
COPY, OPTIMIZERS, CAPTURED = "copy", ("SGD with momentum", "Adam"), " captured"  # steps as CUDA graphs (minidl.capture)
# For each number of the input: how many are read and written, and bytes beside them: 1 of a mask, 8 of the winner in a window.
TRAFFIC = {
    COPY: (2, 0), "relu forward": (2, 0), "relu gradient": (3, 0), "add_relu forward": (3, 0),
    "batch norm forward": (3, 0), "batch norm gradient": (5, 0),
    "max pool 3x3/2 forward": (5 / 4, 0), "max pool 3x3/2 gradient": (5 / 4, 8 / 4),
    "average pool 2x2 forward": (5 / 4, 0), "average pool 2x2 gradient": (5 / 4, 0),
    "LRN forward": (2, 0), "LRN gradient": (3, 0), "dropout forward": (2, 1), "dropout gradient": (2, 1),
    "softmax forward": (2, 0), "softmax gradient": (3, 0), "cross-entropy forward": (1, 0), "cross-entropy gradient": (2, 0),
    "SGD with momentum": (5, 0), "Adam": (7, 0), "SGD with momentum captured": (5, 0), "Adam captured": (7, 0),
}
AT_LEAST = 0.1  # seconds for each figure


def measure(framework: str, precision: str) -> dict[str, float]:
    library = Library(framework)
    dtype = PRECISIONS[precision][1]
    rows = {COPY: lambda: library.random(SHAPE, dtype).clone} | _layers(library, dtype)
    if precision == "fp32":  # parameters are float32 in mixed precision, too
        rows |= _optimizers(library)
    times = library.timed(rows, AT_LEAST)
    if framework == "torch":  # beside ours stands its step as its users write it
        times |= {name + CAPTURED: times[name] for name in OPTIMIZERS if name in times}
    return times


def _layers(library: Library, dtype: str) -> dict:
    functional, channels = library.functional, SHAPE[1]

    def both(name, function, shape=SHAPE, *others):
        def arguments(needs_grad):
            return library.random(shape, dtype, needs_grad=needs_grad), *(make() for make in others)

        return {f"{name} forward": lambda: library.forward(function, *arguments(False)),
                f"{name} gradient": lambda: library.gradient(function, *arguments(True))}

    add_relu = library.module.ops.add_relu if library.name == "minidl" else lambda x, y: functional.relu(x + y)
    weight, bias = library.random((channels,)), library.random((channels,))
    return {
        **both("relu", functional.relu),
        "add_relu forward": lambda: library.forward(add_relu, library.random(SHAPE, dtype), library.random(SHAPE, dtype)),
        **both("batch norm", lambda x: functional.batch_norm(x, None, None, weight, bias, True)),
        **both("max pool 3x3/2", lambda x: functional.max_pool2d(x, 3, 2, 1)),
        **both("average pool 2x2", lambda x: functional.avg_pool2d(x, 2)),
        **both("LRN", lambda x: functional.local_response_norm(x, 5)),
        **both("dropout", functional.dropout),
        **both("softmax", lambda x: functional.softmax(x, 1), ROWS),
        **both("cross-entropy", functional.cross_entropy, ROWS, lambda: library.labels(*ROWS)),
    }


def _optimizers(library: Library) -> dict:
    def step(optimizer, **options):
        parameters = list(build(library.name, NETWORK).to("cuda").parameters())
        for p in parameters:
            p.grad = library.module.ones_like(p)
        return optimizer(parameters, lr=1e-6, **options).step

    def captured(step):
        replay, argument = library.module.capture(lambda _: step()), library.random((1,))
        return lambda: replay(argument)

    sgd, adam = OPTIMIZERS
    rows = {sgd: lambda: step(library.optim.SGD, momentum=0.9), adam: lambda: step(library.optim.Adam)}
    if library.name == "minidl":
        rows |= {name + CAPTURED: lambda make=make: captured(make()) for name, make in rows.items()}
    return rows


def rates(precision: str, times) -> dict[str, dict[str, float]]:
    """GB/s of ours, and percent of the faster copy's."""
    speeds = {row: {f: _bytes(row, ITEM[precision]) / t for f, t in each.items()} for row, each in times.items()}
    copy = max(speeds[COPY].values()) if COPY in speeds else math.nan
    return {row: {"GB/s": each["minidl"] / 1e9, "%": 100 * each["minidl"] / copy} for row, each in speeds.items()}


def _bytes(row: str, item: int) -> float:
    """What a row reads and writes, with numbers of ``item`` bytes."""
    numbers, beside = TRAFFIC[row]
    if row.startswith(OPTIMIZERS):
        count = PARAMETERS
    else:
        count = math.prod(ROWS if row.startswith(("softmax", "cross-entropy")) else SHAPE)
    return count * (numbers * item + beside)


if __name__ == "__main__":
    main("benchmarks.gpu.bandwidth", __doc__, cases=tuple(ITEM), rates=rates)
