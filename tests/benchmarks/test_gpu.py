"""The benchmarks for GPUs, in small, on the stand-in for one: that they run, not what they measure."""

import importlib.util
import json
import subprocess
import sys
import time

import numpy as np
import pytest

from benchmarks import harness
from benchmarks.gpu import all as everything
from benchmarks.gpu import bandwidth, checks, layers, library, mnist, regions, steps
from tests.kernels.cuda import on_host

pytestmark = [pytest.mark.numpy, on_host]  # with the stand-in, whatever --device says
SCRIPTS = ["steps", "layers", "bandwidth", "regions", "mnist", "checks", "all", "resources"]


@pytest.fixture
def tiny(cupy, monkeypatch):
    """Set attributes of a benchmark, whose clock then takes one call."""
    monkeypatch.setattr(library, "seconds", lambda function, wait, **_: harness.seconds(function, 1, 0, wait))

    def shrink(module, **sizes):
        for name, value in sizes.items():
            monkeypatch.setattr(module, name, value)

    return shrink


@pytest.mark.parametrize("script", SCRIPTS)
def test_they_say_what_they_do(script, monkeypatch, tmp_path):
    (tmp_path / "mnist").mkdir()
    monkeypatch.setenv("MINIDL_DATA", str(tmp_path))
    result = subprocess.run([sys.executable, "-m", f"benchmarks.gpu.{script}", "--help"], cwd=harness.ROOT, capture_output=True,
                            text=True)
    assert result.returncode == 0 and "usage" in result.stdout, result.stderr


def test_steps_and_their_memory(tiny, monkeypatch):
    monkeypatch.setattr(harness, "_noted", noted := {})
    tiny(steps, CASES={"few": ("LeNet-5", 1)}, PRECISIONS=("fp32",))
    times = steps.measure("minidl", "few")
    assert set(times) == {f"fp32 {how}{what}" for how in ("", "captured ") for what in ("step", "inference")}
    assert min(times.values()) > 0
    parameters = 61706 * 4
    assert 3 * parameters < noted.pop("peak_gpu_bytes_fp32") < 20 * parameters and not noted


@pytest.mark.parametrize("precision", ["fp32", pytest.param("bf16", marks=pytest.mark.slow)])
def test_layers(tiny, precision):
    some = {"LeNet conv1 5x5": ((9, 1, 9, 8), 3, 5, 1, 2, False), "depthwise 3x3": ((9, 4, 5, 6), 4, 3, 1, 1, True)}
    tiny(layers, LAYERS=some, BATCHES={"LeNet": 2, "depthwise": 3}, SIDE=16)
    times = layers.measure("minidl", precision)
    ways = {name: ("forward", "weight gradient", "input gradient")[: 2 + layer[-1]] for name, layer in some.items()}
    assert set(times) == {layers.PRODUCT} | {f"{name} {way}" for name, of_layer in ways.items() for way in of_layer}


def test_rates_of_layers(tiny):
    tiny(layers, LAYERS={"a": ((9, 4, 6, 5), 8, 3, 1, 1, True), "depthwise": ((9, 4, 6, 5), 4, 3, 1, 1, True)},
         BATCHES={"a": 2, "depthwise": 2}, SIDE=100)
    times = {layers.PRODUCT: {"minidl": 4e-6, "torch": 2e-6}, "a forward": {"minidl": 1e-6},
             "depthwise input gradient": {"minidl": 1}}
    found = layers.rates("fp32", times)
    assert found[layers.PRODUCT] == pytest.approx({"TFLOP/s": 0.5, "%": 50})
    work = 2 * (2 * 8 * 6 * 5) * (4 * 3 * 3)
    assert found["a forward"] == pytest.approx({"TFLOP/s": work / 1e-6 / 1e12, "%": 100 * work / 1e-6 / 1e12})
    assert found["depthwise input gradient"]["TFLOP/s"] == pytest.approx(2 * (2 * 4 * 6 * 5) * 9 / 1e12)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bandwidth(tiny, precision):
    tiny(bandwidth, SHAPE=(2, 3, 6, 7), ROWS=(5, 7), NETWORK="LeNet-5")
    times = bandwidth.measure("minidl", precision)
    expected = {row for row in bandwidth.TRAFFIC if precision == "fp32" or not row.startswith(bandwidth.OPTIMIZERS)}
    assert set(times) == expected


def test_rates_of_bandwidth(tiny):
    tiny(bandwidth, SHAPE=(10, 10), ROWS=(5, 10))
    found = bandwidth.rates("bf16", {"copy": {"minidl": 2e-9, "torch": 1e-9}, "softmax gradient": {"minidl": 1e-9}})
    assert found["copy"] == pytest.approx({"GB/s": 200, "%": 50})
    assert found["softmax gradient"] == pytest.approx({"GB/s": 300, "%": 75})
    assert bandwidth.rates("fp32", {"Adam": {"minidl": 1.0}})["Adam"]["GB/s"] == pytest.approx(25557032 * 4 * 7 / 1e9)


def test_regions(tiny):
    tiny(regions, SIDE=40, FAST=(2, 3, 8, 4, 3), PYRAMID=(1, 4, 5, 6, 2), BOXES=(7, 40), CLASSES=3)
    times = regions.measure("minidl")
    assert set(times) == {f"{pool} {way}" for pool in ("roi_pool", "roi_align") for way in ("forward", "gradient")} | {
        "nms of 7", "nms of 40", "batched_nms of 7"}


def test_without_torchvision_our_regions_stand_alone(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert regions.measure("torch") == {}


def test_parameters_of_the_network_are_counted_right():
    from benchmarks.networks import build

    assert sum(p.numel() for p in build("minidl", bandwidth.NETWORK).parameters()) == bandwidth.PARAMETERS


@pytest.mark.slow
def test_mnist(tiny):
    tiny(mnist, BATCH=2, EPOCHS=1)
    random = np.random.default_rng(0)
    data = random.standard_normal((6, 1, 28, 28)).astype(np.float32), random.integers(0, 10, 6)
    took, accuracy = mnist.trained(data, data, "cuda")
    assert took > 0 and round(accuracy * 6 / 100, 6) in range(7)


@pytest.mark.parametrize("family", [name if name != "conv" else pytest.param(name, marks=pytest.mark.slow)
                                    for name in checks.FAMILIES])
def test_families_agree(tiny, family):
    checks.agrees(family)


def test_a_family_that_does_not_agree_is_found(tiny):
    tiny(checks, FAMILIES={"other": (lambda x: x * (2 if x.device.type == "cuda" else 3), (4,))})
    with pytest.raises(AssertionError, match="other in fp32: off by 3.3e-01"):
        checks.agrees("other")


@pytest.mark.parametrize("name", ["SGD", "Adam", "RMSprop"])
def test_optimizers_agree(tiny, name):
    checks.trains(name)


def test_a_row_that_fails_leaves_the_others(tiny, capsys):
    assert set(library.Library("minidl").timed({"bad": lambda: 1 / 0, "good": lambda: lambda: None}, 0)) == {"good"}
    assert "minidl: bad failed" in (said := capsys.readouterr().err) and "ZeroDivisionError" in said


def test_what_is_missing_is_said_and_the_rest_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(everything, "missing", lambda: {"gpu": "there is no GPU"})
    monkeypatch.setattr(everything, "stages", lambda out, lacking: {
        "bad": everything.Stage(60, ["no.such.module"], ()), "none": everything.Stage(60, ["this"]),
        "good": everything.Stage(60, ["this"], ())})
    monkeypatch.setattr(sys, "argv", ["all", "--out", str(tmp_path)])
    everything.main()
    lines = (tmp_path / "summary.txt").read_text().splitlines()
    assert [line.split(" after")[0] for line in lines] == ["there is no GPU", "bad: failed (1)", "none: skipped: there is no GPU",
                                                           "good: good"]
    log = (tmp_path / "log.txt").read_text()
    assert log.index("==== bad") < log.index("no.such.module") < log.index("==== good") < log.index("Beautiful is better")
    assert capsys.readouterr().out.splitlines()[:4] == lines


def test_a_stage_that_hangs_is_cut_off_and_leaves_what_it_said(tmp_path):
    start = time.monotonic()
    with (tmp_path / "log.txt").open("w") as log:
        outcome = everything.run(["timeit", "-s", "print('began')", "import time; time.sleep(60)"], 3, log)
    assert outcome.startswith("cut off after ") and time.monotonic() - start < 30
    assert (tmp_path / "log.txt").read_text().startswith("began")


PEERS = """
from benchmarks.harness import main

def measure(framework, case):
    assert framework == "minidl" or case == "a", "fails"
    return {"row": 2.0} if framework == "minidl" else {"row": 1.0}

if __name__ == "__main__":
    main("peers_for_test", "A test.", peers=("json",), rounds=2, cases=("a", "b"), rates=lambda *_: {"row": {"GB/s": 3.0}})
"""


def test_a_process_that_fails_is_said_and_the_rest_is_written(tmp_path, monkeypatch):
    (tmp_path / "peers_for_test.py").write_text(PEERS)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{harness.ROOT}")
    result = subprocess.run([sys.executable, "-m", "peers_for_test", "--out", str(tmp_path)], capture_output=True, text=True)
    assert result.returncode == 1 and "failed: b json" in result.stderr and "AssertionError: fails" in result.stderr
    rows = json.loads((tmp_path / "peers_for_test.json").read_text())["rows"]
    assert rows["a row"] == {"seconds": {"minidl": 2.0, "json": 1.0}, "ratio": {"json": 0.5}, "GB/s": 3.0}
    assert rows["b row"] == {"seconds": {"minidl": 2.0}, "ratio": {}, "GB/s": 3.0}
    assert "3 GB/s" in result.stdout
