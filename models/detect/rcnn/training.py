"""All stages of training in one run, and how long each data set takes."""

import shutil

import numpy as np

from minidl.data import Subset
from minidl.errors import require
from minidl.models.detect.rcnn.features import network
from minidl.models.detect.rcnn.fit import fit
from minidl.models.detect.recipe import DetectionRecipe
from minidl.models.detect.training import DetectionTrainer

# The paper's rate is 0.001, for 128 windows a step. Small networks have no pretrained weights to keep.
RECIPES = {"voc2007": DetectionRecipe(epochs=20, batch_size=16, lr=0.001, every=10)}
SMALL_RECIPES = {
    "voc2007": DetectionRecipe(epochs=60, batch_size=16, lr=0.05, schedule="cosine", every=30),
    "scenes": DetectionRecipe(epochs=20, batch_size=16, lr=0.05, schedule="cosine", every=10),
}


class RCNNTrainer(DetectionTrainer):
    """Fine-tunes an ``RCNN`` as ``DetectionTrainer`` does, and after the last epoch fits SVMs and box regressors.

    Features are kept in the run folder, those of the latest network alone. The mAP of the last epoch is that of the whole
    detector, the others are those of the softmax: a run that goes on after its last epoch has no SVMs until the next last one.
    ``seconds`` has what the last stages took.
    """

    seconds: dict[str, float]

    def fit(self, epochs):
        require("sklearn.svm", extra="svm")  # which is needed after the last epoch: say so before the first
        return super().fit(epochs)

    def tested(self):
        self.model.reset_fitted()
        if self.epoch + 1 == self.epochs:
            folder = self.run.path / "features" / network(self.model)  # that of a killed run is filled up
            for other in folder.parent.glob("*"):
                if other != folder:
                    shutil.rmtree(other)
            self.seconds = fit(self.model, Subset(self.train.dataset, self._whole()), folder)
        return super().tested()

    def _whole(self) -> list[int]:
        """Which samples can be read. Where few pictures make a long epoch, each counts once."""
        dataset = self.train.dataset
        pictures = dataset.indices if isinstance(dataset, Subset) else range(len(dataset))
        first = np.unique(pictures, return_index=True)[1]
        return [index for index in first.tolist() if index not in self.train.skipped]
