"""All stages of training in one run."""

from minidl.models.detect.rcnn.fit import fit
from minidl.models.detect.training import DetectionTrainer


class RCNNTrainer(DetectionTrainer):
    """Fine-tunes an ``RCNN`` as ``DetectionTrainer`` does, and after the last epoch fits SVMs and box regressors.

    Features are kept in the run folder. The mAP of the last epoch is that of the whole detector, the others are those of the
    softmax. ``seconds`` has what the last stages took.
    """

    seconds: dict[str, float]

    def tested(self):
        self.model.use_svms = self.model.use_regressors = self.epoch + 1 == self.epochs
        if self.model.use_svms:
            self.seconds = fit(self.model, self.train.dataset, self.run.path / "features")
        return super().tested()
