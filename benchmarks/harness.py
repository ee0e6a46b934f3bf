"""Run the same measurement in minidl and in a peer, in separate processes, alternating, and report medians and ratios.

A benchmark is a module with a function ``measure(framework) -> {name: seconds}``, where ``framework`` is "minidl" or a peer,
whose name may be followed by a way to run it, as in "torch compile". With cases it is ``measure(framework, case)``, in a process
for each. A peer that cannot run here measures nothing, {}, says why, and is left out.
Two frameworks in one process fight over threads and caches, and machines drift, so each round starts one fresh process for
each framework, in turn, and ratios are taken between medians over the rounds. Peak memory is the process's own. A process that
fails is said and left out, and what was measured before it is kept.
"""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"


def seconds(function, repeat=7, at_least=0.2, wait=None) -> float:
    """Median time of one call: batches of calls that take ``at_least`` / ``repeat`` seconds each, after a warm-up. ``wait`` ends
    each batch, as a GPU is still at work when a call returns.
    """
    def batch(calls):
        start = time.perf_counter()
        for _ in range(calls):
            function()
        if wait is not None:
            wait()
        return (time.perf_counter() - start) / calls

    batch(1)
    calls = max(1, int(at_least / repeat / max(batch(1), 1e-7)))
    return statistics.median(batch(calls) for _ in range(repeat))


_built: list[int] = []
_noted: dict[str, int] = {}


def built() -> None:
    """Called by a measurement when model and data are there: the peak memory above this point is reported as well."""
    _built.append(_resident())


def note_bytes(name: str, size: int) -> None:
    """Called by a measurement: a peak of memory that only it knows, such as the GPU's; ``name`` is a key of MEMORY."""
    _noted[name] = size


def _resident() -> int:
    """Bytes of this process that are in memory now; Linux alone tells."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(module: str, description: str, peers=("torch",), rounds=3, cases=("",), rates=None) -> None:
    """The command line of a benchmark script.

    ``rates(case, times)`` says more: from {row: {framework: seconds}} to {row: {name: figure}}, to stand beside the seconds.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"processes for each framework (default {rounds})")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="threads for every framework (default: all)")
    if cases != ("",):
        parser.add_argument("--only", nargs="+", choices=cases, default=cases, help="these cases alone")
    if len(peers) > 1:
        parser.add_argument("--peers", nargs="+", choices=peers, default=peers, help="these alone")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder for the JSON (default benchmarks/results)")
    parser.add_argument("--worker", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        _work(module, options.threads, *options.worker)
        return
    name = module.removeprefix("benchmarks.").replace(".", "_")
    peers = getattr(options, "peers", peers)
    installed = [peer for peer in peers if importlib.util.find_spec(peer.split()[0])]
    for peer in sorted(set(peers) - set(installed)):
        print(f"{peer} is not installed, and left out")
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out.resolve() / f"{name}{_suffix(options.threads)}.json"
    before = json.loads(path.read_text()) if path.exists() else None
    found, failed, report = {}, [], None
    for case in getattr(options, "only", cases):
        runs = {framework: [] for framework in ("minidl", *installed)}
        try:
            _alternate(module, runs, options, case)
        finally:  # what is cut off leaves what it had
            failed += [f"{case} {framework}".lstrip() for framework, ran in runs.items() if len(ran) < options.rounds]
            runs = {framework: ran for framework, ran in runs.items() if len(ran) == options.rounds}
            if "minidl" in runs:
                found[case] = runs
                report = _report(name, description, found, options, rates)
                joined = _joined(before, report) if before and len(found) < len(cases) else report
                path.write_text(json.dumps(joined, indent=1) + "\n")
    if found:
        show(report)
        print(f"written to {path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def _suffix(threads: int) -> str:
    """Figures with fewer threads than the machine has lie in a file of their own."""
    return "" if threads == os.cpu_count() else f"_threads_{threads}"


def _work(module: str, threads: int, framework: str, *case: str) -> None:
    """One process: measure one framework, print JSON."""
    measured = importlib.import_module(module).measure(framework, *case)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    above = {"peak_above_model_bytes": peak - _built[0]} if _built else {}
    print(json.dumps({"seconds": measured, "peak_bytes": peak, **above, **_noted, "versions": _versions(framework.split()[0])}))


def _alternate(module, runs, options, case) -> None:
    """Add to ``runs`` of each framework what its processes print; one that fails is not tried again, and has fewer in the end.
    One that has nothing to measure is taken out.
    """
    environment = os.environ | {"OMP_NUM_THREADS": str(options.threads), "MINIDL_NUM_THREADS": str(options.threads)}
    for round_ in range(options.rounds):
        for framework in [f for f in runs if len(runs[f]) == round_]:
            print(f"{case} round {round_ + 1} of {options.rounds}: {framework} ...".lstrip().ljust(60), end="\r", flush=True,
                  file=sys.stderr)
            command = [sys.executable, "-m", module, "--threads", str(options.threads), "--worker", framework]
            command += [case] if case else []
            result = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
            if result.returncode == 0:
                ran = json.loads(result.stdout.splitlines()[-1])
                if ran["seconds"]:
                    runs[framework].append(ran)
                else:
                    del runs[framework]
    print(" " * 60, end="\r", file=sys.stderr)


MEMORY = {"peak_bytes": "peak memory", "peak_above_model_bytes": "above the model",
          **{f"peak_gpu_bytes_{precision}": f"of the GPU, {precision}" for precision in ("fp32", "tf32", "bf16")}}


def _report(name, description, found, options, rates) -> dict:
    """Medians over the rounds; for each row the peer's time over ours (above 1: we are faster), and that of its fastest way."""
    rows, memory, done = {}, {}, {}
    for case, runs in found.items():
        done |= runs
        compared = {row: _compared({f: [run["seconds"][row] for run in ran] for f, ran in runs.items() if _all_have(row, ran)})
                    for row in runs["minidl"][0]["seconds"] if _all_have(row, runs["minidl"])}
        for row, figures in (rates(case, {row: each["seconds"] for row, each in compared.items()}) if rates else {}).items():
            compared[row] |= figures
        rows |= {f"{case} {row}".lstrip(): each for row, each in compared.items()}
        memory[case] = {key: {f: statistics.median(run[key] for run in ran) for f, ran in runs.items() if key in ran[0]}
                        for key in MEMORY if key in runs["minidl"][0]}
    return {
        "benchmark": name, "description": description, **circumstances(), "gpu": done["minidl"][0]["versions"].get("gpu"),
        "threads": options.threads, "rounds": options.rounds,
        "versions": {f: ran[0]["versions"] for f, ran in done.items()},
        **(memory[""] if "" in memory else {"memory": memory}), "rows": rows,
    }


def circumstances() -> dict[str, str]:
    """What every report says: the day, the commit, and the processor."""
    return {"date": date.today().isoformat(), "commit": _commit(), "cpu": _cpu()}


def _all_have(row, ran) -> bool:
    """Whether no process left it out."""
    return all(row in run["seconds"] for run in ran)


def _joined(old, new) -> dict:
    """The new report, with the cases that only the old one has, under the commit and day of theirs."""
    measured = {key: new[key] for key in ("commit", "date", "rounds", "gpu")}
    before = {case: old.get("measured", {}).get(case, {key: old.get(key) for key in measured}) for case in old["memory"]}
    return new | {"rows": old["rows"] | new["rows"], "memory": old["memory"] | new["memory"],
                  "measured": before | {case: measured for case in new["memory"]}}


COMPARED = ("seconds", "ratio", "fastest")


def _compared(times) -> dict:
    medians = {f: statistics.median(each) for f, each in times.items()}
    row = {"seconds": medians, "ratio": {f: round(t / medians["minidl"], 3) for f, t in medians.items() if f != "minidl"}}
    if len(row["ratio"]) > 1:
        row["fastest"] = min(row["ratio"].values())
    return row


def show(report) -> None:
    """Print a report as a table."""
    frameworks = list(report["versions"])
    width, column = max(15, *(len(row) for row in report["rows"])), max(14, *(len(f) + 2 for f in frameworks))
    print(f"{report['description']}\n{report['gpu'] or report['cpu']}, {report['threads']} threads; "
          f"medians of {report['rounds']} processes")
    print(f"{'':{width}}" + "".join(f"{f:>{column}}" for f in frameworks) + f"{'peer / minidl':>16}")
    for row, values in report["rows"].items():
        times = "".join(f"{_readable(values['seconds'].get(f)):>{column}}" for f in frameworks)
        rates = "".join(f"  {figure:.4g} {name}" for name, figure in values.items() if name not in COMPARED)
        print(f"{row:{width}}{times}{_least(values):>16}{rates}")
    for case, figures in report.get("memory", {"": report}).items():
        for key, name in MEMORY.items():
            if key in figures:
                sizes = "".join(f"{figures[key][f] / 2**20:>{column - 3}.0f} MB" if f in figures[key] else f"{'-':>{column}}"
                                for f in frameworks)
                print(f"{case + ' ' + name if case else name:{width}}{sizes}")


def _least(row) -> str:
    """The ratio to the peer's fastest way; to each peer if they are different ones."""
    if "fastest" in row and len({f.split()[0] for f in row["ratio"]}) == 1:
        return f"{row['fastest']:.2f}"
    return ", ".join(f"{ratio:.2f}" for ratio in row["ratio"].values()) or "-"


def _readable(value: float | None) -> str:
    if value is None:
        return "-"
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 1 or unit == "us":
            return f"{value * factor:.3g} {unit}"
    raise AssertionError


def _versions(framework: str) -> dict:
    versions = {"python": platform.python_version(), framework: importlib.import_module(framework).__version__}
    if framework == "minidl":
        from minidl.train.versions import versions as of_minidl

        versions |= of_minidl()
    if framework == "torchvision":
        versions["torch"] = sys.modules["torch"].__version__
    if framework == "torch" and sys.modules["torch"].cuda.is_available():
        versions |= {"cuda": sys.modules["torch"].version.cuda, "cudnn": sys.modules["torch"].backends.cudnn.version()}
    return versions


def _commit() -> str:
    """MINIDL_COMMIT says it where the files are without their history."""
    if "MINIDL_COMMIT" in os.environ or not shutil.which("git"):
        return os.environ.get("MINIDL_COMMIT", "unknown")
    result = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return result.stdout.strip() or "unknown"


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())
