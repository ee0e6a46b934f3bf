"""The first minute on a GPU: what is missing, whether every kernel compiles for it, and whether each family agrees with the CPU.

A check is a process of its own, since an error on a GPU spoils it for the whole process; several run at a time. Each prints a
line when it has ended, and if it failed the end of what it said.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np

import minidl
from benchmarks.gpu.library import PRECISIONS
from benchmarks.gpu.nvrtc import variants
from benchmarks.harness import ROOT
from minidl import ops, optim
from minidl.device import gpu_count
from minidl.dtypes import as_dtype
from minidl.errors import DeviceError, MissingDependencyError
from minidl.nn import functional as F

TOGETHER = min(16, os.cpu_count() or 1)
PATIENCE = 60  # seconds for a check
# The largest difference, as a share of the largest number: a few roundings of float32; tf32 keeps 11 bits and bfloat16 8.
TOLERANCES = {"fp32": 1e-5, "tf32": 5e-3, "bf16": 3e-2}
FAMILIES = {  # the function, and the shapes of its arguments
    "activation": (F.leaky_relu, (5, 7)), "add_relu": (F.add_relu, (5, 7), (5, 7)), "erf": (F.gelu, (5, 7)),
    "sum": (lambda x: x.sum((0, 2)), (9, 5, 70)), "put": (lambda x: x[[2, 0, 2]], (3, 5)),
    "softmax": (lambda x: F.softmax(x, 1), (5, 70)), "log_softmax": (lambda x: F.log_softmax(x, 1), (5, 70)),
    "cross_entropy": (lambda x: F.cross_entropy(x, minidl.tensor([1, 0, 6], device=x.device)), (3, 7)),
    "batch_norm": (lambda x: F.batch_norm(x, None, None, training=True), (5, 3, 6, 7)),
    "group_norm": (lambda x: F.group_norm(x, 2), (5, 4, 6, 7)), "lrn": (lambda x: F.local_response_norm(x, 5), (2, 9, 6, 7)),
    "max_pool": (lambda x: F.max_pool2d(x, 3, 2, 1), (2, 3, 8, 9)), "avg_pool": (lambda x: F.avg_pool2d(x, 2), (2, 3, 8, 9)),
    "dropout": (lambda x: F.dropout(x, 0.4), (5, 70)), "normal": (lambda x: x * minidl.randn(70, device=x.device), (5, 70)),
    "matmul": (lambda x, y: x @ y, (40, 72), (72, 48)), "batches of matrices": (lambda x, y: x @ y, (3, 5, 16), (3, 16, 8)),
    "conv": (lambda x, w: F.conv2d(x, w, None, 1, 1), (2, 16, 9, 8), (24, 16, 3, 3)),
    "strided conv": (lambda x, w: F.conv2d(x, w, None, 2, 3), (2, 3, 19, 18), (16, 3, 7, 7)),
    "roi_pool": (lambda x: ops.roi_pool(x, [_boxes(x)] * 2, (3, 2)), (2, 3, 9, 8)),
    "roi_align": (lambda x: ops.roi_align(x, [_boxes(x)] * 2, (3, 2), aligned=True), (2, 3, 9, 8)),
    "depthwise": (lambda x, w: F.conv2d(x, w, None, 1, 1, 1, 8), (2, 8, 9, 7), (8, 1, 3, 3)),
}


def _boxes(x):
    """Two of them, beside x."""
    return minidl.tensor([[0.5, 1.0, 7.0, 6.5], [2.0, -1.0, 5.0, 3.0]], device=x.device)


def missing() -> dict[str, str]:
    """What is not there, and what follows, in a line each."""
    lines = {}
    try:
        gpu_count()
    except (DeviceError, MissingDependencyError) as error:
        lines["gpu"] = str(error)
    for package, without in (("torch", "nothing to compare with"), ("torchvision", "PyTorch has LeNet-5 alone"),
                             ("pytest", "no tests"), ("xdist", "tests run one by one"), ("ml_dtypes", "no bfloat16")):
        if importlib.util.find_spec(package) is None:
            lines[package] = f"{package} is not installed: {without}"
    if not (Path(os.environ.get("MINIDL_DATA", "")) / "mnist").is_dir():
        lines["mnist"] = "MNIST is not here: MINIDL_DATA names no folder that holds mnist/"
    return lines


def compiles(file: str, dtype: str) -> None:
    """Compile for the current GPU, and leave the result in CuPy's cache."""
    from minidl.kernels.cuda.launch import _module

    _module(file, as_dtype(dtype)).compile()


def agrees(family: str) -> None:
    """Raise AssertionError unless results and gradients on the GPU are those of the CPU, in all precisions."""
    for precision in PRECISIONS:
        multiplied, dtype = PRECISIONS[precision]
        minidl.set_float32_matmul_precision(multiplied)
        for here, there in zip(_results(family, dtype, "cuda"), _results(family, dtype, "cpu"), strict=True):
            error = np.abs(here - there).max() / max(np.abs(there).max(), 1e-30)
            assert error <= TOLERANCES[precision], f"{family} in {precision}: off by {error:.1e} of the largest number"


def _results(family: str, dtype: str, device: str) -> list[np.ndarray]:
    """The result and the gradients of all arguments."""
    minidl.manual_seed(1)
    function, *shapes = FAMILIES[family]
    random = np.random.default_rng(0)
    args = [minidl.tensor(random.standard_normal(shape, np.float32), device=device).to(as_dtype(dtype)).requires_grad_()
            for shape in shapes]
    y = function(*args)
    seed = minidl.tensor(random.standard_normal(y.shape, np.float32), device=device).to(y.dtype)
    y.backward(seed)
    return [each.detach().cpu().numpy().astype(np.float64) for each in (y, *(x.grad for x in args))]


def trains(name: str) -> None:
    """Raise AssertionError unless three steps of an optimizer, of which the last is replayed, are those of the CPU."""
    found = []
    for device in ("cuda", "cpu"):
        p = minidl.tensor(np.linspace(-1, 1, 5000, dtype=np.float32), device=device).requires_grad_()
        optimizer = getattr(optim, name)([p], lr=0.01)

        @minidl.capture
        def step(x, p=p, optimizer=optimizer):
            optimizer.zero_grad()
            ((p * x) ** 2).sum().backward()
            optimizer.step()

        for _ in range(3):
            step(minidl.ones(5000, device=device))
        found.append(p.detach().cpu().numpy())
    assert np.allclose(*found, rtol=1e-5, atol=1e-6), f"{name}: off by {np.abs(found[0] - found[1]).max():.1e}"


CHECKS = {"compiles": (compiles, variants()), "agrees": (agrees, [(name,) for name in FAMILIES]),
          "trains": (trains, [("SGD",), ("Adam",), ("RMSprop",)])}


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.gpu.checks", description=__doc__)
    parser.add_argument("--one", nargs="+", metavar=("CHECK", "ARGUMENT"), help="this check alone, in this process")
    options = parser.parse_args()
    if options.one:
        check, *arguments = options.one
        CHECKS[check][0](*arguments)
        return
    lacking = missing()
    for line in lacking.values():
        print(line)
    if "gpu" in lacking:
        sys.exit(1)
    print(minidl.cuda.memory_summary(), "CUDA of the driver and of CuPy:", *minidl.cuda.versions(), flush=True)
    good = [_report(check, arguments) for check, (_, arguments) in CHECKS.items()]
    sys.exit(0 if all(good) else 1)


def _report(check: str, arguments) -> bool:
    """Run the checks of a kind, print how each went, and say whether all were good."""
    failed = 0
    with ThreadPoolExecutor(TOGETHER) as pool:
        for done in as_completed([pool.submit(_run, check, *each) for each in arguments]):
            line, good = done.result()
            failed += not good
            print(line, flush=True)
    print(f"{check}: {len(arguments) - failed} of {len(arguments)} good", flush=True)
    return not failed


def _run(check: str, *arguments: str) -> tuple[str, bool]:
    """One check in a process: what to print, and whether it was good."""
    start = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.gpu.checks", "--one", check, *arguments]
    try:
        result = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE)
        good, said = result.returncode == 0, result.stdout
    except subprocess.TimeoutExpired:
        good, said = False, f"not done after {PATIENCE} s"
    line = f"{'ok    ' if good else 'FAILED'} {time.perf_counter() - start:5.1f} s  {check} {' '.join(arguments)}"
    return (line if good else f"{line}\n{said[-1500:]}"), good


if __name__ == "__main__":
    main()
