"""The benchmark of R-CNN, on so few scenes that nothing is learnt."""

import pytest

from benchmarks import rcnn
from minidl.train import RunFolder


def test_every_stage_is_measured(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install minidl[svm]")
    monkeypatch.setattr(RunFolder, "picture", lambda *_: None)
    found = rcnn.measure(tmp_path, train=3, test=2, epochs=1, ablations=True)
    *stages, testing = found["seconds"]
    assert stages == ["proposals", "fine-tuning", "features", "SVMs", "box regressors", "training"]
    assert found["seconds"]["training"] == pytest.approx(sum(found["seconds"][name] for name in stages[:-1]))
    assert testing == "testing, without proposals" and len(found["map"]) == 4 and all(0 <= m <= 1 for m in found["map"].values())
