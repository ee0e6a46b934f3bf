"""NumPy's BLAS and a training step: minidl imported before NumPy, so that it can choose the BLAS kernels, or after it."""

import importlib

from benchmarks.harness import main, seconds

ORDERS = {"minidl first": ("minidl", "numpy"), "NumPy first": ("numpy", "minidl")}
SIDE = 1024


def measure(framework: str, order: str) -> dict[str, float]:
    for name in ORDERS[order]:
        importlib.import_module(name)
    np, library = importlib.import_module("numpy"), importlib.import_module(framework)
    a = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    ours = library.tensor(a)
    times = {f"NumPy's product of {SIDE}x{SIDE} matrices": seconds(lambda: a @ a),
             f"minidl's product of {SIDE}x{SIDE} matrices": seconds(lambda: ours @ ours)}
    networks = importlib.import_module("benchmarks.networks")  # which imports NumPy, as this module must not
    for name in ("LeNet-5", "ResNet-20"):
        times[f"{name} training step"] = seconds(networks.Case(framework, name).step, at_least=1.0)
    return times


if __name__ == "__main__":
    main("benchmarks.import_order", __doc__, peers=(), cases=tuple(ORDERS))
