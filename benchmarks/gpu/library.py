"""minidl and PyTorch on a GPU, under the names that both have: precisions, random tensors, gradients, and a clock that waits."""

import contextlib
import functools
import importlib
import sys
import traceback
from collections.abc import Callable

import numpy as np

from benchmarks.harness import seconds

# How float32 is multiplied, and the dtype of activations.
PRECISIONS = {"fp32": ("highest", "float32"), "tf32": ("high", "float32"), "bf16": ("high", "bfloat16")}


class Library:
    """``framework``: "minidl" or "torch", and after a blank a way to run it."""

    def __init__(self, framework: str):
        self.name, _, self.variant = framework.partition(" ")
        self.module = importlib.import_module(self.name)
        self.functional = importlib.import_module(f"{self.name}.nn.functional")
        self.optim, self.cuda = (importlib.import_module(f"{self.name}.{part}") for part in ("optim", "cuda"))
        self._grad = importlib.import_module(f"{self.name}.autograd").grad
        if self.name == "torch":
            self.module.backends.cudnn.benchmark = True  # its fastest way

    def use(self, precision: str) -> Callable:
        """Multiply float32 as ``precision`` says; the context to compute in is returned: autocast for bf16."""
        multiplied, dtype = PRECISIONS[precision]
        self.module.set_float32_matmul_precision(multiplied)
        if self.name == "torch":
            self.module.backends.cudnn.allow_tf32 = multiplied != "highest"
        if dtype == "float32":
            return contextlib.nullcontext
        autocast = importlib.import_module(f"{self.name}.amp").autocast
        return functools.partial(autocast, "cuda", dtype=getattr(self.module, dtype))

    def random(self, shape, dtype="float32", scale=1.0, needs_grad=False):
        """Normal numbers, drawn on the GPU; PyTorch's lie in memory as its variant says."""
        x = (self.module.randn(*shape, device="cuda") * scale).to(getattr(self.module, dtype))
        if self.variant == "channels_last" and x.ndim == 4:
            x = x.to(memory_format=self.module.channels_last)
        return x.requires_grad_(needs_grad)

    def labels(self, count: int, classes: int):
        """Random classes on the GPU."""
        return self.module.tensor(np.random.default_rng(0).integers(0, classes, count), device="cuda")

    def forward(self, function: Callable, *args) -> Callable:
        """``function(*args)``, which records nothing for a gradient."""
        def run():
            with self.module.no_grad():
                return function(*args)

        return run

    def gradient(self, function: Callable, *args) -> Callable:
        """The gradient of ``function(*args)`` for those of the arguments that require one, without the way there."""
        y = function(*args)
        wanted = [x for x in args if getattr(x, "requires_grad", False)]
        seed = self.module.ones_like(y)
        return lambda: self._grad(y, wanted, seed, retain_graph=True)

    def seconds(self, function: Callable, at_least: float) -> float:
        """Median time of one call, by batches that the GPU has finished."""
        return seconds(function, repeat=5, at_least=at_least, wait=self.cuda.synchronize)

    def timed(self, rows: dict[str, Callable], at_least: float) -> dict[str, float]:
        """Seconds of each function that a row makes. A row that fails says why on stderr and is left out: the others go on."""
        times = {}
        for name, make in rows.items():
            try:
                times[name] = self.seconds(make(), at_least)
            except Exception:
                print(f"{self.name}: {name} failed", file=sys.stderr)
                traceback.print_exc()
        return times
