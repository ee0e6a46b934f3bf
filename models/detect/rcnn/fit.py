"""The last stage of training: on features that stay as they are, SVMs and box regressors, each with a solution of its own."""

import contextlib
import sys
import time
from collections.abc import Iterator

import numpy as np

from minidl.errors import DataError
from minidl.models.detect.parts.svm import HardNegativeMining
from minidl.models.detect.rcnn.detector import RCNN
from minidl.models.detect.rcnn.features import RegionFeatures, Regions
from minidl.models.detect.rcnn.ridge import ridge
from minidl.tape import no_grad
from minidl.tensor import from_numpy
from minidl.train.progress import tracked

NORM = 20.0  # the mean one that features are scaled to, on which the constants of SVMs and ridge regression rely
NEGATIVE = 0.3  # overlap with objects of a class, below which a region is none of it


def fit(detector: RCNN, dataset, folder) -> dict[str, float]:
    """Fit SVMs and box regressors to the regions of a data set with proposals. Features are kept in a folder.

    Returns the seconds of each stage by name, which are printed as well. A class without objects in the data set is never found;
    a line on stderr says so. Raises DataError as ``RCNN.losses``, where no picture has an object, and where a feature is not
    finite; MissingDependencyError without scikit-learn.
    """
    features, seconds = RegionFeatures(detector, dataset, folder), {}
    with _timed("features", seconds):
        found = gathered(detector, features)
    size = f"{features.cache.size / 1e6:,.0f} MB in {folder}"
    print(f"            of {found.regions:,} regions in {len(features):,} pictures: {size}")
    with _timed("SVMs", seconds):
        fit_svms(detector, features, found)
    with _timed("box regressors", seconds):
        fit_regressors(detector, found)
    return seconds


@contextlib.contextmanager
def _timed(name: str, seconds: dict[str, float]) -> Iterator[None]:
    """Print and keep what a stage takes."""
    start = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - start
    print(f"{seconds[name]:8.1f} s  {name}", flush=True)


class Found:
    """What one pass over all pictures gathers: for each class fc7 of objects, pool5 and offsets of pairs; and sums of norms."""

    def __init__(self, classes: int):
        self.positives: list[list[np.ndarray]] = [[] for _ in range(classes)]
        self.pool5: list[list[np.ndarray]] = [[] for _ in range(classes)]
        self.offsets: list[list[np.ndarray]] = [[] for _ in range(classes)]
        self.regions = self.pairs = 0
        self.fc7_norm = self.pool5_norm = 0.0

    def add(self, regions: Regions) -> None:
        """The regions of one more picture."""
        of_pairs = regions.labels[regions.objects]
        for label in np.unique(regions.labels):
            self.positives[label].append(regions.fc7[: len(regions.labels)][regions.labels == label])
            self.pool5[label].append(regions.pool5[of_pairs == label])
            self.offsets[label].append(regions.offsets[of_pairs == label])
        self.regions, self.pairs = self.regions + len(regions.fc7), self.pairs + len(regions.pool5)
        self.fc7_norm += float(np.linalg.norm(regions.fc7, axis=1).sum())
        self.pool5_norm += float(np.linalg.norm(regions.pool5, axis=1).sum())


def gathered(detector: RCNN, features: RegionFeatures) -> Found:
    """One pass over all pictures, which computes their features where they are not there yet."""
    found = Found(len(detector.classes))
    for regions in tracked(features, "features"):
        found.add(regions)
    if not any(found.positives):
        raise DataError("there is nothing to fit: no picture of the data set has an object")
    for name, positives in zip(detector.classes, found.positives, strict=True):
        if not positives:
            print(f"note: no picture has a {name}, so none will be found", file=sys.stderr)
    return found


def fit_svms(detector: RCNN, features: RegionFeatures, found: Found) -> None:
    """One SVM for each class: objects against all that overlaps them by less than 0.3, of which the hard ones are kept."""
    scale = _scale(found.fc7_norm, found.regions)
    mining = {label: HardNegativeMining(np.concatenate(positives) * scale)
              for label, positives in enumerate(found.positives) if positives}
    for regions in tracked(features, "SVMs"):
        fc7 = regions.fc7 * scale
        for label, machine in mining.items():
            machine.add(fc7[regions.overlap_with(label) < NEGATIVE])
    weight, bias = np.zeros(detector.svms.weight.shape, np.float32), np.full(len(detector.classes), -np.inf, np.float32)
    for label, machine in mining.items():
        svm = machine.fit()
        weight[label], bias[label] = svm.weight * scale, svm.bias
    _set(detector.svms, weight, bias)


def fit_regressors(detector: RCNN, found: Found) -> None:
    """Four linear maps of pool5 for each class, from the regions that overlap an object of it by more than 0.6."""
    scale = _scale(found.pool5_norm, found.pairs)
    weight = np.zeros((len(detector.classes), 4, detector.regressors.in_features), np.float32)
    bias = np.zeros((len(detector.classes), 4), np.float32)
    for label, (pool5, offsets) in enumerate(zip(found.pool5, found.offsets, strict=True)):
        if pool5:
            maps, bias[label] = ridge(np.concatenate(pool5) * scale, np.concatenate(offsets))
            weight[label] = maps * scale
    _set(detector.regressors, weight.reshape(detector.regressors.weight.shape), bias.reshape(-1))


def _scale(norms: float, count: int) -> np.float32:
    """What brings vectors to a mean norm of 20."""
    return np.float32(NORM * count / max(norms, 1e-12))


@no_grad()
def _set(layer, weight: np.ndarray, bias: np.ndarray) -> None:
    for parameter, values in ((layer.weight, weight), (layer.bias, bias)):
        parameter.copy_(from_numpy(values).to(parameter.device))
