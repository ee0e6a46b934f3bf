"""Speed bars, each against a benchmark's own output: against PyTorch where it is installed, and the time of a cold start."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
pytestmark = pytest.mark.bars
torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="PyTorch, the peer, is not installed")


def rows(benchmark: str, *options: str) -> dict:
    """The rows that a benchmark writes."""
    return report(benchmark, *options)["rows"]


def report(benchmark: str, *options: str) -> dict:
    """What a benchmark writes; what was written before is put back."""
    path = ROOT / "benchmarks/results" / f"{benchmark}.json"
    kept = path.read_bytes()
    try:
        result = subprocess.run([sys.executable, "-m", f"benchmarks.{benchmark}", *options], cwd=ROOT, capture_output=True,
                                text=True)
        if result.stderr.startswith("skipped"):
            pytest.skip(result.stderr.strip())
        assert result.returncode == 0, result.stderr
        print(result.stdout)
        return json.loads(path.read_text())
    finally:
        path.write_bytes(kept)


NETWORKS = {  # PyTorch's fastest way over ours: training step, inference
    "LeNet-5": (2.0, 1.5), "AlexNet": (1.4, 1.1), "VGG-16": (1.8, 1.4), "GoogLeNet": (1.1, 1.0), "ResNet-18": (1.2, 1.1),
    "ResNet-50": (1.05, 1.0), "ResNet-20": (1.2, 1.1),
}


@torch
@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name):
    """Speed, and peak memory above the built model at most 1.1 times the peer's."""
    found = report("steps", "--only", name)
    step, inference = (found["rows"][f"{name} {what}"]["fastest"] for what in ("training step", "inference"))
    memory = found["memory"][name]["peak_above_model_bytes"]
    assert step >= NETWORKS[name][0] and inference >= NETWORKS[name][1]
    assert memory["minidl"] <= 1.1 * min(size for framework, size in memory.items() if framework != "minidl")


@torch
def test_one_op():
    assert rows("op_overhead")["forward and backward"]["ratio"]["torch"] >= 0.8


@torch
@pytest.mark.parametrize("kind", ["relu", "tanh"])
def test_lenet_step(kind):
    assert rows("lenet_step")[f"training step, {kind}"]["ratio"]["torch"] >= 1.0


@torch
def test_an_epoch_of_mnist():
    assert rows("mnist_epoch", "--rounds", "5")["one epoch"]["ratio"]["torch"] >= 1.0


@torch
def test_memory_of_an_alexnet_step():
    found = report("alexnet_step")["peak_above_model_bytes"]
    assert found["minidl"] <= 1.2 * found["torch"]


def test_cold_start():
    found = {name: row["seconds"]["minidl"] for name, row in rows("cold_start").items()}
    assert next(t for name, t in found.items() if "import" in name) <= 0.3
    assert next(t for name, t in found.items() if "empty" in name) <= 15
    assert next(t for name, t in found.items() if "filled" in name) <= 2


def test_regions():
    """Pooling and NMS take at most 1.5 times what torchvision takes, where its compiled operators load; each RoI costs the same
    among few and many.
    """
    found = rows("regions")
    assert all(row["ratio"].get("torchvision", 1) >= 1 / 1.5 for row in found.values())
    assert found["nms 100000 boxes"]["seconds"]["minidl"] <= 1
    for op in ("roi_pool", "roi_align", "ps_roi_pool"):
        each = [row["us a RoI"] for name, row in found.items() if name.startswith(f"{op} growth")]
        assert len(each) == 4 and max(each) <= 1.5 * min(each)


def test_region_detectors():
    found = report("region_detectors")["ratios"]
    assert found["R-CNN / Fast R-CNN, all but the proposals"] >= 20
    assert found["Selective Search / RPN"] >= 10
