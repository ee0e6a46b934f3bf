"""All that needs a GPU, in one go and in the order of value: checks, the most telling tests, and the benchmarks.

Each stage has its time, so that one that hangs leaves some to the others; all together have ``--minutes``. In the folder
``--out`` lie the whole output as it comes (log.txt), what came of each stage (summary.txt), and the figures of each benchmark
(*.json). A run that is cut off leaves what it had.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.gpu.checks import missing
from benchmarks.harness import ROOT, show

TESTS = ["tests/cuda", "tests/kernels", "tests/ops", "tests/optim", "tests/amp", "tests/nn", "tests/test_engine.py"]


class Stage(NamedTuple):
    """Seconds that it may take, its command after ``python -m``, and what it cannot do without."""

    seconds: int
    command: list[str]
    needs: tuple[str, ...] = ("gpu",)


def stages(out: Path, lacking) -> dict[str, Stage]:
    """In their order."""
    pytest = ["pytest", "--device", "cuda", "-q", "--tb", "short", "-W", "default", "-m", "not slow and not bars", *TESTS]
    pytest += [] if "xdist" in lacking else ["-n", str(min(16, os.cpu_count() or 1))]
    once = ["--rounds", "1", "--out", str(out)]
    return {
        "checks": Stage(120, ["benchmarks.gpu.checks"]),
        "tests": Stage(200, pytest, ("gpu", "pytest")),
        "steps": Stage(240, ["benchmarks.gpu.steps", *once]),
        "bandwidth": Stage(60, ["benchmarks.gpu.bandwidth", *once]),
        "mnist": Stage(40, ["benchmarks.gpu.mnist", *once], ("gpu", "mnist")),
        "regions": Stage(40, ["benchmarks.gpu.regions", *once]),
        "layers": Stage(150, ["benchmarks.gpu.layers", *once]),
    }


def run(command: list[str], seconds: float, log) -> str:
    """What came of the command; after its time it is interrupted, and soon after that killed with all that it started."""
    start = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=ROOT, stdout=log, stderr=subprocess.STDOUT,
                               env=os.environ | {"PYTHONUNBUFFERED": "1"}, start_new_session=True)
    outcome = ""
    try:
        process.wait(seconds)
        outcome = "good" if process.returncode == 0 else f"failed ({process.returncode})"
    except subprocess.TimeoutExpired:
        outcome = "cut off"
        _signal(process, signal.SIGINT)  # pytest then says what it has found
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    finally:
        _signal(process, signal.SIGKILL)
    return f"{outcome} after {time.monotonic() - start:.0f} s"


def _signal(process, number) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def tables(out: Path) -> str:
    """Every report in the folder."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        for path in sorted(out.glob("*.json")):
            print()
            show(json.loads(path.read_text()))
    return text.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.gpu.all", description=__doc__)
    names = list(stages(Path(), ()))
    parser.add_argument("--out", type=Path, default=ROOT / "build/gpu", help="folder for what comes of it (default build/gpu)")
    parser.add_argument("--minutes", type=float, default=9.5, help="for all stages together (default 9.5)")
    parser.add_argument("--only", nargs="+", choices=names, default=names, metavar="STAGE", help=f"of {', '.join(names)}")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    end, out, lacking = time.monotonic() + 60 * options.minutes, options.out.resolve(), missing()
    out.mkdir(parents=True, exist_ok=True)
    lines = [*lacking.values()]
    print(*lines, sep="\n", flush=True)
    for name, stage in stages(out, lacking).items():
        if name not in options.only:
            continue
        lines.append(f"{name}: {_outcome(name, stage, end - time.monotonic(), lacking, out)}")
        print(lines[-1], flush=True)
        (out / "summary.txt").write_text("\n".join(lines) + "\n" + tables(out))
    print(tables(out))


def _outcome(name: str, stage: Stage, left: float, lacking, out: Path) -> str:
    wanted = [need for need in stage.needs if need in lacking]
    if wanted:
        return f"skipped: {lacking[wanted[0]]}"
    if left < 5:
        return "skipped: no time is left"
    with (out / "log.txt").open("a") as log:
        print(f"\n==== {name}", file=log, flush=True)
        return run(stage.command, min(stage.seconds, left), log)


if __name__ == "__main__":
    main()
