"""A linear support vector machine, trained by hard negative mining as R-CNN trains one for each class.

Source: R. Girshick et al., "Rich feature hierarchies for accurate object detection and semantic segmentation", CVPR 2014, section
2.3, and its published code, from which the numbers are. With the scores z = features . w + b of the positives (+) and negatives
(-), training minimises

    |w|^2 / 2 + (b / 10)^2 / 2 + 0.001 (2 sum+ max(0, 1 - z) + sum- max(0, 1 + z))

A picture gives thousands of negatives, and most of them are easy: with z < -1 they change neither the sum nor its minimum. So
only the hard ones are kept, picture by picture, and the machine is trained anew whenever many have come. With features that
separate little all are hard, and each training takes longer than the one before. So that it ends, unlike in the published code,
the machine is then trained anew when a quarter more have come, twenty thousand are enough, and the solver stops after a thousand
steps.
"""

import warnings
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from minidl.errors import DataError, DtypeError, ShapeError, require

C = 1e-3  # of the losses
POSITIVE_WEIGHT = 2
BIAS_SCALE = 10
HARD = -1.0001  # scores above it are not easy
EVICT = -1.2  # what scores less is forgotten
RETRAIN_AFTER = 2000  # hard negatives
ENOUGH = 20_000  # of them
MOST_STEPS = 1000  # over all samples; features whose norms are about 20, as R-CNN scales them, need fewer where they separate


class LinearSVM(NamedTuple):
    """A linear classifier: ``weight`` (D,) and ``bias``."""

    weight: np.ndarray
    bias: float

    def scores(self, features: np.ndarray) -> np.ndarray:
        """The scores (N,) of ``features`` (N, D), positive for what looks like the positives."""
        return features @ self.weight + self.bias


class HardNegativeMining:
    """Trains one SVM on all ``positives`` (P, D) and the hard ones of the negatives that ``add`` is given, picture by picture.

    Several machines may so be trained in one pass over the pictures. The weight gets the floating dtype of the positives.
    Raises ShapeError for features that are no matrix or have another width, DtypeError for those that are not floating, DataError
    for numbers that are not finite, and where there is no positive, or at the end no negative. Needs the package scikit-learn:
    ``pip install "minidl[svm]"``.

    >>> mining = HardNegativeMining(np.array([[3.0, 1], [4, 2]]))
    >>> mining.add(np.array([[-1.0, 0], [0, -2]]))
    >>> mining.add(np.array([[-9.0, -8], [2, -1]]))
    >>> mining.fit().scores(np.array([[3, 2], [-3, 0]])).round(1)
    array([ 0.1, -0.1])
    """

    def __init__(self, positives: np.ndarray):
        self.positives = _checked(positives, np.shape(positives)[-1:])
        if not len(self.positives):
            raise DataError("an SVM needs positives: there is no object of the class in the training pictures")
        self.svm: LinearSVM | None = None
        self._negatives: list[np.ndarray] = []
        self._kept = self._added = 0  # negatives, by the last training and since

    def add(self, features: np.ndarray) -> None:
        """The negatives (N, D) of the next picture. Before the first training all are hard."""
        features = _checked(features, self.positives.shape[1:])
        if self._kept + self._added > ENOUGH:
            return
        hard = features.copy() if self.svm is None else features[self.svm.scores(features) > HARD]
        self._negatives.append(hard)
        self._added += len(hard)
        if self._added > (max(RETRAIN_AFTER, self._kept // 4) if self.svm else 0):
            self._train()

    def fit(self) -> LinearSVM:
        """The machine trained on all hard negatives."""
        if self._added:
            self._train()
        if self.svm is None:
            raise DataError("an SVM needs negatives: no training picture gave any")
        return self.svm

    def _train(self) -> None:
        negatives = np.concatenate(self._negatives)
        self.svm = minimum(self.positives, negatives)
        self._negatives = [negatives[self.svm.scores(negatives) >= EVICT]]
        self._kept, self._added = len(self._negatives[0]), 0


def fit_svm(positives: np.ndarray, negatives: Iterable[np.ndarray]) -> LinearSVM:
    """One SVM from positives (P, D) and the negatives of each picture (N, D), gone through once; see ``HardNegativeMining``."""
    mining = HardNegativeMining(positives)
    for features in negatives:
        mining.add(features)
    return mining.fit()


def minimum(positives: np.ndarray, negatives: np.ndarray) -> LinearSVM:
    """The SVM for which the sum above is least."""
    machine = require("sklearn.svm", extra="svm").LinearSVC(loss="hinge", dual=True, C=C, class_weight={1: POSITIVE_WEIGHT},
                                                            intercept_scaling=BIAS_SCALE, max_iter=MOST_STEPS, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", require("sklearn.exceptions", extra="svm").ConvergenceWarning)  # after MOST_STEPS
        machine.fit(np.concatenate([positives, negatives]), np.repeat([1, 0], [len(positives), len(negatives)]))
    return LinearSVM(machine.coef_[0].astype(positives.dtype), float(machine.intercept_[0]))


def _checked(features: np.ndarray, width: tuple[int, ...]) -> np.ndarray:
    features = np.asarray(features)
    if features.ndim != 2 or features.shape[1:] != width:
        raise ShapeError(f"expected features (N, {', '.join(map(str, width)) or 'D'}), got {features.shape}")
    if features.dtype.kind != "f":
        raise DtypeError(f"expected floating features, got {features.dtype}")
    if not np.isfinite(features).all():
        raise DataError("features must be finite: the network that made them has diverged, or a picture is damaged")
    return features
