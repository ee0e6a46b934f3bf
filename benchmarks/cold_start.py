"""Cold start: import, and the first LeNet-5 training step from the start of the process, with an empty and a filled JIT cache."""

import os
import subprocess
import sys
import tempfile
import time

from benchmarks.harness import main

FIRST_STEP = """
import importlib, numpy as np
library, nn, optim = (importlib.import_module(name) for name in ("{0}", "{0}.nn", "{0}.optim"))
from benchmarks.lenet import lenet5_relu
model = lenet5_relu(nn)
optimizer = optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
x = library.tensor(np.ones((64, 1, 28, 28), np.float32)); y = library.tensor(np.zeros(64, np.int64))
nn.CrossEntropyLoss()(model(x), y).backward()
optimizer.step()
"""


def measure(framework: str) -> dict[str, float]:
    times = {"import": min(_time(f"import {framework}") for _ in range(3)) - min(_time("pass") for _ in range(3))}
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"MINIDL_CACHE": cache}
        times["first step, empty cache"] = _time(FIRST_STEP.format(framework), environment)
        times["first step, filled cache"] = _time(FIRST_STEP.format(framework), environment)
    return times


def _time(code: str, environment=None) -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
    return time.perf_counter() - start


if __name__ == "__main__":
    main("benchmarks.cold_start", __doc__, rounds=1)
