"""The SVM of R-CNN: its objective against loops, mining against training on all negatives."""

import numpy as np
import pytest

from minidl.errors import DataError, DtypeError, ShapeError
from minidl.models.detect.parts import svm as svm_module
from minidl.models.detect.parts.svm import HardNegativeMining, LinearSVM, fit_svm, minimum

pytest.importorskip("sklearn", reason="scikit-learn is not installed: pip install minidl[svm]")


def clouds(positives: int, pictures: int, negatives: int, width: int, apart: float, dtype=np.float64):
    """Positives, and negatives of so many pictures, of two normal distributions with norms of about 20."""
    random = np.random.default_rng(3)
    scale = 20 / np.sqrt(width)
    return ((random.normal(size=(positives, width)) * scale + apart).astype(dtype),
            (random.normal(size=(pictures, negatives, width)) * scale - apart).astype(dtype))


def objective(svm: LinearSVM, positives, negatives) -> float:
    """The sum in the module's docstring, term by term."""
    total = sum(w * w for w in svm.weight) / 2 + (svm.bias / 10) ** 2 / 2
    for samples, sign, weight in ((positives, 1, 2), (negatives, -1, 1)):
        for sample in samples:
            z = sum(a * w for a, w in zip(sample, svm.weight, strict=True)) + svm.bias
            total += 0.001 * weight * max(0, 1 - sign * z)
    return float(total)


def coordinate_descent(positives, negatives, epochs: int) -> LinearSVM:
    """The dual of that sum, one multiplier at a time (Hsieh et al. 2008, algorithm 1)."""
    samples = np.concatenate([positives, -negatives])
    samples = np.concatenate([samples, np.where(np.arange(len(samples)) < len(positives), 10, -10)[:, None]], 1)
    bounds = np.where(np.arange(len(samples)) < len(positives), 0.002, 0.001)
    multipliers, w = np.zeros(len(samples)), np.zeros(samples.shape[1])
    for _ in range(epochs):
        for i, x in enumerate(samples):
            step = np.clip(multipliers[i] + (1 - x @ w) / (x @ x), 0, bounds[i]) - multipliers[i]
            multipliers[i] += step
            w += step * x
    return LinearSVM(w[:-1], 10 * w[-1])


def test_objective_is_r_cnns_and_at_its_minimum():
    positives, negatives = clouds(9, 1, 50, 4, 0.5)
    found = minimum(positives, negatives[0])
    expected = coordinate_descent(positives, negatives[0], 3000)
    least = objective(expected, positives, negatives[0])
    assert 0.01 < least < 0.06  # neither all zero, 0.068, nor separated
    assert least <= objective(found, positives, negatives[0]) <= least * (1 + 1e-4)  # scikit-learn stops at 1e-4
    assert np.allclose(found.weight, expected.weight, rtol=0, atol=1e-3) and abs(found.bias - expected.bias) < 1e-3


def test_separates_what_can_be_separated():
    positives, negatives = clouds(40, 3, 50, 6, 15, np.float32)
    svm = fit_svm(positives, negatives)
    assert svm.weight.dtype == np.float32 and svm.scores(positives).dtype == np.float32
    assert svm.scores(positives).min() > 0 > svm.scores(negatives.reshape(-1, 6)).max()


def test_mining_finds_what_all_negatives_would_give(monkeypatch):
    """Negatives beyond -1 change nothing, and those that lie there for one machine mostly do for the next: what is left is the
    solver's tolerance of 1e-4.
    """
    monkeypatch.setattr(svm_module, "RETRAIN_AFTER", 40)
    positives, negatives = clouds(30, 60, 50, 12, 3)
    sizes = []
    monkeypatch.setattr(svm_module, "minimum", lambda p, n: sizes.append(len(n)) or minimum(p, n))
    mined, whole = fit_svm(positives, iter(negatives)), minimum(positives, negatives.reshape(-1, 12))
    assert len(sizes) > 3 and sizes[0] == 50 and max(sizes) < 600  # of 3,000
    least = objective(whole, positives, negatives.reshape(-1, 12))
    assert objective(mined, positives, negatives.reshape(-1, 12)) <= least * (1 + 1e-4)
    assert np.abs(mined.scores(positives) - whole.scores(positives)).max() < 1e-3


def test_features_that_separate_nothing_do_not_take_forever(monkeypatch):
    """All negatives stay hard: each training but the last has a quarter more than the one before, until there are enough."""
    monkeypatch.setattr(svm_module, "RETRAIN_AFTER", 40)
    monkeypatch.setattr(svm_module, "ENOUGH", 2000)
    positives, negatives = clouds(3, 80, 50, 12, 0)
    sizes = []
    monkeypatch.setattr(svm_module, "minimum", lambda p, n: sizes.append(len(n)) or minimum(p, n))
    fit_svm(positives, iter(negatives))
    assert 2000 < sizes[-1] < 2200 and len(sizes) <= 18  # of 4,000, in 80 pictures


def test_only_hard_negatives_are_kept():
    mining = HardNegativeMining(np.array([[10.0, 10]] * 3))
    mining.add(np.zeros((0, 2)))
    mining.add(np.array([[-10.0, -10]] * 400 + [[-900.0, -900]]))
    assert [len(part) for part in mining._negatives] == [400]  # the far one is forgotten
    easy, hard = np.array([[-99.0, -99]] * 5), np.array([[9.0, 9]] * 7)
    mining.add(np.concatenate([easy, hard]))
    assert [len(part) for part in mining._negatives] == [400, 7]
    before = mining.svm
    assert mining.fit() is not before and mining.fit() is mining.svm


def test_features_are_copied_and_left_alone():
    positives, negatives = clouds(4, 1, 6, 3, 1)
    buffer = negatives[0].copy()
    mining = HardNegativeMining(positives)
    mining.add(buffer)
    assert np.array_equal(buffer, negatives[0])
    buffer[:] = 1e9  # as one who reads each picture into the same memory
    mining.add(np.array([[5.0, 5, 5]]))
    expected = minimum(positives, np.concatenate([negatives[0], [[5.0, 5, 5]]]))
    assert np.array_equal(mining.fit().weight, expected.weight)


def test_same_result_twice():
    positives, negatives = clouds(20, 5, 40, 6, 1)
    first, second = fit_svm(positives, negatives), fit_svm(positives, negatives)
    assert np.array_equal(first.weight, second.weight) and first.bias == second.bias


def test_wrong_features():
    good = np.ones((2, 3))
    for positives, error, message in ((np.ones((0, 3)), DataError, "no object of the class"),
                                      (np.ones(3), ShapeError, r"got \(3,\)"), (np.ones((2, 3), int), DtypeError, "int64"),
                                      (np.full((2, 3), np.nan), DataError, "finite")):
        with pytest.raises(error, match=message):
            fit_svm(positives, [good])
    for negatives, error, message in (([], DataError, "negatives"), ([good[:0]], DataError, "negatives"),
                                      ([np.ones((2, 4))], ShapeError, r"\(N, 3\), got \(2, 4\)"),
                                      ([good, np.full((1, 3), np.inf)], DataError, "finite")):
        with pytest.raises(error, match=message):
            fit_svm(good, negatives)
