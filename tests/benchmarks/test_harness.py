"""The benchmarks' harness."""

import json
import sys

import pytest

from benchmarks import harness


def test_what_is_cut_off_leaves_what_it_had(monkeypatch, tmp_path):
    ran = {"seconds": {"row": 0.5}, "peak_bytes": 1, "versions": {"minidl": "0"}}

    def alternate(module, runs, options, case):
        runs["minidl"].append(ran)
        if case == "second":
            raise KeyboardInterrupt

    monkeypatch.setattr(harness, "_alternate", alternate)
    monkeypatch.setattr(sys, "argv", ["bench", "--rounds", "1", "--out", str(tmp_path)])
    with pytest.raises(KeyboardInterrupt):
        harness.main("benchmarks.some", "what it is", cases=("first", "second", "third"))
    rows = json.loads((tmp_path / "some.json").read_text())["rows"]
    assert list(rows) == ["first row", "second row"] and rows["second row"]["seconds"] == {"minidl": 0.5}
