"""Run all benchmarks, or those named, and draw the pictures: ``python -m benchmarks.run [op_overhead lenet_step ...]``."""

import subprocess
import sys

ALL = ["steps", "conv_layers", "depthwise", "growth", "curves", "errors", "hand_off", "import_order", "op_overhead", "lenet_step",
       "mnist_epoch", "cold_start", "recording", "proposals", "regions", "region_detectors"]


def run(names: list[str]) -> None:
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.exit(f"unknown benchmark {unknown[0]!r}: choose from {', '.join(ALL)}")
    for name in names or ALL:
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False)
        print()
    subprocess.run([sys.executable, "-m", "benchmarks.plot"], check=False)


if __name__ == "__main__":
    run(sys.argv[1:])
